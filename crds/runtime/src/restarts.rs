//! Restart backoff with a limit. Pure: time is an argument.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Only failures within this time count.
const FAILURE_WINDOW: Duration = Duration::from_secs(60);
/// The number of failures within [`FAILURE_WINDOW`] after which a restart is still allowed.
const MAX_FAILURES: usize = 5;

/// The recent failures of one component.
#[derive(Debug)]
pub struct Restarts {
    first_pause: Duration,
    recent: VecDeque<Instant>,
}

impl Restarts {
    /// A backoff that starts at `first_pause` and doubles with each further failure.
    #[must_use]
    pub fn new(first_pause: Duration) -> Self {
        Self { first_pause, recent: VecDeque::new() }
    }

    /// Notes a failure at `now`. Returns how long to wait before the restart, or `None` after too many failures.
    pub fn after_failure(&mut self, now: Instant) -> Option<Duration> {
        while self.recent.front().is_some_and(|at| now.duration_since(*at) > FAILURE_WINDOW) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        let before = u32::try_from(self.recent.len() - 1).unwrap_or(u32::MAX);
        (self.recent.len() <= MAX_FAILURES).then(|| self.first_pause * 2_u32.saturating_pow(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_until_there_are_too_many_failures() {
        let (mut restarts, began) = (Restarts::new(Duration::from_millis(100)), Instant::now());
        let pauses: Vec<_> = (0..6)
            .map(|i| restarts.after_failure(began + Duration::from_secs(i)))
            .map(|pause| pause.map(|p| p.as_millis()))
            .collect();
        assert_eq!(pauses, [Some(100), Some(200), Some(400), Some(800), Some(1600), None]);
        let late = began + Duration::from_secs(120);
        assert_eq!(
            restarts.after_failure(late),
            Some(Duration::from_millis(100)),
            "old failures do not count"
        );
    }
}

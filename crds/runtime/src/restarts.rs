//! When a part that failed may be started again, and when it fails too often. Pure: time is an argument.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Failures within this count together.
const WINDOW: Duration = Duration::from_secs(60);
/// More failures than this within [`WINDOW`] are too many: it does not heal by itself.
const MOST: usize = 5;

/// The last failures of one part.
#[derive(Debug)]
pub struct Restarts {
    first_pause: Duration,
    recent: VecDeque<Instant>,
}

impl Restarts {
    /// After the first failure it rests for `first_pause`, after each further one twice as long as before.
    #[must_use]
    pub fn new(first_pause: Duration) -> Self {
        Self { first_pause, recent: VecDeque::new() }
    }

    /// It failed at `now`: how long it rests before it is started again; none: it has failed too often.
    pub fn after_failure(&mut self, now: Instant) -> Option<Duration> {
        while self.recent.front().is_some_and(|at| now.duration_since(*at) > WINDOW) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        let before = u32::try_from(self.recent.len() - 1).unwrap_or(u32::MAX);
        (self.recent.len() <= MOST).then(|| self.first_pause * 2_u32.saturating_pow(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_too_many_failures_in_a_row_are_the_end() {
        let (mut restarts, began) = (Restarts::new(Duration::from_millis(100)), Instant::now());
        let pauses: Vec<_> = (0..6)
            .map(|i| restarts.after_failure(began + Duration::from_secs(i)))
            .map(|pause| pause.map(|p| p.as_millis()))
            .collect();
        assert_eq!(pauses, [Some(100), Some(200), Some(400), Some(800), Some(1600), None]);
        let late = began + Duration::from_secs(120);
        assert_eq!(restarts.after_failure(late), Some(Duration::from_millis(100)), "long ago");
    }
}

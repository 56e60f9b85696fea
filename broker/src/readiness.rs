//! Determines whether the broker is ready, for `/readyz`. Pure; time is an argument.
//!
//! All replicas share the logs, so a failing log affects all of them at once. If brokers became unready because of it, the Service
//! would have no endpoints, and one bad channel would take down all others. So a broker becomes ready once it can serve, and stays
//! ready while it can read any channel, and for a minute longer.

use std::time::Duration;

use tokio::time::Instant;

/// How long a broker that starts waits for all channels. After that, one readable channel is enough.
const STARTUP_WAIT: Duration = Duration::from_secs(20);
/// How long a broker that can read no channel any more stays ready: reading recreated streams takes a while.
const UNREADABLE_TOLERANCE: Duration = Duration::from_secs(60);

/// What was observed so far.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    started: Option<Instant>,
    /// Whether the broker was ready before.
    was_ready: bool,
    /// Since when no channel can be read.
    unreadable_since: Option<Instant>,
}

impl Readiness {
    /// Whether the broker was ready before.
    pub(crate) fn was_ready(&self) -> bool {
        self.was_ready
    }

    /// Notes that the logs of `readable` of `all` channels can be read at `now`. Returns whether the broker is ready.
    pub(crate) fn update(&mut self, readable: usize, all: usize, now: Instant) -> bool {
        let can_serve = readable > 0 || all == 0;
        let unreadable_since = if can_serve { None } else { self.unreadable_since.or(Some(now)) };
        self.unreadable_since = unreadable_since;
        if self.was_ready {
            return unreadable_since
                .is_none_or(|at| now.duration_since(at) <= UNREADABLE_TOLERANCE);
        }
        let waited = now.duration_since(*self.started.get_or_insert(now));
        self.was_ready = readable == all || (can_serve && waited > STARTUP_WAIT);
        self.was_ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(1);

    #[test]
    fn a_broker_that_starts_waits_for_all_channels_for_a_limited_time() {
        let (mut readiness, began) = (Readiness::default(), Instant::now());
        assert!(!readiness.update(0, 2, began));
        assert!(!readiness.update(1, 2, began + STARTUP_WAIT), "the other may become readable");
        assert!(readiness.update(1, 2, began + STARTUP_WAIT + STEP), "one bad channel of two");
        let mut alone = Readiness::default();
        assert!(!alone.update(0, 1, began));
        assert!(!alone.update(0, 1, began + STARTUP_WAIT * 9), "it was never ready");
        assert!(alone.update(1, 1, began + STARTUP_WAIT * 9));
    }

    #[test]
    fn a_broker_stays_ready_while_streams_are_recreated() {
        let (mut readiness, began) = (Readiness::default(), Instant::now());
        assert!(readiness.update(2, 2, began));
        assert!(readiness.update(2, 3, began), "a channel was added");
        let renewing = began + STEP * 3600;
        assert!(readiness.update(0, 3, renewing), "all streams were recreated");
        assert!(readiness.update(0, 3, renewing + UNREADABLE_TOLERANCE));
        assert!(
            !readiness.update(0, 3, renewing + UNREADABLE_TOLERANCE + STEP),
            "none becomes readable"
        );
        assert!(readiness.update(1, 3, renewing + UNREADABLE_TOLERANCE * 2), "one is readable");
        assert!(
            readiness.update(0, 3, renewing + UNREADABLE_TOLERANCE * 2 + STEP),
            "and unreadable again"
        );
    }
}

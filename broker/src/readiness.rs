//! Whether a broker can serve: what `/readyz` says. Pure; time is an argument.
//!
//! A log is shared by all replicas, so what happens to a log happens to all of them at once. A broker that took itself out for it
//! would take the whole Service out, and one bad channel would take out all others. So a broker is ready once it could serve, and
//! stays so while it can read any channel, or could a minute ago.

use std::time::Duration;

use tokio::time::Instant;

/// At the start, channels that can be read wait for the others so long at most.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// A broker that can read no channel at all any more stays ready for so long: logs that were recreated are read anew.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(60);

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    began: Option<Instant>,
    /// It could serve once.
    served: bool,
    /// No channel can be read since then.
    none_since: Option<Instant>,
}

impl Readiness {
    /// Whether the broker is ready at `now`, when the logs of `readable` of its `all` channels can be read.
    pub(crate) fn look(&mut self, readable: usize, all: usize, now: Instant) -> bool {
        let can_serve = readable > 0 || all == 0;
        let none_since = if can_serve { None } else { self.none_since.or(Some(now)) };
        self.none_since = none_since;
        if self.served {
            return none_since.is_none_or(|at| now.duration_since(at) <= RENEWAL_PATIENCE);
        }
        let waited = now.duration_since(*self.began.get_or_insert(now));
        self.served = readable == all || (can_serve && waited > START_PATIENCE);
        self.served
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(1);

    #[test]
    fn a_broker_waits_for_all_channels_at_its_start_but_not_for_ever() {
        let (mut readiness, began) = (Readiness::default(), Instant::now());
        assert!(!readiness.look(0, 2, began));
        assert!(!readiness.look(1, 2, began + START_PATIENCE), "the other may come");
        assert!(readiness.look(1, 2, began + START_PATIENCE + STEP), "one bad channel of two");
        let mut alone = Readiness::default();
        assert!(!alone.look(0, 1, began));
        assert!(!alone.look(0, 1, began + START_PATIENCE * 9), "it never served anybody");
        assert!(alone.look(1, 1, began + START_PATIENCE * 9));
    }

    #[test]
    fn who_served_once_stays_ready_while_logs_are_renewed() {
        let (mut readiness, began) = (Readiness::default(), Instant::now());
        assert!(readiness.look(2, 2, began));
        assert!(readiness.look(2, 3, began), "a channel was added");
        let renewing = began + STEP * 3600;
        assert!(readiness.look(0, 3, renewing), "all logs are read anew");
        assert!(readiness.look(0, 3, renewing + RENEWAL_PATIENCE));
        assert!(!readiness.look(0, 3, renewing + RENEWAL_PATIENCE + STEP), "none comes back");
        assert!(readiness.look(1, 3, renewing + RENEWAL_PATIENCE * 2), "one is back");
        assert!(readiness.look(0, 3, renewing + RENEWAL_PATIENCE * 2 + STEP), "and gone again");
    }
}

//! Delays between attempts. Pure: the random number is an argument.

use std::time::Duration;

/// The first delay, unless the broker has sent one.
const FIRST: Duration = Duration::from_secs(1);
/// The longest delay that doubling leads to.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest delay that a broker may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// The delays of one client.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The delay after one more failure. `asked` is what the broker asks for. `random` is from 0 to 1.
    pub(crate) fn next(&mut self, asked: Option<Duration>, random: f64) -> Duration {
        let doubled = asked.unwrap_or(FIRST).saturating_mul(1 << self.failures.min(8));
        self.failures += 1;
        let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
        // From half of it to all of it: clients that failed together do not return together.
        doubled.min(LONGEST).mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0).max(asked)
    }

    /// The last attempt was good.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_limit_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..7).map(|_| backoff.next(None, 1.0).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(backoff.next(None, 0.0).as_secs(), 15);
        backoff.reset();
        assert_eq!(backoff.next(None, 0.0).as_millis(), 500);
    }

    #[test]
    fn a_broker_may_ask_for_a_longer_delay_within_reason() {
        let asked = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(Backoff::default().next(asked(5), 0.0).as_secs(), 5);
        assert_eq!(Backoff::default().next(asked(60), 0.0).as_secs(), 60);
        assert_eq!(Backoff::default().next(asked(86_400), 0.0).as_secs(), 300);
    }
}

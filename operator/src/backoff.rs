//! Retry delays of channels whose reconciliation failed: exponential with jitter, for each channel separately.
//!
//! kube's controller has no backoff for each object.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Upper bound of the first delay.
const BASE_DELAY: Duration = Duration::from_secs(1);
/// Upper bound of every delay.
const MAX_DELAY: Duration = Duration::from_secs(300);

/// Upper bound of the delay after `failures` failures in a row.
fn max_delay(failures: u32) -> Duration {
    BASE_DELAY.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(MAX_DELAY)
}

/// The failures in a row of each channel, by `metadata.uid`.
#[derive(Debug, Default)]
pub struct Backoff(Mutex<HashMap<String, Failures>>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    retry_at: Instant,
}

impl Backoff {
    /// Counts a failure and returns the delay before the next attempt.
    ///
    /// A failure before the end of the last delay does not count: a watch event caused that attempt, and a channel with
    /// many events must not wait longer for them.
    pub fn record_failure(&self, uid: &str, now: Instant) -> Duration {
        let mut channels = self.0.lock();
        let failures =
            channels.entry(uid.to_owned()).or_insert(Failures { count: 0, retry_at: now });
        if now >= failures.retry_at {
            failures.count = failures.count.saturating_add(1);
            let max = max_delay(failures.count);
            // Jitter over the upper half only, so that the first retries do not come in a burst.
            failures.retry_at = now + max.mul_f64(0.5 + 0.5 * fastrand::f64());
        }
        failures.retry_at.saturating_duration_since(now)
    }

    /// Resets a channel whose reconciliation succeeded.
    pub fn reset(&self, uid: &str) {
        self.0.lock().remove(uid);
    }

    /// Drops the state of every channel that is not in `uids`. A channel without a finalizer disappears without a
    /// last reconciliation.
    pub fn retain(&self, uids: &HashSet<String>) {
        self.0.lock().retain(|uid, _| uids.contains(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn delays_grow_to_the_maximum(failures in 1u32..1000) {
            prop_assert!(max_delay(failures) <= max_delay(failures + 1));
            prop_assert!((BASE_DELAY..=MAX_DELAY).contains(&max_delay(failures)));
        }
    }

    #[test]
    fn delays_double_until_a_success() {
        let backoff = Backoff::default();
        let mut now = Instant::now();
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let delay = backoff.record_failure("a", now);
            let max = Duration::from_secs(expected);
            assert!(delay <= max && delay >= max / 2, "{delay:?} of {max:?}");
            assert!(
                backoff.record_failure("a", now + delay / 2) <= delay - delay / 2,
                "not counted"
            );
            now += delay;
        }
        backoff.reset("a");
        assert!(backoff.record_failure("a", now) <= BASE_DELAY);
        assert!(backoff.record_failure("b", now) <= BASE_DELAY, "separately");
        backoff.retain(&HashSet::from(["b".to_owned()]));
        assert_eq!(backoff.0.lock().keys().collect::<Vec<_>>(), ["b"]);
    }
}

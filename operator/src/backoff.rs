//! How long a channel that failed waits: full jitter under a bound that doubles, for each channel alone. kube has none of its own.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// The first wait, at most.
const BASE: Duration = Duration::from_secs(1);
/// Any wait, at most.
const CAP: Duration = Duration::from_secs(300);

/// The longest wait after `failures` failures in a row.
fn bound(failures: u32) -> Duration {
    BASE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(CAP)
}

/// The failures of all channels, by `metadata.uid`.
#[derive(Debug, Default)]
pub struct Backoff(Mutex<HashMap<String, Failures>>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    until: Instant,
}

impl Backoff {
    /// A visit failed: how long to wait. A visit that came early, because something changed, does not count: a channel that is
    /// looked at often must not wait longer for it.
    pub fn failed(&self, uid: &str, now: Instant) -> Duration {
        let mut all = self.0.lock();
        let entry = all.entry(uid.to_owned()).or_insert(Failures { count: 0, until: now });
        if now >= entry.until {
            entry.count = entry.count.saturating_add(1);
            let bound = bound(entry.count);
            // Not below half: the first retries must not be a burst.
            entry.until = now + bound.mul_f64(0.5 + 0.5 * fastrand::f64());
        }
        entry.until.saturating_duration_since(now)
    }

    /// A visit went well, or the channel is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }

    /// Forgets every channel but those of `uids`: one without a finalizer goes without a visit.
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
        fn bounds_grow_to_the_cap(failures in 1u32..1000) {
            prop_assert!(bound(failures) <= bound(failures + 1));
            prop_assert!((BASE..=CAP).contains(&bound(failures)));
        }
    }

    #[test]
    fn waits_double_and_are_forgotten() {
        let backoff = Backoff::default();
        let mut now = Instant::now();
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let wait = backoff.failed("a", now);
            let most = Duration::from_secs(expected);
            assert!(wait <= most && wait >= most / 2, "{wait:?} of {most:?}");
            assert!(backoff.failed("a", now + wait / 2) <= wait - wait / 2, "early: not counted");
            now += wait;
        }
        backoff.forget("a");
        assert!(backoff.failed("a", now) <= BASE);
        assert!(backoff.failed("b", now) <= BASE, "each for itself");
        backoff.retain(&HashSet::from(["b".to_owned()]));
        assert_eq!(backoff.0.lock().keys().collect::<Vec<_>>(), ["b"]);
    }
}

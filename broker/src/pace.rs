//! How many events a channel takes in a second (`publishing.maxEventsPerSecond`).

use std::{num::NonZeroU32, time::Duration};

use eventcast_crds::config::Publishing;
use governor::{
    DefaultDirectRateLimiter, Quota,
    clock::{Clock, DefaultClock},
};

/// The pace of one channel on this broker.
pub(crate) struct Pace {
    /// None where there is no limit.
    limiter: Option<DefaultDirectRateLimiter>,
}

impl Pace {
    /// The events of a second may come at once, and so may the largest batch.
    pub(crate) fn new(rules: &Publishing) -> Self {
        let limiter = NonZeroU32::new(rules.max_events_per_second).map(|rate| {
            let batch = u32::try_from(rules.max_batch_events).unwrap_or(u32::MAX);
            let burst = NonZeroU32::new(batch).map_or(rate, |batch| rate.max(batch));
            DefaultDirectRateLimiter::direct(Quota::per_second(rate).allow_burst(burst))
        });
        Self { limiter }
    }

    /// Whether `new` asks for another pace than `old`.
    pub(crate) fn differs(old: &Publishing, new: &Publishing) -> bool {
        (old.max_events_per_second, old.max_batch_events)
            != (new.max_events_per_second, new.max_batch_events)
    }

    /// Takes room for `events`, all or none.
    ///
    /// # Errors
    /// How long to wait until there is room.
    pub(crate) fn take(&self, events: usize) -> Result<(), Duration> {
        let (Some(limiter), Some(events)) = (&self.limiter, count(events)) else {
            return Ok(());
        };
        match limiter.check_n(events) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(not_until.wait_time_from(DefaultClock::default().now())),
            // More than ever fits: a batch is not larger than the burst, so this cannot be.
            Err(_) => Err(Duration::from_secs(1)),
        }
    }
}

fn count(events: usize) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(events).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_passes_and_what_follows_waits() {
        let rules = |rate, batch| Publishing {
            max_events_per_second: rate,
            max_batch_events: batch,
            ..Publishing::default()
        };
        let pace = Pace::new(&rules(10, 30));
        assert_eq!(pace.take(30), Ok(()));
        let wait = pace.take(10).unwrap_err();
        assert!(wait > Duration::from_millis(500) && wait <= Duration::from_secs(1), "{wait:?}");
        let unlimited = Pace::new(&rules(0, 30));
        assert!((0..1000).all(|_| unlimited.take(30) == Ok(())));
    }
}

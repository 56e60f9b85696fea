//! The rate limit of a channel for publishers (`publishing.maxEventsPerSecond`).

use std::{num::NonZeroU32, time::Duration};

use eventcast_crds::config::Publishing;
use governor::{
    DefaultDirectRateLimiter, Quota,
    clock::{Clock, DefaultClock},
};

/// The rate limit of one channel on this broker.
pub(crate) struct RateLimit {
    /// `None` if the channel has no limit.
    limiter: Option<DefaultDirectRateLimiter>,
}

impl RateLimit {
    /// A rate limit that lets the events of one second, or the largest batch, pass at once.
    pub(crate) fn new(rules: &Publishing) -> Self {
        let limiter = NonZeroU32::new(rules.max_events_per_second).map(|rate| {
            let batch = u32::try_from(rules.max_batch_events).unwrap_or(u32::MAX);
            let burst = NonZeroU32::new(batch).map_or(rate, |batch| rate.max(batch));
            DefaultDirectRateLimiter::direct(Quota::per_second(rate).allow_burst(burst))
        });
        Self { limiter }
    }

    /// Whether `old` and `new` have different rate limits.
    pub(crate) fn differs(old: &Publishing, new: &Publishing) -> bool {
        (old.max_events_per_second, old.max_batch_events)
            != (new.max_events_per_second, new.max_batch_events)
    }

    /// Takes tokens for `events`: for all of them or for none.
    ///
    /// # Errors
    /// How long to wait until there are enough tokens.
    pub(crate) fn take(&self, events: usize) -> Result<(), Duration> {
        let (Some(limiter), Some(events)) = (&self.limiter, count(events)) else {
            return Ok(());
        };
        match limiter.check_n(events) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(not_until.wait_time_from(DefaultClock::default().now())),
            // More than the burst. Unreachable, because a batch is never larger than the burst.
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
    fn the_largest_batch_passes_at_once_and_the_next_events_wait() {
        let rules = |rate, batch| Publishing {
            max_events_per_second: rate,
            max_batch_events: batch,
            ..Publishing::default()
        };
        let limit = RateLimit::new(&rules(10, 30));
        assert_eq!(limit.take(30), Ok(()));
        let wait = limit.take(10).unwrap_err();
        assert!(wait > Duration::from_millis(500) && wait <= Duration::from_secs(1), "{wait:?}");
        let unlimited = RateLimit::new(&rules(0, 30));
        assert!((0..1000).all(|_| unlimited.take(30) == Ok(())));
    }
}

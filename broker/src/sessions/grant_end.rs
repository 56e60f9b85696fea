//! The end of the grant that a stream was opened with. It moves when the client renews its credential.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::time::{Duration, Instant};

/// The longest time between the notice and the end of the grant.
const MAX_NOTICE: Duration = Duration::from_secs(60);
/// The notice is sent at most this fraction (one fifth) of the grant's life before its end.
const NOTICE_PART: u32 = 5;

/// Ends that differ by fewer milliseconds are the same: they are computed from a time in seconds.
const SAME_END: u64 = 1000;

/// When the grant of a stream ends. Any thread may move it: the sink sees it at the next deadline that it has armed.
pub(crate) struct GrantEnd {
    /// The origin of the times below.
    origin: Instant,
    /// When the grant ends, in milliseconds; 0: never.
    end: AtomicU64,
    /// When the client is notified, in milliseconds.
    notice: AtomicU64,
}

impl GrantEnd {
    pub(super) fn new(origin: Instant, left: Option<Duration>) -> Self {
        let grant = Self { origin, end: AtomicU64::new(0), notice: AtomicU64::new(0) };
        if let Some(left) = left {
            grant.set(left);
        }
        grant
    }

    /// The grant ends after `left`, counted from now.
    pub(crate) fn set(&self, left: Duration) {
        let now = millis(self.origin.elapsed());
        // Jitter: clients whose grants end together must not all renew at the same moment.
        let lead = millis((left / NOTICE_PART).min(MAX_NOTICE));
        let lead = fastrand::u64(lead - lead / 10..=lead);
        let end = now.saturating_add(millis(left)).max(1);
        // The same renewal is read again periodically.
        let current = self.end.load(Relaxed);
        if current > 0 && end.abs_diff(current) < SAME_END {
            return;
        }
        self.notice.store(end - lead.min(end), Relaxed);
        self.end.store(end, Relaxed);
    }

    /// Whether the grant ends later than `left` from now.
    pub(super) fn is_after(&self, left: Duration) -> bool {
        let now = millis(self.origin.elapsed());
        self.end.load(Relaxed) >= now.saturating_add(millis(left)).saturating_add(SAME_END)
    }

    /// When the grant ends.
    pub(crate) fn end(&self) -> Option<Instant> {
        let end = self.end.load(Relaxed);
        (end > 0).then(|| self.origin + Duration::from_millis(end))
    }

    /// When the client must be notified of the end.
    pub(crate) fn notice(&self) -> Option<Instant> {
        let notice = self.notice.load(Relaxed);
        (self.end.load(Relaxed) > 0).then(|| self.origin + Duration::from_millis(notice))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_notice_comes_a_fifth_or_a_minute_before_the_end() {
        let origin = Instant::now();
        assert_eq!(GrantEnd::new(origin, None).end(), None);
        assert!(GrantEnd::new(origin, Some(Duration::ZERO)).end().is_some(), "it has ended");
        for (life, lead) in [(10, 2), (3600, 60)] {
            let life = Duration::from_secs(life);
            let grant = GrantEnd::new(origin, Some(life));
            let (end, notice) = (grant.end().unwrap(), grant.notice().unwrap());
            assert_eq!(end - Instant::now(), life);
            let lead = Duration::from_secs(lead);
            assert!((lead * 9 / 10..=lead).contains(&(end - notice)), "{:?}", end - notice);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_moves_the_end_and_the_notice() {
        let grant = GrantEnd::new(Instant::now(), Some(Duration::from_secs(10)));
        tokio::time::advance(Duration::from_secs(9)).await;
        grant.set(Duration::from_secs(100));
        assert_eq!(grant.end().unwrap() - Instant::now(), Duration::from_secs(100));
        assert!(grant.notice().unwrap() - Instant::now() >= Duration::from_secs(80));
        let before = (grant.end(), grant.notice());
        grant.set(Duration::from_millis(100_010));
        assert_eq!((grant.end(), grant.notice()), before, "the same renewal, read again");
        assert!(!grant.is_after(Duration::from_millis(100_010)), "the same renewal");
        assert!(grant.is_after(Duration::from_secs(90)) && grant.is_after(Duration::ZERO));
        assert!(!grant.is_after(Duration::from_secs(110)), "a later one");
    }
}

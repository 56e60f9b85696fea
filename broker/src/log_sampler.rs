//! Limits the rate of log lines that clients can cause at will: a flood of bad requests must not become a flood of lines. Metrics count
//! all.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use governor::{DefaultDirectRateLimiter, Quota};

/// Lines in a second.
const LINES_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// A rate limit for log lines, which counts the suppressed ones.
pub(crate) struct Sampler {
    limit: DefaultDirectRateLimiter,
    left_out: AtomicU64,
}

impl Sampler {
    pub(crate) fn new() -> Self {
        let limit = DefaultDirectRateLimiter::direct(Quota::per_second(LINES_PER_SECOND));
        Self { limit, left_out: AtomicU64::new(0) }
    }

    /// How many lines were left out before this one; `None` if it must be left out, too.
    pub(crate) fn take(&self) -> Option<u64> {
        if self.limit.check().is_err() {
            self.left_out.fetch_add(1, Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_ten_lines_and_a_count() {
        let sampler = Sampler::new();
        let taken: Vec<_> = (0..100).filter_map(|_| sampler.take()).collect();
        assert!((10..=12).contains(&taken.len()), "{taken:?}");
        std::thread::sleep(std::time::Duration::from_millis(150));
        let left_out = sampler.take().unwrap();
        assert_eq!(left_out + taken.iter().sum::<u64>() + taken.len() as u64, 100);
    }
}

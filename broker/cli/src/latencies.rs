//! A histogram of durations. Pure.

use std::time::Duration;

/// The ratio of the limits of a bucket: percentiles are right to a fiftieth.
const RATIO: f64 = 1.02;
/// Up to more than an hour in microseconds.
const BUCKETS: usize = 1152;

/// Durations, in buckets.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    buckets: Vec<u64>,
    count: u64,
    longest: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, longest: Duration::ZERO }
    }
}

impl Latencies {
    pub(crate) fn add(&mut self, latency: Duration) {
        let micros = latency.as_secs_f64() * 1e6;
        // The first bucket whose limit is not below.
        let at = (micros.max(1.0).ln() / RATIO.ln()).ceil();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number from 0 on, and bounded"
        )]
        let at = (at.min(BUCKETS as f64 - 1.0)) as usize;
        self.buckets[at] += 1;
        self.count += 1;
        self.longest = self.longest.max(latency);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(sum, count)| *sum += count);
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Milliseconds in which so many of 100 were done; `None` without any.
    pub(crate) fn percentile(&self, percent: f64) -> Option<f64> {
        let wanted = (self.count as f64 * percent / 100.0).ceil().max(1.0);
        let mut sum = 0;
        let at = self.buckets.iter().position(|count| {
            sum += count;
            sum as f64 >= wanted
        })?;
        let longest = self.longest.as_secs_f64() * 1e3;
        Some((limit(at) / 1e3).min(longest))
    }

    /// The longest, in milliseconds; `None` without any.
    pub(crate) fn longest(&self) -> Option<f64> {
        (self.count > 0).then_some(self.longest.as_secs_f64() * 1e3)
    }
}

/// The upper limit of a bucket, in microseconds.
fn limit(at: usize) -> f64 {
    RATIO.powf(at as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_a_fiftieth() {
        let mut all = Latencies::default();
        assert_eq!((all.percentile(50.0), all.longest()), (None, None));
        for millis in 1..=1000 {
            all.add(Duration::from_millis(millis));
        }
        for (percent, wanted) in [(50.0, 500.0), (99.0, 990.0), (100.0, 1000.0)] {
            let got = all.percentile(percent).unwrap();
            assert!((wanted..=wanted * 1.02).contains(&got), "{percent}: {got}");
        }
        assert_eq!((all.count(), all.longest()), (1000, Some(1000.0)));
        let mut other = Latencies::default();
        other.add(Duration::from_secs(86_400));
        other.add(Duration::ZERO);
        other.merge(&all);
        assert_eq!((other.count(), other.longest()), (1002, Some(86_400_000.0)));
    }
}

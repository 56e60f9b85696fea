//! The largest number of a sliding window of time.

use std::{collections::VecDeque, time::Duration};

/// A longer time between two looks starts the window anew: what happened meanwhile is not known.
const MAX_GAP: Duration = Duration::from_secs(120);

/// The largest number that was pushed within some time. It keeps only numbers that are larger than all later ones, so it holds at most as
/// many as there are different ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    maxima: VecDeque<(Duration, i32)>,
    since: Option<Duration>,
    last: Duration,
}

impl Window {
    /// Adds `number` at `now`, and forgets what is older than `length`.
    pub(super) fn push(&mut self, now: Duration, number: i32, length: Duration) {
        if self.since.is_none() || now.saturating_sub(self.last) > MAX_GAP {
            self.since = Some(now);
        }
        self.last = now;
        while self.maxima.back().is_some_and(|(_, last)| *last <= number) {
            self.maxima.pop_back();
        }
        self.maxima.push_back((now, number));
        while self.maxima.front().is_some_and(|(at, _)| now.saturating_sub(*at) > length) {
            self.maxima.pop_front();
        }
    }

    /// The largest number of the window, if the window has covered `length` without a gap.
    pub(super) fn max(&self, length: Duration) -> Option<i32> {
        self.since.filter(|since| self.last.saturating_sub(*since) >= length)?;
        self.maxima.front().map(|(_, number)| *number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_maximum_of_a_whole_window_without_a_gap(
            looks in prop::collection::vec((1u64..130, 0..20), 1..200),
            length in 0u64..600,
        ) {
            let (mut window, mut all, mut now, mut since) = (Window::default(), Vec::new(), 0, 0);
            for (interval, number) in looks {
                now += interval;
                if all.is_empty() || interval > MAX_GAP.as_secs() {
                    since = now;
                }
                all.push((now, number));
                let length = Duration::from_secs(length);
                window.push(Duration::from_secs(now), number, length);
                let kept = all.iter().filter(|(at, _)| now - at <= length.as_secs());
                let max = kept.map(|(_, number)| *number).max();
                prop_assert_eq!(window.max(length), max.filter(|_| now - since >= length.as_secs()));
                prop_assert!(window.maxima.len() <= 20, "bounded by the different numbers");
            }
        }
    }
}

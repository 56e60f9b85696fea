//! Delays connections that reach the head while many others are still catching up.
//!
//! After a restart thousands of clients catch up at once. If each became a member of its channel's fan-out as soon as it reached the head,
//! every live event would be written to all of them, one by one, while those that are still behind, and the earlier members, wait. So,
//! while the shard is crowded, a connection that arrives at the head reads again after [`READ_INTERVAL_MS`], several events in one write,
//! and becomes a member when the shard is no longer crowded.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{EventLoop, Key, scheduling::TIME_SLICE};

/// A shard is crowded if, within one window, at least this many connections catch up, and take at least [`MIN_WORK`] of its time. Many
/// connections that missed little do not crowd it, nor does a single one that missed much.
const MIN_CONNECTIONS: u32 = 16;
const MIN_WORK: Duration = Duration::from_millis(WINDOW_MS / 10);
const WINDOW_MS: u64 = 100;
/// How long it stays crowded after such a window, so that the last connections catch up before live events are written to everyone.
const CROWD_MS: u64 = 500;
/// How long an arrived connection waits before it reads again.
const READ_INTERVAL_MS: u64 = 200;

/// The connections of one shard that have arrived. Times are in milliseconds of the shard.
#[derive(Default)]
pub(super) struct Arrivals {
    /// Key and generation of each, and when it reads again: the earliest first.
    waiting: VecDeque<(Key, u32, u64)>,
    /// The number of the present window.
    window: u64,
    /// Connections that have caught up a step in this window, and how long that took.
    connections: u32,
    work: Duration,
    crowded_until: u64,
}

impl Arrivals {
    /// A connection catches up. `last` is the window in which it did so before.
    pub(super) fn catches_up(&mut self, last: &mut u64, now: u64) {
        let window = now / WINDOW_MS;
        if window != self.window {
            (self.window, self.connections, self.work) = (window, 0, Duration::ZERO);
        }
        if std::mem::replace(last, window) != window {
            self.connections += 1;
        }
    }

    /// Connections were catching up for the duration `work`.
    pub(super) fn worked(&mut self, work: Duration, now: u64) {
        self.work += work;
        if self.connections >= MIN_CONNECTIONS && self.work >= MIN_WORK {
            self.crowded_until = now + CROWD_MS;
        }
    }

    pub(super) fn is_crowded(&self, now: u64) -> bool {
        now < self.crowded_until
    }

    /// Adds a connection that is at the head.
    pub(super) fn add(&mut self, key: Key, generation: u32, now: u64) {
        self.waiting.push_back((key, generation, now + READ_INTERVAL_MS));
    }

    /// The next connection that may read: all may if it is not crowded any more.
    fn next(&mut self, now: u64) -> Option<(Key, u32)> {
        let (key, generation, at) = *self.waiting.front()?;
        if self.is_crowded(now) && at > now {
            return None;
        }
        self.waiting.pop_front();
        Some((key, generation))
    }

    /// How long until one may read.
    pub(super) fn next_due(&self, now: u64) -> Option<Duration> {
        let (.., at) = self.waiting.front()?;
        Some(Duration::from_millis((*at).min(self.crowded_until).saturating_sub(now)))
    }
}

impl EventLoop {
    /// Lets connections that have arrived read, or become members.
    pub(super) fn run_arrivals(&mut self) {
        if self.arrivals.waiting.is_empty() {
            return; // the usual case, in which even reading the clock would be too expensive
        }
        let until = Instant::now() + TIME_SLICE;
        while let Some((key, generation)) = self.arrivals.next(self.now()) {
            if self.current(key, generation).is_some() {
                self.catch_up(key);
            }
            if Instant::now() >= until {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_read_in_intervals_while_it_is_crowded_and_at_once_afterwards() {
        let mut arrivals = Arrivals::default();
        crowd(&mut arrivals, MIN_CONNECTIONS - 1, MIN_WORK, 100);
        assert!(!arrivals.is_crowded(100), "too few");
        crowd(&mut arrivals, MIN_CONNECTIONS, MIN_WORK / 2, 200);
        assert!(!arrivals.is_crowded(200), "they miss little");
        crowd(&mut arrivals, MIN_CONNECTIONS, MIN_WORK, 300);
        assert!(arrivals.is_crowded(300));
        arrivals.add(1, 10, 300);
        arrivals.add(2, 20, 310);
        assert_eq!(arrivals.next(310), None);
        assert_eq!(
            arrivals.next_due(310),
            Some(Duration::from_millis(190)),
            "its interval is over before the crowd is gone"
        );
        crowd(&mut arrivals, MIN_CONNECTIONS, MIN_WORK, 500);
        assert_eq!(arrivals.next(500), Some((1, 10)), "its interval is over");
        assert_eq!(arrivals.next(500), None);
        arrivals.add(3, 30, 990);
        assert_eq!(arrivals.next_due(990), Some(Duration::ZERO));
        assert_eq!(arrivals.next(1000), Some((2, 20)));
        assert_eq!(arrivals.next(1000), Some((3, 30)), "the crowd is gone");
        assert_eq!(arrivals.next_due(1000), None);
    }

    #[test]
    fn a_connection_counts_once_in_a_window() {
        let (mut arrivals, mut last) = (Arrivals::default(), u64::MAX);
        for _ in 0..MIN_CONNECTIONS {
            arrivals.catches_up(&mut last, 100);
        }
        arrivals.worked(MIN_WORK, 100);
        assert!(!arrivals.is_crowded(100));
    }

    fn crowd(arrivals: &mut Arrivals, connections: u32, work: Duration, now: u64) {
        (0..connections).for_each(|_| arrivals.catches_up(&mut u64::MAX.clone(), now));
        arrivals.worked(work, now);
    }
}

//! Counts the streams that were closed recently. Pure; time is an argument.

use std::{collections::VecDeque, time::Duration};

/// The streams that were closed within a span of time, to the nearest step above.
pub(super) struct RecentClosings {
    span: Duration,
    /// Closings that are closer together share an entry.
    step: Duration,
    entries: VecDeque<Entry>,
    closed: usize,
}

struct Entry {
    first: Duration,
    last: Duration,
    closed: usize,
    /// The most streams that were open before one of them.
    open: usize,
}

impl RecentClosings {
    pub(super) fn new(span: Duration, step: Duration) -> Self {
        Self { span, step, entries: VecDeque::new(), closed: 0 }
    }

    /// Of `open` streams, `closed` are closed at `now`.
    pub(super) fn add(&mut self, now: Duration, open: usize, closed: usize) {
        if closed == 0 {
            return;
        }
        self.closed += closed;
        match self.entries.back_mut() {
            Some(entry) if now < entry.first + self.step => {
                entry.last = now;
                entry.closed += closed;
                entry.open = entry.open.max(open);
            }
            _ => self.entries.push_back(Entry { first: now, last: now, closed, open }),
        }
    }

    /// How many were closed within the span that ends at `now`.
    pub(super) fn closed(&mut self, now: Duration) -> usize {
        while let Some(entry) = self.entries.front().filter(|entry| entry.last + self.span <= now) {
            self.closed -= entry.closed;
            self.entries.pop_front();
        }
        self.closed
    }

    /// The most streams that were open when one of them was closed; 0 if none was.
    pub(super) fn most_open(&self) -> usize {
        self.entries.iter().map(|entry| entry.open).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closings_are_forgotten_after_the_span() {
        let mut recent = RecentClosings::new(Duration::from_secs(10), Duration::from_secs(1));
        let at = Duration::from_millis;
        assert_eq!((recent.closed(at(0)), recent.most_open()), (0, 0));
        recent.add(at(0), 50, 0);
        assert_eq!(recent.most_open(), 0, "nothing was closed");
        for (millis, open, closed) in [(100, 50, 3), (1099, 60, 2), (1100, 45, 1)] {
            recent.add(at(millis), open, closed);
        }
        assert_eq!((recent.closed(at(11_098)), recent.most_open()), (6, 60));
        assert_eq!((recent.closed(at(11_099)), recent.most_open()), (1, 45));
        assert_eq!((recent.closed(at(11_100)), recent.most_open()), (0, 0));
    }
}

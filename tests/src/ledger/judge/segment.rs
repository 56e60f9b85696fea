//! Checks what a subscriber received from one log.

use std::{collections::HashSet, time::Duration};

use super::{
    index::{Index, Stored},
    reading::Reading,
};
use crate::{
    filter::Filter,
    ledger::{Observed, Offence, Published, Seen, Start},
};

/// Gap reasons after which delivery starts at the first event of the log.
const RESETS: [&str; 2] = ["new-incarnation", "invalid-cursor"];

/// The tolerated difference between the clocks of the ledger and of the log.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(100);

/// The part of a record between two resets.
pub(super) struct Segment<'a> {
    filter: &'a Filter,
    /// The requested start position; after a reset the first event of the log.
    start: &'a Start,
    /// When the stream was opened that sent the first id, or should have.
    opened: Duration,
    seen: &'a [Seen],
    /// The reset that began this segment.
    reset: Option<&'a str>,
}

/// The findings about a segment, compared with one log.
#[derive(Debug, Default)]
pub(super) struct Finding {
    /// The numbers of due events that were received.
    pub(super) delivered: HashSet<u64>,
    /// The numbers of due events that were declared lost.
    pub(super) lost: Vec<u64>,
    /// Events that were received, although their outcome is unknown to the publisher.
    pub(super) maybe: usize,
    /// The numbers of due events after the end of the segment. The reset that ended it declares them lost.
    pub(super) undelivered: Vec<u64>,
    pub(super) offences: Vec<Offence>,
}

/// Cuts a record at its resets.
pub(super) fn cut(observed: &Observed) -> Vec<Segment<'_>> {
    let is_reset = |seen: &Seen| match seen {
        Seen::Gap { lost, reason, .. } => lost.is_none() || RESETS.contains(&reason.as_str()),
        _ => false,
    };
    let mut segments = Vec::new();
    let (mut from, mut reset) = (0, None);
    let ends = observed.seen.iter().enumerate().filter(|(_, seen)| is_reset(seen));
    let ends = ends.map(|(at, _)| at).chain([observed.seen.len()]);
    for end in ends {
        let seen = &observed.seen[from..end];
        let start = if reset.is_none() { &observed.start } else { &Start::Earliest };
        let (filter, opened) = (&observed.filter, opened(seen));
        segments.push(Segment { filter, start, opened, seen, reset });
        if let Some(Seen::Gap { resumed, .. }) = observed.seen.get(end) {
            reset = Some(resumed);
        }
        from = end + 1;
    }
    segments
}

/// When the first stream was opened that sent an id, or that the subscriber ended without one. A stream that broke before its first
/// id does not count, because its start is not known.
fn opened(seen: &[Seen]) -> Duration {
    let mut opened = Duration::MAX;
    for seen in seen {
        match seen {
            Seen::Opened { at, .. } => opened = *at,
            Seen::Ended(_) => opened = Duration::MAX,
            Seen::Renewed | Seen::Violation(_) => {}
            Seen::Event { .. } | Seen::Cursor(_) | Seen::Gap { .. } | Seen::Left => break,
        }
    }
    opened
}

impl Segment<'_> {
    /// Compares this segment with `log`. `last`: the end of the log must have been reached.
    pub(super) fn judge(&self, index: &Index, log: usize, last: bool) -> Finding {
        let mut reading = Reading::new(self.filter, (*self.start == Start::Earliest).then_some(0));
        if let Start::Cursor(cursor) = self.start {
            reading.start = reading.enter(cursor);
        }
        if let Some(resumed) = self.reset {
            reading.enter(resumed);
        }
        for seen in self.seen {
            reading.take(index, log, seen);
        }
        let due = |stored: &&Stored| {
            let after = reading.start.is_some_and(|start| stored.sequence > start);
            (after || self.asks_for(&stored.event)) && stored.event.passes(self.filter)
        };
        let mut finding = reading.finding;
        if let (Start::Last(asked), Some(start)) = (self.start, reading.start) {
            finding.offences.extend(self.began_late(index, log, *asked, start));
        }
        for stored in index.log(log).iter().filter(due) {
            let (number, sequence) = (stored.number, stored.sequence);
            let in_gap = |(after, to): &(u64, u64)| (*after < sequence) && (sequence <= *to);
            if reading.got.contains(&number) {
                finding.delivered.insert(number);
            } else if reading.gaps.iter().any(in_gap) {
                finding.lost.push(number);
            } else if stored.is_erased() {
                // It is not known any more whether it was due.
            } else if last || sequence <= reading.reached {
                finding.offences.push(Offence::Missing { number, sequence });
            } else {
                finding.undelivered.push(number);
            }
        }
        finding
    }

    /// Whether an event was certainly stored at or after the requested start.
    fn asks_for(&self, event: &Published) -> bool {
        let from = match self.start {
            Start::Earliest | Start::Cursor(_) => return false, // Their sequences are known.
            Start::Latest | Start::Default | Start::Last(_) => self.opened,
            Start::Ago(ago) => self.opened.saturating_sub(*ago).saturating_add(CLOCK_TOLERANCE),
            Start::Time(time) => time.saturating_add(CLOCK_TOLERANCE),
        };
        event.began > from && self.opened < Duration::MAX
    }

    /// Whether `last:N`, which started after `start`, left out events that it should have sent. An event that was published after the
    /// opening is not one of the newest; all others may be.
    fn began_late(&self, index: &Index, log: usize, asked: usize, start: u64) -> Option<Offence> {
        let passes = |event: &Published| event.passes(self.filter);
        let (before, after): (Vec<_>, Vec<_>) =
            index.log(log).iter().filter(|s| passes(&s.event)).partition(|s| s.sequence <= start);
        let there = |event: &&Published| passes(event) && event.began <= self.opened;
        let held = after.iter().map(|stored| &stored.event).chain(index.unknown()).filter(there);
        let held = held.count();
        (held < asked && !before.is_empty()).then_some(Offence::BeganLate { asked, held })
    }
}

//! What a subscriber saw of one log, and whether that is what it should have seen.

use std::{collections::HashSet, time::Duration};

use super::{
    index::{Index, Stored},
    reading::Reading,
};
use crate::{
    filter::Filter,
    ledger::{Observed, Offence, Seen, Start},
};

/// Reasons after which delivery begins at the first event of the log.
const RESETS: [&str; 2] = ["new-incarnation", "invalid-cursor"];

/// A record between two resets.
pub(super) struct Stretch<'a> {
    filter: &'a Filter,
    /// `None`: from the first event of the log. Otherwise the opening of the stream that gave the first id.
    latest: Option<Duration>,
    seen: &'a [Seen],
    /// The reset that began this stretch.
    reset: Option<&'a str>,
}

/// What was found in a stretch, judged by one log.
#[derive(Debug, Default)]
pub(super) struct Finding {
    /// Due numbers that came.
    pub(super) delivered: HashSet<u64>,
    /// Due events that were declared lost.
    pub(super) lost: usize,
    /// Events that came though their publishers do not know.
    pub(super) maybe: usize,
    /// Due numbers behind the end of the stretch: lost by the reset that ended it.
    pub(super) undelivered: Vec<u64>,
    pub(super) offences: Vec<Offence>,
}

/// Cuts a record at its resets.
pub(super) fn cut(observed: &Observed) -> Vec<Stretch<'_>> {
    let is_reset = |seen: &Seen| match seen {
        Seen::Gap { lost, reason, .. } => lost.is_none() || RESETS.contains(&reason.as_str()),
        _ => false,
    };
    let mut stretches = Vec::new();
    let (mut from, mut reset) = (0, None);
    let ends = observed.seen.iter().enumerate().filter(|(_, seen)| is_reset(seen));
    let ends = ends.map(|(at, _)| at).chain([observed.seen.len()]);
    for end in ends {
        let seen = &observed.seen[from..end];
        let latest = (observed.start == Start::Latest && reset.is_none()).then(|| opened(seen));
        stretches.push(Stretch { filter: &observed.filter, latest: latest.flatten(), seen, reset });
        if let Some(Seen::Gap { resumed, .. }) = observed.seen.get(end) {
            reset = Some(resumed);
        }
        from = end + 1;
    }
    stretches
}

/// When the stream was opened that gave the first id; a record without any stream has none.
fn opened(seen: &[Seen]) -> Option<Duration> {
    let first = seen.iter().position(|seen| position(seen).is_some()).unwrap_or(seen.len());
    let before = seen[..first].iter().rev();
    let mut openings = before.filter_map(|seen| match seen {
        Seen::Opened { at, .. } => Some(*at),
        _ => None,
    });
    Some(openings.next().unwrap_or(Duration::MAX))
}

/// The cursor that an item moves a client to.
fn position(seen: &Seen) -> Option<&str> {
    match seen {
        Seen::Event { cursor, .. } => Some(cursor),
        Seen::Cursor(cursor) => Some(cursor),
        Seen::Gap { resumed, .. } => Some(resumed),
        _ => None,
    }
}

impl Stretch<'_> {
    /// Judges this stretch by `log`; `last`: the log's end had to be reached.
    pub(super) fn judge(&self, index: &Index, log: usize, last: bool) -> Finding {
        let mut reading = Reading::new(self.filter, self.latest.is_none().then_some(0));
        if let Some(resumed) = self.reset {
            reading.enter(resumed);
        }
        for seen in self.seen {
            reading.take(index, log, seen);
        }
        let due = |stored: &&Stored| {
            let after = reading.start.is_some_and(|start| stored.sequence > start);
            let began_later = self.latest.is_some_and(|opened| stored.event.began > opened);
            (after || began_later) && stored.event.passes(self.filter)
        };
        let mut finding = reading.finding;
        for stored in index.log(log).iter().filter(due) {
            let (number, sequence) = (stored.number, stored.sequence);
            let in_gap = |(after, to): &(u64, u64)| (*after < sequence) && (sequence <= *to);
            if reading.got.contains(&number) {
                finding.delivered.insert(number);
            } else if reading.gaps.iter().any(in_gap) {
                finding.lost += 1;
            } else if last || sequence <= reading.reached {
                finding.offences.push(Offence::Missing { number, sequence });
            } else {
                finding.undelivered.push(number);
            }
        }
        finding
    }
}

//! Reads a segment in order: checks that positions only grow and that every event was due, and collects what is needed to find
//! missing events afterwards.

use std::collections::HashSet;

use super::{
    index::{Index, Known},
    segment::Finding,
};
use crate::{
    cursor::Cursor,
    filter::Filter,
    ledger::{Offence, Seen},
};

/// The state of reading a segment.
pub(super) struct Reading<'a> {
    filter: &'a Filter,
    epoch: Option<String>,
    /// The sequence after which events are due; `None` until the first id.
    pub(super) start: Option<u64>,
    /// The sequence reached.
    pub(super) reached: u64,
    /// Ranges declared lost: after the first sequence, up to and including the second.
    pub(super) gaps: Vec<(u64, u64)>,
    /// The numbers of the events received.
    pub(super) got: HashSet<u64>,
    /// The offences found.
    pub(super) finding: Finding,
}

impl<'a> Reading<'a> {
    pub(super) fn new(filter: &'a Filter, start: Option<u64>) -> Self {
        Self {
            filter,
            epoch: None,
            start,
            reached: 0,
            gaps: Vec::new(),
            got: HashSet::new(),
            finding: Finding::default(),
        }
    }

    /// Processes the next record.
    pub(super) fn take(&mut self, index: &Index, log: usize, seen: &Seen) {
        match seen {
            Seen::Event { number, kind, cursor } => self.event(index, log, *number, kind, cursor),
            Seen::Cursor(cursor) => {
                let Some(sequence) = self.enter(cursor) else {
                    return;
                };
                self.start.get_or_insert(sequence);
                if sequence < self.reached {
                    self.offend(Offence::OutOfOrder { sequence, after: self.reached });
                }
                self.reached = self.reached.max(sequence);
            }
            Seen::Gap { requested, resumed, lost, reason } => {
                self.gap(requested.as_deref(), resumed, *lost, reason);
            }
            Seen::Opened { .. }
            | Seen::Renewed
            | Seen::Ended(_)
            | Seen::Left
            | Seen::Violation(_) => {}
        }
    }

    fn event(&mut self, index: &Index, log: usize, number: u64, kind: &str, cursor: &str) {
        let Some(sequence) = self.enter(cursor) else {
            return;
        };
        self.start.get_or_insert(sequence.saturating_sub(1));
        let unexpected = |why: String| Offence::Unexpected { number, why };
        let event = match index.find(log, number) {
            Known::Here(stored) => {
                if stored.cursor != cursor {
                    let (acknowledged, delivered) = (stored.cursor.clone(), cursor.to_owned());
                    self.offend(Offence::WrongCursor { number, acknowledged, delivered });
                }
                Some(&stored.event)
            }
            Known::Maybe(event) => {
                self.finding.maybe += 1;
                Some(event)
            }
            Known::Elsewhere => {
                self.offend(unexpected(format!("log {log} does not have it; came as {cursor}")));
                None
            }
            Known::Never => {
                self.offend(unexpected(format!(
                    "not stored by the broker's word; came as {cursor}"
                )));
                None
            }
        };
        if let Some(event) = event {
            if !self.filter.grants(event.topic.as_deref()) {
                let topic = event.topic.clone().unwrap_or_default();
                self.offend(Offence::NotGranted { number, topic });
            } else if !event.passes(self.filter) {
                let why =
                    format!("{:?} {:?} does not pass {:?}", event.topic, event.kind, self.filter);
                self.offend(unexpected(why));
            }
            if event.kind.as_deref().unwrap_or("message") != kind {
                self.offend(unexpected(format!("published as {:?}, came as {kind:?}", event.kind)));
            }
        }
        if !self.got.insert(number) {
            self.offend(Offence::Repeated { number, sequence });
        } else if sequence <= self.reached {
            self.offend(Offence::OutOfOrder { sequence, after: self.reached });
        }
        self.reached = self.reached.max(sequence);
    }

    fn gap(&mut self, requested: Option<&str>, resumed: &str, lost: Option<u64>, reason: &str) {
        let Some(to) = self.enter(resumed) else {
            return;
        };
        let after = match requested.map(Cursor::parse) {
            Some(Ok(cursor)) => cursor.sequence,
            Some(Err(error)) => {
                return self.offend(Offence::WrongGap(format!("{reason}: requested: {error:#}")));
            }
            None => self.reached,
        };
        self.start.get_or_insert(after);
        // Events between the position of the client and `requested` did not pass its filter, or are missing.
        if after < self.reached || to <= after {
            let reached = self.reached;
            let text = format!("{reason}: from {after} to {to}, but {reached} was reached");
            self.offend(Offence::WrongGap(text));
        }
        if lost != Some(to.saturating_sub(after)) {
            let text = format!("{reason}: {lost:?} lost between {after} and {to}");
            self.offend(Offence::WrongGap(text));
        }
        self.gaps.push((after, to));
        self.reached = self.reached.max(to);
    }

    /// The sequence of a cursor, which must be of the same incarnation as those before.
    pub(super) fn enter(&mut self, cursor: &str) -> Option<u64> {
        let parsed = match Cursor::parse(cursor) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.offend(Offence::Violation(format!("{error:#}")));
                return None;
            }
        };
        let epoch = self.epoch.get_or_insert_with(|| parsed.epoch.clone());
        if *epoch != parsed.epoch {
            let text = format!("epoch {epoch} became {} without a gap", parsed.epoch);
            self.offend(Offence::Violation(text));
        }
        Some(parsed.sequence)
    }

    fn offend(&mut self, offence: Offence) {
        self.finding.offences.push(offence);
    }
}

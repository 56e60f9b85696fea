//! An index of the published events by number and by log.

use std::collections::HashMap;

use crate::{
    cursor::Cursor,
    ledger::{Observed, Publications, PublishOutcome, Published, Seen},
};

/// An event that is known to be stored.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) number: u64,
    pub(super) sequence: u64,
    pub(super) cursor: String,
    pub(super) event: Published,
}

impl Stored {
    /// Whether it was erased. A subscriber that has not received it then does not learn of it.
    pub(super) fn is_erased(&self) -> bool {
        matches!(self.event.outcome, PublishOutcome::Erased(_))
    }
}

/// What is known about the event with a number.
pub(super) enum Known<'a> {
    /// Stored in this log, with what was acknowledged.
    Here(&'a Stored),
    /// Stored, but this log does not have it.
    Elsewhere,
    /// Its outcome is unknown.
    Maybe(&'a Published),
    /// Not stored according to the broker, or never published.
    Never,
}

/// The events of every log.
pub(super) struct Index {
    logs: Vec<Vec<Stored>>,
    by_number: Vec<HashMap<u64, usize>>,
    published: HashMap<u64, Published>,
}

impl Index {
    /// Builds the index. Returns the problems of the acknowledgements, too.
    pub(super) fn new(
        mut publications: Publications,
        observed: &[Observed],
    ) -> (Self, Vec<String>) {
        if publications.cuts.is_empty() {
            settle(&mut publications, observed);
        }
        let mut problems = Vec::new();
        let mut logs: Vec<Vec<Stored>> = vec![Vec::new(); publications.cuts.len() + 1];
        for event in &publications.published {
            let (PublishOutcome::Stored(cursor) | PublishOutcome::Erased(cursor)) = &event.outcome
            else {
                continue;
            };
            let sequence = match Cursor::parse(cursor) {
                Ok(parsed) => parsed.sequence,
                Err(error) => {
                    problems.push(format!("event {}: {error:#}", event.number));
                    continue;
                }
            };
            let (number, cursor) = (event.number, cursor.clone());
            let stored = Stored { number, sequence, cursor, event: event.clone() };
            for (log, events) in logs.iter_mut().enumerate().skip(event.log) {
                let survived = publications.cuts[event.log..log].iter().all(|cut| sequence <= *cut);
                if survived {
                    events.push(stored.clone());
                }
            }
        }
        for (log, events) in logs.iter_mut().enumerate() {
            events.sort_by_key(|stored| stored.sequence);
            for pair in events.windows(2).filter(|pair| pair[0].sequence == pair[1].sequence) {
                problems.push(format!(
                    "log {log}: events {} and {} were both acknowledged at sequence {}",
                    pair[0].number, pair[1].number, pair[0].sequence
                ));
            }
        }
        let by_number = logs
            .iter()
            .map(|log| log.iter().enumerate().map(|(at, stored)| (stored.number, at)).collect())
            .collect();
        let published =
            publications.published.into_iter().map(|event| (event.number, event)).collect();
        (Self { logs, by_number, published }, problems)
    }

    pub(super) fn last_log(&self) -> usize {
        self.logs.len() - 1
    }

    /// The events of a log, by sequence.
    pub(super) fn log(&self, log: usize) -> &[Stored] {
        &self.logs[log]
    }

    /// Events with an unknown outcome.
    pub(super) fn unknown(&self) -> impl Iterator<Item = &Published> {
        self.published.values().filter(|event| event.outcome == PublishOutcome::Unknown)
    }

    pub(super) fn find(&self, log: usize, number: u64) -> Known<'_> {
        if let Some(at) = self.by_number[log].get(&number) {
            return Known::Here(&self.logs[log][*at]);
        }
        match self.published.get(&number) {
            Some(event) if event.outcome == PublishOutcome::Unknown => Known::Maybe(event),
            Some(Published {
                outcome: PublishOutcome::Stored(_) | PublishOutcome::Erased(_),
                ..
            }) => Known::Elsewhere,
            _ => Known::Never,
        }
    }
}

/// An event that any subscriber received is stored, even if its publisher does not know; then it is due to the others, too. Only if
/// the log was never replaced, because otherwise it is not known which log had the event.
fn settle(publications: &mut Publications, observed: &[Observed]) {
    let mut sightings = HashMap::new();
    for seen in observed.iter().flat_map(|observed| &observed.seen) {
        if let Seen::Event { number, cursor, .. } = seen {
            sightings.entry(*number).or_insert_with(|| cursor.clone());
        }
    }
    for event in
        publications.published.iter_mut().filter(|event| event.outcome == PublishOutcome::Unknown)
    {
        if let Some(cursor) = sightings.remove(&event.number) {
            event.outcome = PublishOutcome::Stored(cursor);
        }
    }
}

//! The delivery ledger: what became of the sequences that subscribers' cursors passed. Pure.
//!
//! Every sequence that a cursor passes has exactly one [`Outcome`], so that *delivered + filtered + lost + absent* is what the
//! cursors moved. Both sinks count here and nowhere else.

use std::ops::{AddAssign, Sub};

use eventcast_wire::event::{Event, Kind};

/// The outcome of one sequence for one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its event was written to the client.
    Delivered,
    /// The subscriber's filter excludes its event.
    Filtered,
    /// Its event cannot be delivered, and the client was told so.
    Lost,
    /// It has no event: a deletion, a marker of the server, an event whose time to live has passed.
    Absent,
}

impl Outcome {
    /// All outcomes, in the order of their discriminants.
    pub(crate) const ALL: [Self; 4] = [Self::Delivered, Self::Filtered, Self::Lost, Self::Absent];

    /// The label of the metric.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Filtered => "filtered",
            Self::Lost => "lost",
            Self::Absent => "absent",
        }
    }
}

/// Counts of outcomes, to be added to the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeliveryLedger {
    counts: [u64; Outcome::ALL.len()],
    /// The lost sequences whose message violates the rules of events. Each is a separate gap.
    pub(crate) invalid: u64,
    /// Bytes of events handed to sockets.
    pub(crate) bytes: u64,
}

impl DeliveryLedger {
    /// A gap of `sequences` was declared.
    pub(crate) fn gap(sequences: u64) -> Self {
        let mut ledger = Self::default();
        ledger.add(Outcome::Lost, sequences);
        ledger
    }

    /// `event` was written, completely or in part: the rest follows before anything else. In place of an invalid event the
    /// client is sent a gap.
    pub(crate) fn sent(&mut self, event: &Event) {
        if event.kind == Kind::Invalid {
            self.add(Outcome::Lost, 1);
            self.invalid += 1;
        } else {
            self.add(Outcome::Delivered, 1);
        }
        self.bytes += event.chunk.wire().len() as u64;
    }

    /// `events` valid events of `bytes` in all were written.
    pub(crate) fn sent_all(&mut self, events: u64, bytes: u64) {
        self.add(Outcome::Delivered, events);
        self.bytes += bytes;
    }

    /// `cursors` cursors passed `sequences` sequences each, among them `candidates` events that a filter could select. Candidates that
    /// were not sent are filtered, and the other sequences are absent.
    pub(crate) fn settle(&mut self, cursors: u64, candidates: u64, sequences: u64) {
        self.add(Outcome::Filtered, cursors * candidates - self.total());
        self.add(Outcome::Absent, cursors * (sequences - candidates));
    }

    /// Sequences with `outcome`.
    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        self.counts[outcome as usize]
    }

    /// Sequences with any outcome.
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn add(&mut self, outcome: Outcome, sequences: u64) {
        self.counts[outcome as usize] += sequences;
    }
}

/// What one stream was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) events: u64,
    /// Bytes of the events, as `eventcast_bytes_out_total` counts them.
    pub(crate) bytes: u64,
}

impl From<&DeliveryLedger> for Sent {
    fn from(ledger: &DeliveryLedger) -> Self {
        Self { events: ledger.count(Outcome::Delivered), bytes: ledger.bytes }
    }
}

impl AddAssign for Sent {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.bytes += other.bytes;
    }
}

impl Sub for Sent {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { events: self.events - other.events, bytes: self.bytes - other.bytes }
    }
}

impl AddAssign for DeliveryLedger {
    fn add_assign(&mut self, other: Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(sum, count)| *sum += count);
        self.invalid += other.invalid;
        self.bytes += other.bytes;
    }
}

#[cfg(test)]
mod tests {
    use eventcast_wire::{cursor::Check, frame::Chunk};
    use proptest::prelude::*;

    use super::*;

    fn event(kind: Kind) -> Event {
        Event {
            sequence: 1,
            nanos: 1,
            check: Check::ABSENT,
            kind,
            topic: None,
            event_type: None,
            source: None,
            id: None,
            trace: None,
            expires: None,
            chunk: Chunk::of(b"data: x\n\n"),
            received: None,
        }
    }

    proptest! {
        /// A pass over many subscribers comes to what each of them comes to alone, and nothing is counted twice or not at all.
        #[test]
        fn a_pass_is_the_sum_of_its_subscribers(
            kinds in proptest::collection::vec(prop_oneof![4 => Just(Kind::Data), 1 => Just(Kind::Invalid)], 0..40),
            absent in 0u64..40,
            masks in proptest::collection::vec(any::<u64>(), 0..20),
        ) {
            let events: Vec<_> = kinds.into_iter().map(event).collect();
            let candidates = events.len() as u64;
            let sequences = candidates + absent;
            let (mut pass, mut sum) = (DeliveryLedger::default(), DeliveryLedger::default());
            for mask in &masks {
                let mut alone = DeliveryLedger::default();
                let selected = events.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1);
                selected.for_each(|(_, event)| alone.sent(event));
                pass += alone;
                alone.settle(1, candidates, sequences);
                prop_assert_eq!(alone.total(), sequences);
                sum += alone;
            }
            pass.settle(masks.len() as u64, candidates, sequences);
            prop_assert_eq!(pass, sum);
            prop_assert_eq!(pass.count(Outcome::Absent), absent * masks.len() as u64);
        }
    }

    #[test]
    fn outcomes_are_numbered_in_order() {
        for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, at, "{}", outcome.as_str());
        }
    }
}

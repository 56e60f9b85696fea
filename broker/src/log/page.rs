//! A page: 256 consecutive sequences of the log, framed once. Pure.
//!
//! Its chunks lie side by side in one buffer, so that whoever replays without a filter is written whole pages.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use eventcast_wire::{
    cursor::Check,
    event::{Event, Kind},
};

/// Sequences of a page.
pub(crate) const PAGE: u64 = 256;
/// Bytes of a page that are worth a copy; beyond, each event has its own.
const PACKED_BYTES: usize = 256 << 10;

/// Every event of `low..=high` that the log still holds.
pub(crate) struct Page {
    /// First sequence that the page covers.
    pub(crate) low: u64,
    /// Last sequence that the page covers.
    pub(crate) high: u64,
    /// Its events, in order.
    pub(crate) events: Vec<Arc<Event>>,
    /// Where the stream began when this page was found to lack what lies before; it has no event below. Else 0.
    pub(crate) first_sequence: u64,
    packed: Option<Packed>,
    plain: bool,
    weight: u64,
}

/// The chunks of all events, one after the other.
struct Packed {
    bytes: Bytes,
    /// Where each begins, and where the last ends.
    starts: Vec<u32>,
}

impl Page {
    /// A page of what was read from the log.
    pub(super) fn read(low: u64, high: u64, mut events: Vec<Event>, first_sequence: u64) -> Self {
        let packed = Packed::of(events.iter());
        if let Some(Packed { bytes, starts }) = &packed {
            for (event, start) in events.iter_mut().zip(starts) {
                event.chunk = event.chunk.within(bytes, *start as usize);
            }
        }
        Self::new(low, high, events.into_iter().map(Arc::new).collect(), first_sequence, packed)
    }

    /// A page of what is in memory.
    pub(super) fn of_tail(low: u64, high: u64, events: Vec<Arc<Event>>) -> Self {
        // The page of the head is read once.
        let packed = is_whole(low, high).then(|| Packed::of(events.iter().map(|e| &**e)));
        let mut page = Self::new(low, high, events, 0, packed.flatten());
        page.weight += page.packed.as_ref().map_or(0, |p| p.bytes.len() as u64);
        page
    }

    fn new(
        low: u64,
        high: u64,
        events: Vec<Arc<Event>>,
        first_sequence: u64,
        packed: Option<Packed>,
    ) -> Self {
        let plain = events.iter().all(|e| e.kind == Kind::Data && e.expires.is_none());
        let weight = events.iter().map(|e| e.weight() as u64 + 4).sum::<u64>() + 128;
        Self { low, high, events, first_sequence, packed, plain, weight }
    }

    /// A page without events that says to cost `weight`.
    #[cfg(test)]
    pub(super) fn of_weight(low: u64, high: u64, weight: u64) -> Self {
        Self { weight, ..Self::read(low, high, Vec::new(), 0) }
    }

    /// The check of the event at `sequence`, if there is one.
    pub(super) fn check_at(&self, sequence: u64) -> Option<Check> {
        let at = self.events.binary_search_by_key(&sequence, |e| e.sequence).ok()?;
        Some(self.events[at].check)
    }

    /// Bytes that it costs, about.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// Whether each of its events goes to everyone who has no filter.
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }

    /// The chunks of the events `from..to`, if they lie side by side.
    pub(crate) fn side_by_side(&self, from: usize, to: usize) -> Option<&[u8]> {
        let Packed { bytes, starts } = self.packed.as_ref()?;
        Some(&bytes[starts[from] as usize..starts[to] as usize])
    }

    /// The first event whose chunk ends after `bytes` of the chunks from `from` on, which lie side by side.
    pub(crate) fn reached(&self, from: usize, bytes: usize) -> Option<usize> {
        let starts = &self.packed.as_ref()?.starts;
        let at = starts[from] as usize + bytes;
        Some(starts.partition_point(|start| *start as usize <= at) - 1)
    }
}

impl Packed {
    fn of<'a>(events: impl Iterator<Item = &'a Event> + Clone) -> Option<Self> {
        let total: usize = events.clone().map(|e| e.chunk.wire().len()).sum();
        if total > PACKED_BYTES {
            return None;
        }
        let (mut bytes, mut starts) = (BytesMut::with_capacity(total), Vec::with_capacity(64));
        for event in events {
            starts.push(u32::try_from(bytes.len()).ok()?);
            bytes.extend_from_slice(event.chunk.wire());
        }
        starts.push(u32::try_from(bytes.len()).ok()?);
        Some(Self { bytes: bytes.freeze(), starts })
    }
}

/// First and last sequence of the page that `sequence` is on, under `head`.
pub(super) fn bounds(sequence: u64, head: u64) -> (u64, u64) {
    let number = sequence / PAGE;
    ((number * PAGE).max(1), (number * PAGE + PAGE - 1).min(head))
}

/// Whether `low..=high` is a page that grows no more.
pub(super) fn is_whole(low: u64, high: u64) -> bool {
    bounds(low, u64::MAX) == (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Page {
        /// As [`read`](Self::read), for the tests of those who write pages.
        pub(crate) fn made(low: u64, high: u64, events: Vec<Event>) -> Self {
            Self::read(low, high, events, 0)
        }

        /// As [`of_tail`](Self::of_tail), likewise.
        pub(crate) fn made_of_tail(low: u64, high: u64, events: Vec<Arc<Event>>) -> Self {
            Self::of_tail(low, high, events)
        }
    }

    proptest! {
        #[test]
        fn a_page_holds_its_sequence_and_pages_do_not_overlap(sequence in 1u64..1_000_000, ahead in 0u64..1000) {
            let head = sequence + ahead;
            let (low, high) = bounds(sequence, head);
            prop_assert!(low <= sequence && sequence <= high && high <= head);
            prop_assert!(high - low < PAGE);
            if high < head {
                prop_assert_eq!(bounds(high + 1, head).0, high + 1);
            }
            for other in low..=high {
                prop_assert_eq!(bounds(other, head), (low, high));
            }
        }
    }
}

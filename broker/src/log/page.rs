//! A page: 256 consecutive sequences of the log, framed once. Pure.
//!
//! The chunks of a page are packed into one buffer, so that a subscriber without a filter is sent whole pages in one write.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use eventcast_wire::{
    cursor::Check,
    event::{Event, Kind},
};

/// Sequences of a page.
pub(crate) const PAGE_SEQUENCES: u64 = 256;
/// Bytes of the chunks of a page that are packed. Above this, a copy costs more than separate writes.
const MAX_PACKED_BYTES: usize = 256 << 10;

/// The events of `low..=high` that the log still held when the page was read.
pub(crate) struct Page {
    /// The first sequence that the page covers.
    pub(crate) low: u64,
    /// The last sequence that the page covers.
    pub(crate) high: u64,
    /// In order.
    pub(crate) events: Vec<Arc<Event>>,
    /// The first sequence of the stream, if retention has deleted the start of this page; else 0. The page has no event below.
    pub(crate) first_sequence: u64,
    packed: Option<Packed>,
    is_unconditional: bool,
    weight: u64,
}

/// The chunks of all events in one buffer.
struct Packed {
    bytes: Bytes,
    /// The offset of each chunk, and the end of the last.
    starts: Vec<u32>,
}

impl Page {
    /// A page of events that were read from the stream.
    pub(super) fn from_log(
        low: u64,
        high: u64,
        mut events: Vec<Event>,
        first_sequence: u64,
    ) -> Self {
        let packed = Packed::of(events.iter());
        if let Some(Packed { bytes, starts }) = &packed {
            for (event, start) in events.iter_mut().zip(starts) {
                event.chunk = event.chunk.within(bytes, *start as usize);
            }
        }
        Self::new(low, high, events.into_iter().map(Arc::new).collect(), first_sequence, packed)
    }

    /// A page of events of the tail.
    pub(super) fn from_tail(low: u64, high: u64, events: Vec<Arc<Event>>) -> Self {
        // An incomplete page, at the head, is read once only: packing it does not pay.
        let packed = is_complete(low, high).then(|| Packed::of(events.iter().map(|e| &**e)));
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
        let is_unconditional = events.iter().all(|e| e.kind == Kind::Data && e.expires.is_none());
        let weight = events.iter().map(|e| e.weight() as u64 + 4).sum::<u64>() + 128;
        Self { low, high, events, first_sequence, packed, is_unconditional, weight }
    }

    /// A page without events that claims to weigh `weight`.
    #[cfg(test)]
    pub(super) fn of_weight(low: u64, high: u64, weight: u64) -> Self {
        Self { weight, ..Self::from_log(low, high, Vec::new(), 0) }
    }

    /// The check of the event at `sequence`, if there is one.
    pub(super) fn check_at(&self, sequence: u64) -> Option<Check> {
        let at = self.events.binary_search_by_key(&sequence, |e| e.sequence).ok()?;
        Some(self.events[at].check)
    }

    /// Approximate bytes of memory.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// Whether a subscriber without a filter receives every event of the page: none is a marker or invalid, and none can expire.
    pub(crate) fn is_unconditional(&self) -> bool {
        self.is_unconditional
    }

    /// The chunks of the events `from..to` as one slice, if they are packed.
    pub(crate) fn packed_chunks(&self, from: usize, to: usize) -> Option<&[u8]> {
        let Packed { bytes, starts } = self.packed.as_ref()?;
        Some(&bytes[starts[from] as usize..starts[to] as usize])
    }

    /// The index of the event whose chunk contains the byte `bytes` after the start of the chunk of `from`, if the chunks are
    /// packed.
    pub(crate) fn event_at_byte(&self, from: usize, bytes: usize) -> Option<usize> {
        let starts = &self.packed.as_ref()?.starts;
        let at = starts[from] as usize + bytes;
        Some(starts.partition_point(|start| *start as usize <= at) - 1)
    }
}

impl Packed {
    fn of<'a>(events: impl Iterator<Item = &'a Event> + Clone) -> Option<Self> {
        let total: usize = events.clone().map(|e| e.chunk.wire().len()).sum();
        if total > MAX_PACKED_BYTES {
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

/// The first and the last sequence of the page that contains `sequence`, cut off at `head`.
pub(super) fn bounds(sequence: u64, head: u64) -> (u64, u64) {
    let number = sequence / PAGE_SEQUENCES;
    ((number * PAGE_SEQUENCES).max(1), (number * PAGE_SEQUENCES + PAGE_SEQUENCES - 1).min(head))
}

/// Whether `low..=high` is a complete page, which grows no more.
pub(super) fn is_complete(low: u64, high: u64) -> bool {
    bounds(low, u64::MAX) == (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Page {
        /// [`from_log`](Self::from_log), for tests of other modules.
        pub(crate) fn from_log_for_test(low: u64, high: u64, events: Vec<Event>) -> Self {
            Self::from_log(low, high, events, 0)
        }

        /// [`from_tail`](Self::from_tail), for tests of other modules.
        pub(crate) fn from_tail_for_test(low: u64, high: u64, events: Vec<Arc<Event>>) -> Self {
            Self::from_tail(low, high, events)
        }
    }

    proptest! {
        #[test]
        fn a_page_contains_its_sequence_and_pages_do_not_overlap(sequence in 1u64..1_000_000, ahead in 0u64..1000) {
            let head = sequence + ahead;
            let (low, high) = bounds(sequence, head);
            prop_assert!(low <= sequence && sequence <= high && high <= head);
            prop_assert!(high - low < PAGE_SEQUENCES);
            if high < head {
                prop_assert_eq!(bounds(high + 1, head).0, high + 1);
            }
            for other in low..=high {
                prop_assert_eq!(bounds(other, head), (low, high));
            }
        }
    }
}

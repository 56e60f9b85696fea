//! A batch of consecutive events for a sink, which writes as many of them as it can.

mod account;

pub(in crate::fanout) use account::Taken;

use std::{io::IoSlice, sync::Arc};

use bytes::Bytes;
use eventcast_wire::{
    event::{Event, Kind},
    filter::Filter,
    frame::Form,
};

use crate::log::{MAX_EVENTS_PER_READ, Page, Position};

/// The most slices of one write: one read of the ring, and two more.
pub(crate) const MAX_SLICES: usize = MAX_EVENTS_PER_READ + 2;
/// About how many bytes one write has: a socket buffer takes no more.
pub(crate) const WRITE_BYTES: usize = 256 << 10;

/// Consecutive events after a position.
pub(crate) struct Batch {
    source: Source,
    from: usize,
    /// Fixed for the batch: an event must not expire between being written and being counted.
    now: i64,
    /// The position after the whole batch.
    pub(crate) end: Position,
}

enum Source {
    Page(Arc<Page>),
    Ring(Vec<Arc<Event>>),
}

impl Batch {
    /// The events of `page` from `from` on.
    pub(super) fn of_page(page: Arc<Page>, from: usize, end: Position) -> Self {
        Self { source: Source::Page(page), from, now: crate::clock::now_nanos(), end }
    }

    /// Events of the tail.
    pub(super) fn of_ring(events: Vec<Arc<Event>>, end: Position) -> Self {
        Self { source: Source::Ring(events), from: 0, now: crate::clock::now_nanos(), end }
    }

    pub(crate) fn events(&self) -> &[Arc<Event>] {
        match &self.source {
            Source::Page(page) => &page.events[self.from..],
            Source::Ring(events) => events,
        }
    }

    /// Whether a filter may select `event`: it is not a marker, and its time to live has not passed.
    pub(super) fn is_candidate(&self, event: &Event) -> bool {
        event.kind != Kind::Marker && !event.expired_at(self.now)
    }

    /// The page, if `filter` passes it as a whole.
    fn whole(&self, filter: &Filter) -> Option<&Page> {
        match &self.source {
            Source::Page(page) if page.is_unconditional() && filter.is_empty() => Some(page),
            _ => None,
        }
    }

    /// The events that pass `filter`, up to the size of one write, and how many events of the batch that covers.
    pub(crate) fn slices(&self, filter: &Filter, form: Form) -> Slices<'_> {
        let events = self.events();
        let mut out = Slices::default();
        if form == Form::Chunk
            && let Some(page) = self.whole(filter)
            && let Some(bytes) = page.packed_chunks(self.from, page.events.len())
        {
            out.add(bytes);
            out.events = events.len();
            return out;
        }
        // Events that are adjacent in memory become one slice.
        let mut open: Option<(usize, usize)> = None;
        for (at, event) in events.iter().enumerate() {
            if out.is_full() {
                break;
            }
            out.events = at + 1;
            if !self.is_candidate(event) || !filter.passes(event) {
                continue;
            }
            match open {
                _ if form == Form::Frame || self.bytes(at, at + 1).is_none() => {
                    out.add(event.chunk.bytes(form));
                }
                Some((from, to)) if to == at => open = Some((from, at + 1)),
                last => {
                    last.and_then(|(from, to)| self.bytes(from, to))
                        .into_iter()
                        .for_each(|b| out.add(b));
                    open = Some((at, at + 1));
                }
            }
        }
        open.and_then(|(from, to)| self.bytes(from, to)).into_iter().for_each(|b| out.add(b));
        out
    }

    /// Bytes of the first `count` events, if `filter` passes the page as a whole.
    pub(super) fn whole_until(&self, filter: &Filter, count: usize) -> Option<usize> {
        Some(self.whole(filter)?.packed_chunks(self.from, self.from + count)?.len())
    }

    /// The last `left` bytes of event `at` in `form`. Those of a page are copied: a client that does not read must not keep a
    /// whole page in memory.
    pub(super) fn rest(&self, at: usize, left: usize, form: Form) -> Bytes {
        let wire = self.events()[at].chunk.shared(form);
        match self.source {
            Source::Ring(_) => wire.slice(wire.len() - left..),
            Source::Page(_) => Bytes::copy_from_slice(&wire[wire.len() - left..]),
        }
    }

    /// The chunks of the events `from..to`, if they are adjacent in memory.
    fn bytes(&self, from: usize, to: usize) -> Option<&[u8]> {
        match &self.source {
            Source::Page(page) => page.packed_chunks(self.from + from, self.from + to),
            Source::Ring(_) => None,
        }
    }

    /// After a partial write of `written` bytes of the slices for `filter`: the last event that was begun, and how many bytes of
    /// it are left. `None` if nothing was written.
    pub(crate) fn cut(
        &self,
        filter: &Filter,
        form: Form,
        written: usize,
    ) -> Option<(usize, usize)> {
        if written == 0 {
            return None;
        }
        if form == Form::Chunk
            && let Some(page) = self.whole(filter)
            && let Some(reached) = page.event_at_byte(self.from, written - 1)
        {
            let end = page.packed_chunks(self.from, reached + 1)?.len();
            return Some((reached - self.from, end - written));
        }
        let mut end = 0;
        for (at, event) in self.events().iter().enumerate() {
            if self.is_candidate(event) && filter.passes(event) {
                end += event.chunk.bytes(form).len();
                if end >= written {
                    return Some((at, end - written));
                }
            }
        }
        None
    }
}

/// Bytes for one vectored write.
pub(crate) struct Slices<'a> {
    slices: [IoSlice<'a>; MAX_SLICES],
    len: usize,
    /// Bytes of all slices.
    pub(crate) bytes: usize,
    /// Events of the batch that they cover, filtered ones included.
    pub(crate) events: usize,
}

impl Default for Slices<'_> {
    fn default() -> Self {
        Self { slices: [IoSlice::new(&[]); MAX_SLICES], len: 0, bytes: 0, events: 0 }
    }
}

impl<'a> Slices<'a> {
    /// Adds bytes. Must not be called when full.
    pub(crate) fn add(&mut self, bytes: &'a [u8]) {
        self.slices[self.len] = IoSlice::new(bytes);
        self.len += 1;
        self.bytes += bytes.len();
    }

    pub(crate) fn as_slice(&self) -> &[IoSlice<'a>] {
        &self.slices[..self.len]
    }

    fn is_full(&self) -> bool {
        // One slice is left for the adjacent events that are not added yet.
        self.len + 1 >= MAX_SLICES || self.bytes >= WRITE_BYTES
    }
}

#[cfg(test)]
mod tests;

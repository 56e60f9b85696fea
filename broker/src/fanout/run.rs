//! What a reading of the log gives a sink: events in order, of which it takes as many as it can.

use std::{io::IoSlice, sync::Arc};

use bytes::Bytes;
use eventcast_wire::{event::Event, filter::Filter};

use crate::log::{BATCH, Page, Position};

/// Slices of one write at most: one reading of the ring fits, and two more.
pub(crate) const SLICES: usize = BATCH + 2;
/// Bytes of one write, about: more would not fit a socket anyway.
pub(crate) const WRITE_BYTES: usize = 256 << 10;

/// Consecutive events after a position.
pub(crate) struct Run {
    source: Source,
    from: usize,
    /// One time for all questions: an event must not expire between its writing and its counting.
    now: i64,
    /// The position of who has taken all of it.
    pub(crate) end: Position,
}

enum Source {
    Page(Arc<Page>),
    Ring(Vec<Arc<Event>>),
}

impl Run {
    /// The events of `page` from `from` on.
    pub(super) fn of_page(page: Arc<Page>, from: usize, end: Position) -> Self {
        Self { source: Source::Page(page), from, now: crate::clock::now_nanos(), end }
    }

    /// Events of the tail.
    pub(super) fn of_ring(events: Vec<Arc<Event>>, end: Position) -> Self {
        Self { source: Source::Ring(events), from: 0, now: crate::clock::now_nanos(), end }
    }

    /// All of them.
    pub(crate) fn events(&self) -> &[Arc<Event>] {
        match &self.source {
            Source::Page(page) => &page.events[self.from..],
            Source::Ring(events) => events,
        }
    }

    /// Whether `event` is still to be had.
    pub(super) fn holds(&self, event: &Event) -> bool {
        !event.expired_at(self.now)
    }

    /// The page, where all of it goes out as it lies.
    fn whole(&self, filter: &Filter) -> Option<&Page> {
        match &self.source {
            Source::Page(page) if page.is_unconditional() && filter.is_empty() => Some(page),
            _ => None,
        }
    }

    /// What `filter` lets pass of the first events, as far as one write goes; and how many events that are.
    pub(crate) fn slices(&self, filter: &Filter) -> Slices<'_> {
        let events = self.events();
        let mut out = Slices::default();
        if let Some(page) = self.whole(filter)
            && let Some(bytes) = page.packed_chunks(self.from, page.events.len())
        {
            out.add(bytes);
            out.events = events.len();
            return out;
        }
        // Neighbours are one slice where they lie side by side.
        let mut open: Option<(usize, usize)> = None;
        for (at, event) in events.iter().enumerate() {
            if out.is_full() {
                break;
            }
            out.events = at + 1;
            if !self.holds(event) || !filter.passes(event) {
                continue;
            }
            match open {
                _ if self.bytes(at, at + 1).is_none() => out.add(event.chunk.wire()),
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

    /// Bytes of the first `count` events and the last of them, where they go out as they lie.
    pub(super) fn whole_until(&self, filter: &Filter, count: usize) -> Option<(usize, &Event)> {
        let page = self.whole(filter)?;
        let bytes = page.packed_chunks(self.from, self.from + count)?.len();
        Some((bytes, self.events().get(count.checked_sub(1)?)?))
    }

    /// The last `left` bytes of the chunk of event `at`. Of a page a copy: nobody holds a whole page who does not read.
    pub(super) fn rest(&self, at: usize, left: usize) -> Bytes {
        let wire = self.events()[at].chunk.wire();
        match self.source {
            Source::Ring(_) => wire.slice(wire.len() - left..),
            Source::Page(_) => Bytes::copy_from_slice(&wire[wire.len() - left..]),
        }
    }

    /// The chunks of the events `from..to`, if they lie side by side.
    fn bytes(&self, from: usize, to: usize) -> Option<&[u8]> {
        match &self.source {
            Source::Page(page) => page.packed_chunks(self.from + from, self.from + to),
            Source::Ring(_) => None,
        }
    }

    /// Of the slices that `filter` made, `written` bytes were written, fewer than all: the last event that was begun, and how
    /// many bytes of its chunk are left. None where nothing was written.
    pub(crate) fn cut(&self, filter: &Filter, written: usize) -> Option<(usize, usize)> {
        if written == 0 {
            return None;
        }
        if let Some(page) = self.whole(filter)
            && let Some(reached) = page.event_at_byte(self.from, written - 1)
        {
            let end = page.packed_chunks(self.from, reached + 1)?.len();
            return Some((reached - self.from, end - written));
        }
        let mut end = 0;
        for (at, event) in self.events().iter().enumerate() {
            if self.holds(event) && filter.passes(event) {
                end += event.chunk.wire().len();
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
    slices: [IoSlice<'a>; SLICES],
    len: usize,
    /// Bytes of all slices.
    pub(crate) bytes: usize,
    /// Events that they come from, held back ones included.
    pub(crate) events: usize,
}

impl Default for Slices<'_> {
    fn default() -> Self {
        Self { slices: [IoSlice::new(&[]); SLICES], len: 0, bytes: 0, events: 0 }
    }
}

impl<'a> Slices<'a> {
    /// Adds bytes; not when full.
    pub(crate) fn add(&mut self, bytes: &'a [u8]) {
        self.slices[self.len] = IoSlice::new(bytes);
        self.len += 1;
        self.bytes += bytes.len();
    }

    pub(crate) fn as_slice(&self) -> &[IoSlice<'a>] {
        &self.slices[..self.len]
    }

    fn is_full(&self) -> bool {
        // one is left for the open run
        self.len + 1 >= SLICES || self.bytes >= WRITE_BYTES
    }
}

#[cfg(test)]
mod tests;

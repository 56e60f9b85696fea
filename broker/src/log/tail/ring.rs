//! The ring buffer of a tail: the newest events, and the range of sequences that they cover. Pure.

use std::{collections::VecDeque, sync::Arc};

use eventcast_wire::{cursor::Check, event::Event};

use crate::log::{Incarnation, Position, page};

/// Events per read. A shard keeps one bit per event for each subscriber, and passes one slice per event to `writev`.
pub(crate) const MAX_EVENTS_PER_READ: usize = 64;

/// Limits of one tail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TailBudget {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// The result of reading the tail after a position.
#[derive(Debug)]
pub(crate) enum TailRead {
    /// Events in order. Empty if the position is the head.
    Events(Vec<Arc<Event>>),
    /// The position is below the tail. Read pages.
    BelowTail,
    /// The whole page after the position is in memory. Reading it as a page is cheaper than event by event.
    PageInMemory,
    /// The stream has deleted the events after the position. Delivery resumes at this one.
    Expired(Position),
    /// The position belongs to an earlier incarnation. Delivery resumes at this one.
    Recreated(Position),
    /// The log was not read yet, or must not be served at the moment.
    NotReady,
}

pub(super) struct Ring {
    pub(super) events: VecDeque<Arc<Event>>,
    /// The weight of all events.
    pub(super) bytes: usize,
    /// The first sequence that the ring covers.
    pub(super) low: u64,
    /// The last sequence that the ring covers; `low - 1` if it covers none.
    pub(super) high: u64,
    /// The first sequence of the stream as far as is known, at most `high + 1`.
    pub(super) first: u64,
    /// Sequence and check of the newest evicted event, for cursors just below the ring.
    pub(super) last_evicted: Option<(u64, Check)>,
    pub(super) incarnation: Option<Incarnation>,
    /// Whether everything up to `high` was read.
    pub(super) is_ready: bool,
    /// The stream is missing: nothing may be served until it is found again.
    pub(super) is_stream_missing: bool,
    pub(super) budget: TailBudget,
}

impl Ring {
    /// An empty ring whose coverage starts at `start`.
    pub(super) fn empty(budget: TailBudget, incarnation: Option<Incarnation>, start: u64) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            low: start,
            high: start - 1,
            first: incarnation.map_or(start, |i| i.first_sequence.min(start)),
            last_evicted: None,
            incarnation,
            is_ready: false,
            is_stream_missing: false,
            budget,
        }
    }

    /// Evicts the oldest events until the rest is within the budget. The newest event always stays.
    pub(super) fn evict(&mut self, mut removed: impl FnMut(Arc<Event>)) {
        while self.events.len() > self.budget.events
            || (self.bytes > self.budget.bytes && self.events.len() > 1)
        {
            let Some(old) = self.events.pop_front() else {
                break;
            };
            self.bytes -= old.weight();
            self.low = old.sequence + 1;
            self.last_evicted = Some((old.sequence, old.check));
            removed(old);
        }
    }

    /// The incarnation, if its events may be served.
    pub(super) fn served(&self) -> Option<Incarnation> {
        self.incarnation.filter(|_| self.is_ready && !self.is_stream_missing)
    }

    /// The position before the first event of the stream.
    pub(super) fn start(&self, incarnation: Incarnation) -> Position {
        let sequence = self.first.saturating_sub(1);
        Position { incarnation: incarnation.number, sequence, check: Check::ABSENT }
    }

    /// Removes the events below `end`, which is at most `high + 1`. Coverage starts at `end` afterwards.
    pub(super) fn pop_below(&mut self, end: u64, removed: &mut Vec<Arc<Event>>) {
        while self.events.front().is_some_and(|e| e.sequence < end)
            && let Some(old) = self.events.pop_front()
        {
            self.bytes -= old.weight();
            self.last_evicted = Some((old.sequence, old.check));
            removed.push(old);
        }
        self.low = self.low.max(end);
    }

    pub(super) fn read(&self, at: &Position, limit: u64, prefer_pages: bool) -> TailRead {
        let Some(incarnation) = self.served() else {
            return TailRead::NotReady;
        };
        if at.incarnation != incarnation.number {
            return TailRead::Recreated(self.start(incarnation));
        }
        if at.sequence + 1 < self.first {
            return TailRead::Expired(self.start(incarnation));
        }
        if at.sequence + 1 < self.low {
            return TailRead::BelowTail;
        }
        let (low, high) = page::bounds(at.sequence + 1, u64::MAX);
        if prefer_pages && low >= self.low && high <= limit.min(self.high) {
            return TailRead::PageInMemory;
        }
        let from = self.events.partition_point(|e| e.sequence <= at.sequence);
        let events = self.events.range(from..).take_while(|e| e.sequence <= limit);
        TailRead::Events(events.take(MAX_EVENTS_PER_READ).cloned().collect())
    }
}

//! The ring of a tail: the newest events, what they cover, and what lies after a position. Pure.

use std::{collections::VecDeque, sync::Arc};

use eventcast_wire::{cursor::Check, event::Event};

use crate::log::{Incarnation, Position, page};

/// Events that one reading takes at most: a bit for each in what a shard owes a subscriber, and a slice for each in one write.
pub(crate) const BATCH: usize = 64;

/// Budgets of one tail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TailBudget {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// What lies after a position.
#[derive(Debug)]
pub(crate) enum Reading {
    /// Events from memory, in order, none after the last; empty where the position is the head.
    Events(Vec<Arc<Event>>),
    /// The position lies below the tail: read pages.
    Below,
    /// The position lies more than a page behind: memory holds the whole page that follows it.
    Far,
    /// The stream has dropped what follows the position; delivery goes on from here.
    Expired(Position),
    /// The position is of an older incarnation; delivery goes on from here.
    Renewed(Position),
    /// The log was not read yet, or is being read anew.
    NotReady,
}

pub(super) struct Ring {
    pub(super) events: VecDeque<Arc<Event>>,
    pub(super) bytes: usize,
    pub(super) low: u64,
    pub(super) high: u64,
    /// The stream holds nothing below; never more than one past `high`.
    pub(super) first: u64,
    /// The newest event that left the ring: the anchor of cursors just below it.
    pub(super) left: Option<(u64, Check)>,
    pub(super) incarnation: Option<Incarnation>,
    pub(super) ready: bool,
    /// The stream is not there: what it held may not be served.
    pub(super) withheld: bool,
    pub(super) budget: TailBudget,
}

impl Ring {
    /// Covers nothing, from `start` on.
    pub(super) fn empty(budget: TailBudget, incarnation: Option<Incarnation>, start: u64) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            low: start,
            high: start - 1,
            first: incarnation.map_or(start, |i| i.first_sequence.min(start)),
            left: None,
            incarnation,
            ready: false,
            withheld: false,
            budget,
        }
    }

    /// Lets the oldest go until the budget holds; the newest stays, whatever it costs.
    pub(super) fn evict(&mut self, mut gone: impl FnMut(Arc<Event>)) {
        while self.events.len() > self.budget.events
            || (self.bytes > self.budget.bytes && self.events.len() > 1)
        {
            let Some(old) = self.events.pop_front() else {
                break;
            };
            self.bytes -= old.weight();
            self.low = old.sequence + 1;
            self.left = Some((old.sequence, old.check));
            gone(old);
        }
    }

    /// The incarnation, while events of it may be served.
    pub(super) fn served(&self) -> Option<Incarnation> {
        self.incarnation.filter(|_| self.ready && !self.withheld)
    }

    /// Before the first event that the stream holds.
    pub(super) fn beginning(&self, incarnation: Incarnation) -> Position {
        let sequence = self.first.saturating_sub(1);
        Position { incarnation: incarnation.number, sequence, check: Check::ABSENT }
    }

    /// Lets the events below `end` go, which is at most one past the head; coverage begins there.
    pub(super) fn pop_below(&mut self, end: u64, gone: &mut Vec<Arc<Event>>) {
        while self.events.front().is_some_and(|e| e.sequence < end)
            && let Some(old) = self.events.pop_front()
        {
            self.bytes -= old.weight();
            self.left = Some((old.sequence, old.check));
            gone.push(old);
        }
        self.low = self.low.max(end);
    }

    pub(super) fn read(&self, at: &Position, limit: u64, far: bool) -> Reading {
        let Some(incarnation) = self.served() else {
            return Reading::NotReady;
        };
        if at.incarnation != incarnation.number {
            return Reading::Renewed(self.beginning(incarnation));
        }
        if at.sequence + 1 < self.first {
            return Reading::Expired(self.beginning(incarnation));
        }
        if at.sequence + 1 < self.low {
            return Reading::Below;
        }
        let (low, high) = page::bounds(at.sequence + 1, u64::MAX);
        if far && low >= self.low && high <= limit.min(self.high) {
            return Reading::Far;
        }
        let from = self.events.partition_point(|e| e.sequence <= at.sequence);
        let events = self.events.range(from..).take_while(|e| e.sequence <= limit);
        Reading::Events(events.take(BATCH).cloned().collect())
    }
}

//! The tail: the newest events in memory, framed, shared by every subscriber.
//!
//! Invariant: while it is ready, it holds every message of the current incarnation that was in the stream, with
//! `low <= sequence <= high`, when it was read. So a reader at `c` with `c + 1 >= low` misses nothing by reading here.
//! One lock; reading and the decision to read pages instead are atomic under it.

use std::{collections::VecDeque, sync::Arc};

use futures_util::task::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};
use slab::Slab;
use tokio::sync::watch;

use super::{Incarnation, Position, page};
use crate::{cursor::Check, event::Event, metrics::ChannelMetrics};

/// Events that one reading takes at most.
const BATCH: usize = 64;

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
    /// The position is of an older incarnation; delivery goes on from here.
    Renewed(Position),
    /// The log was not read yet, or is being read anew.
    NotReady,
}

struct Ring {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    low: u64,
    high: u64,
    /// The newest event that left the ring: the anchor of cursors just below it.
    left: Option<(u64, i64)>,
    incarnation: Option<Incarnation>,
    ready: bool,
    budget: TailBudget,
}

impl Ring {
    /// Covers nothing, from `start` on.
    fn empty(budget: TailBudget, incarnation: Option<Incarnation>, start: u64) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            low: start,
            high: start - 1,
            left: None,
            incarnation,
            ready: false,
            budget,
        }
    }

    /// Lets the oldest go until the budget holds; the newest stays, whatever it costs.
    fn evict(&mut self, mut gone: impl FnMut(Arc<Event>)) {
        while self.events.len() > self.budget.events
            || (self.bytes > self.budget.bytes && self.events.len() > 1)
        {
            let Some(old) = self.events.pop_front() else {
                break;
            };
            self.bytes -= old.weight();
            self.low = old.sequence + 1;
            self.left = Some((old.sequence, old.nanos));
            gone(old);
        }
    }

    fn read(&self, at: &Position, limit: u64, far: bool) -> Reading {
        let Some(incarnation) = self.incarnation.filter(|_| self.ready) else {
            return Reading::NotReady;
        };
        if at.incarnation != incarnation.number {
            return Reading::Renewed(incarnation.first());
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

pub(crate) struct Tail {
    ring: Mutex<Ring>,
    head: watch::Sender<u64>,
    listeners: Mutex<Slab<Arc<AtomicWaker>>>,
    metrics: Arc<ChannelMetrics>,
}

impl Tail {
    pub(crate) fn new(budget: TailBudget, metrics: Arc<ChannelMetrics>) -> Self {
        Self {
            ring: Mutex::new(Ring::empty(budget, None, 1)),
            head: watch::Sender::new(0),
            listeners: Mutex::default(),
            metrics,
        }
    }

    /// Begins a new incarnation whose coverage starts at `start`. Not ready before [`Tail::set_ready`].
    pub(super) fn begin(&self, incarnation: Incarnation, start: u64) {
        let mut r = self.ring.lock();
        *r = Ring::empty(r.budget, Some(incarnation), start);
        self.measure(&r);
    }

    /// From now on it holds `bytes` at most; what is too much leaves at once.
    pub(super) fn resize(&self, bytes: usize) {
        let mut gone = Vec::new();
        let mut r = self.ring.lock();
        r.budget.bytes = bytes;
        r.evict(|event| gone.push(event));
        self.measure(&r);
        drop(r); // freed without the lock: it may be all that the tail held
    }

    /// Forgets everything but the number of the incarnation, until the next [`Tail::begin`].
    pub(super) fn invalidate(&self) {
        self.ring.lock().ready = false;
        self.head.send_modify(|_| {});
        self.wake();
    }

    /// Everything up to `covered` was read; the tail can be served from.
    pub(super) fn set_ready(&self, covered: u64) {
        let mut r = self.ring.lock();
        r.ready = true;
        r.high = r.high.max(covered);
        self.publish_head(r);
    }

    /// Retention took what follows the head while nobody read: coverage begins anew at `start`.
    pub(super) fn skip_to(&self, start: u64) {
        let mut r = self.ring.lock();
        r.events.clear();
        (r.bytes, r.low, r.high, r.left) = (0, start, start - 1, None);
        self.measure(&r);
    }

    /// Retention may have taken what is missing below `first`: coverage begins there at the earliest.
    pub(super) fn forget_below(&self, first: u64) {
        let mut r = self.ring.lock();
        while r.events.front().is_some_and(|e| e.sequence < first) {
            if let Some(old) = r.events.pop_front() {
                r.bytes -= old.weight();
                r.left = Some((old.sequence, old.nanos));
            }
        }
        r.low = r.low.max(first.min(r.high + 1));
        self.measure(&r);
    }

    /// Takes the next event of the log; what is already here is dropped. Nobody is told before [`Tail::announce`].
    pub(super) fn push(&self, event: Event) {
        let mut r = self.ring.lock();
        if event.sequence <= r.high {
            return;
        }
        r.high = event.sequence;
        r.bytes += event.weight();
        r.events.push_back(Arc::new(event));
        r.evict(drop);
        self.metrics.events_in.inc();
        self.measure(&r);
    }

    /// Tells whoever listens of what was pushed.
    pub(super) fn announce(&self) {
        self.publish_head(self.ring.lock());
    }

    fn publish_head(&self, ring: MutexGuard<'_, Ring>) {
        self.measure(&ring);
        let (high, ready) = (ring.high, ring.ready);
        drop(ring);
        if ready {
            self.head.send_replace(high);
            self.wake();
        }
    }

    fn wake(&self) {
        for (_, waker) in self.listeners.lock().iter() {
            waker.wake();
        }
    }

    /// Wakes `waker` whenever there is news, until [`Tail::unlisten`].
    pub(crate) fn listen(&self, waker: Arc<AtomicWaker>) -> usize {
        self.listeners.lock().insert(waker)
    }

    pub(crate) fn unlisten(&self, key: usize) {
        self.listeners.lock().try_remove(key);
    }

    fn measure(&self, r: &Ring) {
        let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.tail_events.set(gauge(r.events.len()));
        self.metrics.tail_bytes.set(gauge(r.bytes));
        self.metrics.tail_head.set(i64::try_from(r.high).unwrap_or(i64::MAX));
    }

    /// What lies after `at`, up to and with `limit`.
    pub(crate) fn read(&self, at: &Position, limit: u64) -> Reading {
        self.ring.lock().read(at, limit, true)
    }

    /// What lies after `at`, the head of a reader that is never told to read pages of what is in memory.
    pub(crate) fn read_on(&self, at: &Position) -> Reading {
        self.ring.lock().read(at, u64::MAX, false)
    }

    /// Every event with `low <= sequence <= high`, if all of that range is in memory.
    pub(crate) fn span(&self, incarnation: u64, low: u64, high: u64) -> Option<Vec<Arc<Event>>> {
        let r = self.ring.lock();
        let current = r.ready && r.incarnation.is_some_and(|i| i.number == incarnation);
        if !current || low < r.low || high > r.high {
            return None;
        }
        let from = r.events.partition_point(|e| e.sequence < low);
        let to = r.events.partition_point(|e| e.sequence <= high);
        Some(r.events.range(from..to).cloned().collect())
    }

    /// The incarnation, once the log was read.
    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        let r = self.ring.lock();
        r.incarnation.filter(|_| r.ready)
    }

    /// The position of a reader that has seen everything.
    pub(crate) fn head(&self) -> Option<Position> {
        let r = self.ring.lock();
        let incarnation = r.incarnation.filter(|_| r.ready)?;
        let newest = r.events.back().filter(|e| e.sequence == r.high);
        let check = match (newest, r.left) {
            (Some(e), _) => Check::of(e.nanos),
            (None, Some((s, nanos))) if s == r.high => Check::of(nanos),
            _ => Check::ABSENT,
        };
        Some(Position { incarnation: incarnation.number, sequence: r.high, check })
    }

    /// Newest sequence and timestamp, to attach at; whatever the state.
    pub(super) fn anchor(&self) -> Option<(Incarnation, u64, Option<i64>)> {
        let r = self.ring.lock();
        let newest = r.events.back().filter(|e| e.sequence == r.high).map(|e| e.nanos);
        r.incarnation.filter(|_| r.ready).map(|i| (i, r.high, newest))
    }

    /// The number of the last incarnation begun.
    pub(super) fn last_number(&self) -> u64 {
        self.ring.lock().incarnation.map_or(0, |i| i.number)
    }

    /// The lowest and the highest sequence covered.
    pub(crate) fn bounds(&self) -> (u64, u64) {
        let r = self.ring.lock();
        (r.low, r.high)
    }

    /// The first sequence whose event was stored at `nanos` or later, if memory can tell.
    pub(crate) fn first_since(&self, nanos: i64) -> Option<u64> {
        let r = self.ring.lock();
        let oldest = r.events.front()?;
        let at = r.events.iter().position(|e| e.nanos >= nanos);
        match at {
            Some(0) if oldest.nanos > nanos => None,
            Some(i) => Some(r.events[i].sequence),
            None => Some(r.high + 1),
        }
    }

    /// What is known of the event at `sequence`: `None` where memory does not reach, `Some(None)` where there is no event.
    pub(crate) fn check_at(&self, sequence: u64) -> Option<Option<Check>> {
        let r = self.ring.lock();
        if let Some((s, nanos)) = r.left
            && s == sequence
        {
            return Some(Some(Check::of(nanos)));
        }
        if sequence < r.low || sequence > r.high {
            return None;
        }
        let found = r.events.binary_search_by_key(&sequence, |e| e.sequence).ok();
        Some(found.map(|i| Check::of(r.events[i].nanos)))
    }

    /// Wakes when the head moves, or the incarnation changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }
}

#[cfg(test)]
mod tests;

//! The tail: the newest events in memory, framed, shared by every subscriber.
//!
//! Invariant: while it is ready, it holds every message of the current incarnation that is in the stream, with
//! `low <= sequence <= high`, and none for longer than two seconds that the stream has dropped (see [`super::retention`]). So a
//! reader at `c` with `c + 1 >= low` misses nothing by reading here.
//! One lock; reading and the decision to read pages instead are atomic under it.

use std::sync::Arc;

use futures_util::task::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};
use slab::Slab;
use tokio::sync::watch;

mod ring;

pub(crate) use ring::{BATCH, Reading, TailBudget};

use super::{Incarnation, Position};
use eventcast_wire::{cursor::Check, event::Event};

use crate::metrics::ChannelMetrics;
use ring::Ring;

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
        (r.ready, r.withheld) = (true, false);
        r.high = r.high.max(covered);
        self.publish_head(r);
    }

    /// Retention took what follows the head while nobody read, up to `first`: coverage begins anew at `start`.
    pub(super) fn skip_to(&self, start: u64, first: u64) {
        let mut r = self.ring.lock();
        r.events.clear();
        (r.bytes, r.low, r.high, r.left) = (0, start, start - 1, None);
        r.first = r.first.max(first.min(start));
        self.measure(&r);
    }

    /// The stream holds nothing below `first`, nor any of `deleted`, which ascend; neither does the tail from now on. Tells
    /// whether the beginning moved.
    pub(super) fn forget(&self, first: u64, deleted: &[u64]) -> bool {
        let mut gone = Vec::new();
        let mut r = self.ring.lock();
        let first = first.min(r.high + 1);
        let moved = first > r.first;
        r.first = r.first.max(first);
        r.pop_below(first, &mut gone);
        if deleted.iter().any(|s| r.events.binary_search_by_key(s, |e| e.sequence).is_ok()) {
            let Ring { events, bytes, left, high, .. } = &mut *r;
            events.retain(|event| {
                let stays = deleted.binary_search(&event.sequence).is_err();
                if !stays {
                    *bytes -= event.weight();
                    if event.sequence == *high {
                        *left = Some((event.sequence, event.check));
                    }
                    gone.push(Arc::clone(event));
                }
                stays
            });
        }
        self.measure(&r);
        drop(r); // freed without the lock
        moved
    }

    /// Lets all events go: the stream may have dropped any of them. Whoever is behind reads pages.
    pub(super) fn forget_all(&self) {
        let mut gone = Vec::new();
        let mut r = self.ring.lock();
        let end = r.high + 1;
        r.pop_below(end, &mut gone);
        self.measure(&r);
    }

    /// Lets go what was stored before `nanos`. It may still be in the stream: whoever is behind reads pages.
    pub(super) fn evict_before(&self, nanos: i64) {
        let mut gone = Vec::new();
        let mut r = self.ring.lock();
        let kept = r.events.iter().find(|e| e.nanos >= nanos).map(|e| e.sequence);
        let end = kept.unwrap_or(r.high + 1);
        r.pop_below(end, &mut gone);
        self.measure(&r);
    }

    /// The stream is not there. Nothing is served until the tail is attached again, or begins anew.
    pub(super) fn withhold(&self) {
        self.ring.lock().withheld = true;
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
        let served = r.served().is_some_and(|i| i.number == incarnation);
        if !served || low < r.low || high > r.high {
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

    /// The incarnation, while events of it may be served.
    pub(super) fn served(&self) -> Option<Incarnation> {
        self.ring.lock().served()
    }

    /// The stream holds nothing below, as far as is known.
    pub(crate) fn first(&self) -> u64 {
        self.ring.lock().first
    }

    /// The position before the first event that the stream holds.
    pub(crate) fn beginning(&self) -> Option<Position> {
        let r = self.ring.lock();
        r.incarnation.filter(|_| r.ready).map(|i| r.beginning(i))
    }

    /// The position of a reader that has seen everything.
    pub(crate) fn head(&self) -> Option<Position> {
        let r = self.ring.lock();
        let incarnation = r.incarnation.filter(|_| r.ready)?;
        let newest = r.events.back().filter(|e| e.sequence == r.high);
        let check = match (newest, r.left) {
            (Some(e), _) => e.check,
            (None, Some((s, check))) if s == r.high => check,
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
        if let Some((s, check)) = r.left
            && s == sequence
        {
            return Some(Some(check));
        }
        if sequence < r.low || sequence > r.high {
            return None;
        }
        let found = r.events.binary_search_by_key(&sequence, |e| e.sequence).ok();
        Some(found.map(|i| r.events[i].check))
    }

    /// Wakes when the head moves, or the incarnation changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }
}

#[cfg(test)]
mod tests;

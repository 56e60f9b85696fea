//! The tail: the newest events of a log in memory, framed, shared by all subscribers.
//!
//! Invariant: while the tail is ready, it holds every message of the current incarnation with `low <= sequence <= high`. A message
//! that the stream deletes leaves the tail within two seconds (see [`super::retention`]). So a reader at `c` with `c + 1 >= low`
//! misses nothing by reading here.
//!
//! One lock guards the ring. Reading, and the decision to read pages instead, are atomic under it.

use std::sync::Arc;

use futures_util::task::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};
use slab::Slab;
use tokio::sync::watch;

mod ring;

pub(crate) use ring::{BATCH, TailBudget, TailRead};

use super::{Incarnation, Position};
use eventcast_wire::{cursor::Check, event::Event};

use crate::metrics::ChannelMetrics;
use ring::Ring;

/// The newest events of one log.
pub(crate) struct Tail {
    ring: Mutex<Ring>,
    head: watch::Sender<u64>,
    wakers: Mutex<Slab<Arc<AtomicWaker>>>,
    metrics: Arc<ChannelMetrics>,
}

impl Tail {
    pub(crate) fn new(budget: TailBudget, metrics: Arc<ChannelMetrics>) -> Self {
        Self {
            ring: Mutex::new(Ring::empty(budget, None, 1)),
            head: watch::Sender::new(0),
            wakers: Mutex::default(),
            metrics,
        }
    }

    /// Starts a new incarnation whose coverage starts at `start`. It is not ready before [`Tail::set_ready`].
    pub(super) fn begin(&self, incarnation: Incarnation, start: u64) {
        let mut r = self.ring.lock();
        *r = Ring::empty(r.budget, Some(incarnation), start);
        self.measure(&r);
    }

    /// Sets the byte budget. Events over the budget are evicted at once.
    pub(super) fn resize(&self, bytes: usize) {
        let mut gone = Vec::new();
        let mut r = self.ring.lock();
        r.budget.bytes = bytes;
        r.evict(|event| gone.push(event));
        self.measure(&r);
        drop(r); // free the events without the lock: there may be many
    }

    /// Stops serving the current incarnation. The next [`Tail::begin`] replaces it.
    pub(super) fn invalidate(&self) {
        self.ring.lock().ready = false;
        self.head.send_modify(|_| {});
        self.wake_all();
    }

    /// Marks the tail as ready: everything up to `covered` was read.
    pub(super) fn set_ready(&self, covered: u64) {
        let mut r = self.ring.lock();
        (r.ready, r.withheld) = (true, false);
        r.high = r.high.max(covered);
        self.publish_head(r);
    }

    /// Restarts coverage at `start`. The stream deleted the messages between the head and `first` while the tail was detached.
    pub(super) fn skip_to(&self, start: u64, first: u64) {
        let mut r = self.ring.lock();
        r.events.clear();
        (r.bytes, r.low, r.high, r.left) = (0, start, start - 1, None);
        r.first = r.first.max(first.min(start));
        self.measure(&r);
    }

    /// Removes what the stream does not hold any more: everything below `first`, and the sequences of `deleted`, which is sorted.
    /// Returns whether the first sequence advanced.
    pub(super) fn remove(&self, first: u64, deleted: &[u64]) -> bool {
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
        drop(r); // free the events without the lock
        moved
    }

    /// Removes all events, because the stream may have deleted any of them. Subscribers that are behind read pages.
    pub(super) fn clear(&self) {
        let mut gone = Vec::new();
        let mut r = self.ring.lock();
        let end = r.high + 1;
        r.pop_below(end, &mut gone);
        self.measure(&r);
    }

    /// Evicts events that were stored before `nanos`. The stream may still hold them: subscribers that are behind read pages.
    /// Returns whether there were any.
    pub(super) fn evict_before(&self, nanos: i64) -> bool {
        let mut gone = Vec::new();
        let mut r = self.ring.lock();
        let kept = r.events.iter().find(|e| e.nanos >= nanos).map(|e| e.sequence);
        let end = kept.unwrap_or(r.high + 1);
        r.pop_below(end, &mut gone);
        self.measure(&r);
        !gone.is_empty()
    }

    /// Stops serving, because the stream is missing. [`Tail::set_ready`] or [`Tail::begin`] ends that.
    pub(super) fn withhold(&self) {
        self.ring.lock().withheld = true;
    }

    /// Appends the next event of the log. An event that is already here is ignored. Wakes nobody; see [`Tail::announce`].
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

    /// Publishes the new head and wakes the subscribers.
    pub(super) fn announce(&self) {
        self.publish_head(self.ring.lock());
    }

    fn publish_head(&self, ring: MutexGuard<'_, Ring>) {
        self.measure(&ring);
        let (high, ready) = (ring.high, ring.ready);
        drop(ring);
        if ready {
            self.head.send_replace(high);
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        for (_, waker) in self.wakers.lock().iter() {
            waker.wake();
        }
    }

    /// Registers a waker that is woken whenever the head or the incarnation changes, until [`Tail::remove_waker`].
    pub(crate) fn add_waker(&self, waker: Arc<AtomicWaker>) -> usize {
        self.wakers.lock().insert(waker)
    }

    pub(crate) fn remove_waker(&self, key: usize) {
        self.wakers.lock().try_remove(key);
    }

    fn measure(&self, r: &Ring) {
        let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.tail_events.set(gauge(r.events.len()));
        self.metrics.tail_bytes.set(gauge(r.bytes));
        self.metrics.tail_head.set(i64::try_from(r.high).unwrap_or(i64::MAX));
    }

    /// Reads after `at`, up to and including `limit`.
    pub(crate) fn read(&self, at: &Position, limit: u64) -> TailRead {
        self.ring.lock().read(at, limit, true)
    }

    /// Reads after `at`. Never answers [`TailRead::PageInMemory`]: it is for subscribers at the head, which write event by event.
    pub(crate) fn read_events(&self, at: &Position) -> TailRead {
        self.ring.lock().read(at, u64::MAX, false)
    }

    /// The events with `low <= sequence <= high`, if the tail covers that whole range.
    pub(crate) fn range(&self, incarnation: u64, low: u64, high: u64) -> Option<Vec<Arc<Event>>> {
        let r = self.ring.lock();
        let served = r.served().is_some_and(|i| i.number == incarnation);
        if !served || low < r.low || high > r.high {
            return None;
        }
        let from = r.events.partition_point(|e| e.sequence < low);
        let to = r.events.partition_point(|e| e.sequence <= high);
        Some(r.events.range(from..to).cloned().collect())
    }

    /// The incarnation, once the log was read. Also while it may not be served.
    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        let r = self.ring.lock();
        r.incarnation.filter(|_| r.ready)
    }

    /// The incarnation, if its events may be served.
    pub(super) fn served(&self) -> Option<Incarnation> {
        self.ring.lock().served()
    }

    /// The first sequence of the stream, as far as is known.
    pub(crate) fn first_sequence(&self) -> u64 {
        self.ring.lock().first
    }

    /// The position before the first event of the stream.
    pub(crate) fn start(&self) -> Option<Position> {
        let r = self.ring.lock();
        r.incarnation.filter(|_| r.ready).map(|i| r.start(i))
    }

    /// The position after the newest event.
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

    /// Incarnation, sequence and timestamp of the newest event: where a new consumer starts. The timestamp is missing if the event
    /// was deleted.
    pub(super) fn anchor(&self) -> Option<(Incarnation, u64, Option<i64>)> {
        let r = self.ring.lock();
        let newest = r.events.back().filter(|e| e.sequence == r.high).map(|e| e.nanos);
        r.incarnation.filter(|_| r.ready).map(|i| (i, r.high, newest))
    }

    /// The number of the newest incarnation, or 0.
    pub(super) fn incarnation_number(&self) -> u64 {
        self.ring.lock().incarnation.map_or(0, |i| i.number)
    }

    /// The lowest and the highest sequence that the tail covers.
    pub(crate) fn bounds(&self) -> (u64, u64) {
        let r = self.ring.lock();
        (r.low, r.high)
    }

    /// The first sequence whose event was stored at `nanos` or later. `None` if that may be below the tail.
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

    /// The check of the event at `sequence`: `None` if the tail does not cover it, `Some(None)` if there is no event.
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

    /// Changes when the head advances or the incarnation changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }
}

#[cfg(test)]
mod tests;

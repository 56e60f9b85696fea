//! The tail: the newest events of a log in memory, framed, shared by all subscribers.
//!
//! Invariant: while the tail is ready, it holds every message of the current incarnation with `low <= sequence <= high`. A message
//! that the stream deletes leaves the tail within two seconds (see [`super::retention`]). So a reader at `c` with `c + 1 >= low`
//! misses nothing by reading here.
//!
//! One lock guards the ring. Reading, and the decision to read pages instead, are atomic under it.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use futures_util::task::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};
use slab::Slab;
use tokio::sync::watch;

mod ring;

pub(crate) use ring::{MAX_EVENTS_PER_READ, TailBudget, TailRead};

use super::{Incarnation, Position};
use eventcast_wire::{cursor::Check, event::Event};

use crate::metrics::ChannelMetrics;
use ring::Ring;

/// The newest message that a tail has read: where a new consumer starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    pub(super) incarnation: Incarnation,
    pub(super) sequence: u64,
    /// When the message was stored; `None` if it was deleted. Proves that the stream is still the same.
    pub(super) nanos: Option<i64>,
}

/// The newest events of one log.
pub(crate) struct Tail {
    ring: Mutex<Measured>,
    head: watch::Sender<u64>,
    wakers: Mutex<Slab<Arc<AtomicWaker>>>,
}

/// The ring, and the metrics of its contents.
struct Measured {
    ring: Ring,
    metrics: Arc<ChannelMetrics>,
}

impl Deref for Measured {
    type Target = Ring;

    fn deref(&self) -> &Ring {
        &self.ring
    }
}

impl DerefMut for Measured {
    fn deref_mut(&mut self) -> &mut Ring {
        &mut self.ring
    }
}

impl Measured {
    fn measure(&self) {
        let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.tail_events.set(gauge(self.events.len()));
        self.metrics.tail_bytes.set(gauge(self.bytes));
        self.metrics.tail_head.set(i64::try_from(self.high).unwrap_or(i64::MAX));
    }
}

impl Tail {
    pub(crate) fn new(budget: TailBudget, metrics: Arc<ChannelMetrics>) -> Self {
        Self {
            ring: Mutex::new(Measured { ring: Ring::empty(budget, None, 1), metrics }),
            head: watch::Sender::new(0),
            wakers: Mutex::default(),
        }
    }

    /// Starts a new incarnation whose coverage starts at `start`. It is not ready before [`Tail::set_ready`].
    pub(super) fn begin(&self, incarnation: Incarnation, start: u64) {
        let mut ring = self.ring.lock();
        ring.ring = Ring::empty(ring.budget, Some(incarnation), start);
        ring.measure();
    }

    /// Forgets everything but the number of the incarnation, and serves nothing until the next [`Tail::begin`].
    pub(super) fn park(&self) {
        let mut ring = self.ring.lock();
        let empty = Ring::empty(ring.budget, ring.incarnation, 1);
        let removed = std::mem::replace(&mut ring.ring, empty);
        ring.measure();
        drop(ring); // free the events without the lock
        drop(removed);
    }

    /// Shows what the tail holds in `metrics` from now on.
    pub(super) fn use_metrics(&self, metrics: Arc<ChannelMetrics>) {
        self.ring.lock().metrics = metrics;
    }

    /// Sets the byte budget. Events over the budget are evicted at once.
    pub(super) fn resize(&self, bytes: usize) {
        let mut removed = Vec::new();
        let mut ring = self.ring.lock();
        ring.budget.bytes = bytes;
        ring.evict(|event| removed.push(event));
        ring.measure();
        drop(ring); // free the events without the lock: there may be many
    }

    /// Stops serving the current incarnation. The next [`Tail::begin`] replaces it.
    pub(super) fn invalidate(&self) {
        self.ring.lock().is_ready = false;
        self.head.send_modify(|_| {});
        self.wake_all();
    }

    /// Marks the tail as ready: everything up to `covered` was read.
    pub(super) fn set_ready(&self, covered: u64) {
        let mut ring = self.ring.lock();
        (ring.is_ready, ring.is_stream_missing) = (true, false);
        ring.high = ring.high.max(covered);
        self.publish_head(ring);
    }

    /// Restarts coverage at `start`. The stream deleted the messages between the head and `first` while the tail was detached.
    pub(super) fn skip_to(&self, start: u64, first: u64) {
        let mut ring = self.ring.lock();
        ring.events.clear();
        (ring.bytes, ring.low, ring.high, ring.last_evicted) = (0, start, start - 1, None);
        ring.first = ring.first.max(first.min(start));
        ring.measure();
    }

    /// Removes what the stream has deleted: everything below `first`, and the sequences of `deleted`, which is sorted. Returns whether the
    /// first sequence advanced.
    pub(super) fn remove(&self, first: u64, deleted: &[u64]) -> bool {
        let mut removed = Vec::new();
        let mut ring = self.ring.lock();
        let first = first.min(ring.high + 1);
        let moved = first > ring.first;
        ring.first = ring.first.max(first);
        ring.pop_below(first, &mut removed);
        if deleted.iter().any(|s| ring.events.binary_search_by_key(s, |e| e.sequence).is_ok()) {
            let Ring { events, bytes, last_evicted, high, .. } = &mut ring.ring;
            events.retain(|event| {
                let stays = deleted.binary_search(&event.sequence).is_err();
                if !stays {
                    *bytes -= event.weight();
                    if event.sequence == *high {
                        *last_evicted = Some((event.sequence, event.check));
                    }
                    removed.push(Arc::clone(event));
                }
                stays
            });
        }
        ring.measure();
        drop(ring); // free the events without the lock
        moved
    }

    /// Removes all events, because the stream may have deleted any of them. Subscribers that are behind read pages.
    pub(super) fn clear(&self) {
        let mut removed = Vec::new();
        let mut ring = self.ring.lock();
        let end = ring.high + 1;
        ring.pop_below(end, &mut removed);
        ring.measure();
    }

    /// Evicts events that were stored before `nanos`. The stream may still hold them: subscribers that are behind read pages.
    pub(super) fn evict_before(&self, nanos: i64) {
        let mut removed = Vec::new();
        let mut ring = self.ring.lock();
        let kept = ring.events.iter().find(|e| e.nanos >= nanos).map(|e| e.sequence);
        let end = kept.unwrap_or(ring.high + 1);
        ring.pop_below(end, &mut removed);
        ring.measure();
    }

    /// Stops serving, because the stream is missing. [`Tail::set_ready`] or [`Tail::begin`] ends that.
    pub(super) fn withhold(&self) {
        self.ring.lock().is_stream_missing = true;
    }

    /// Appends the next event of the log. An event that is already here is ignored. Subscribers are woken by [`Tail::announce`].
    pub(super) fn push(&self, event: Event) {
        let mut ring = self.ring.lock();
        if event.sequence <= ring.high {
            return;
        }
        ring.high = event.sequence;
        ring.bytes += event.weight();
        ring.events.push_back(Arc::new(event));
        ring.evict(drop);
        ring.metrics.events_in.inc();
        ring.measure();
    }

    /// Publishes the new head and wakes the subscribers.
    pub(super) fn announce(&self) {
        self.publish_head(self.ring.lock());
    }

    fn publish_head(&self, ring: MutexGuard<'_, Measured>) {
        ring.measure();
        let (high, ready) = (ring.high, ring.is_ready);
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
        let ring = self.ring.lock();
        let served = ring.served().is_some_and(|i| i.number == incarnation);
        if !served || low < ring.low || high > ring.high {
            return None;
        }
        let from = ring.events.partition_point(|e| e.sequence < low);
        let to = ring.events.partition_point(|e| e.sequence <= high);
        Some(ring.events.range(from..to).cloned().collect())
    }

    /// The incarnation, once the log was read. Also while it may not be served.
    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        let ring = self.ring.lock();
        ring.incarnation.filter(|_| ring.is_ready)
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
        let ring = self.ring.lock();
        ring.incarnation.filter(|_| ring.is_ready).map(|i| ring.start(i))
    }

    /// The position after the newest event.
    pub(crate) fn head(&self) -> Option<Position> {
        let ring = self.ring.lock();
        let incarnation = ring.incarnation.filter(|_| ring.is_ready)?;
        let newest = ring.events.back().filter(|e| e.sequence == ring.high);
        let check = match (newest, ring.last_evicted) {
            (Some(e), _) => e.check,
            (None, Some((s, check))) if s == ring.high => check,
            _ => Check::ABSENT,
        };
        Some(Position { incarnation: incarnation.number, sequence: ring.high, check })
    }

    /// Where a new consumer starts; `None` before the first incarnation is ready.
    pub(super) fn anchor(&self) -> Option<Anchor> {
        let ring = self.ring.lock();
        let newest = ring.events.back().filter(|e| e.sequence == ring.high).map(|e| e.nanos);
        let incarnation = ring.incarnation.filter(|_| ring.is_ready)?;
        Some(Anchor { incarnation, sequence: ring.high, nanos: newest })
    }

    /// The number of the newest incarnation, or 0.
    pub(super) fn incarnation_number(&self) -> u64 {
        self.ring.lock().incarnation.map_or(0, |i| i.number)
    }

    /// The lowest and the highest sequence that the tail covers.
    pub(crate) fn bounds(&self) -> (u64, u64) {
        let ring = self.ring.lock();
        (ring.low, ring.high)
    }

    /// The first sequence whose event was stored at `nanos` or later. `None` if that may be below the tail.
    pub(crate) fn first_since(&self, nanos: i64) -> Option<u64> {
        let ring = self.ring.lock();
        let oldest = ring.events.front()?;
        let at = ring.events.iter().position(|e| e.nanos >= nanos);
        match at {
            Some(0) if oldest.nanos > nanos => None,
            Some(i) => Some(ring.events[i].sequence),
            None => Some(ring.high + 1),
        }
    }

    /// When the first event after `sequence` was stored, or the oldest event of the tail if that is later. `None` if the tail has no event
    /// after `sequence`.
    pub(crate) fn nanos_after(&self, sequence: u64) -> Option<i64> {
        let ring = self.ring.lock();
        let at = ring.events.partition_point(|event| event.sequence <= sequence);
        ring.events.get(at).map(|event| event.nanos)
    }

    /// The check of the event at `sequence`: `None` if the tail does not cover it, `Some(None)` if there is no event.
    pub(crate) fn check_at(&self, sequence: u64) -> Option<Option<Check>> {
        let ring = self.ring.lock();
        if let Some((s, check)) = ring.last_evicted
            && s == sequence
        {
            return Some(Some(check));
        }
        if sequence < ring.low || sequence > ring.high {
            return None;
        }
        let found = ring.events.binary_search_by_key(&sequence, |e| e.sequence).ok();
        Some(found.map(|i| ring.events[i].check))
    }

    /// Changes when the head advances or the incarnation changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }
}

#[cfg(test)]
mod tests;

//! A channel in one shard: its caught-up subscribers, the head that is their cursor, and the pass that moves it.
//!
//! A pass takes the events after the head (at most [`BATCH`]) and writes each subscriber what passes its filter, in one call. What
//! comes in meanwhile goes out with the next pass: bursts coalesce, and nothing is delayed for it. The head is the pass' end
//! from its beginning on; who is not yet written to is *owed*, and has the pass' start as its cursor.

mod tally;

use std::{sync::Arc, task::Waker};

use eventcast_wire::{
    event::{Event, Kind},
    filter::Filter,
};
use futures_util::task::AtomicWaker;
use slab::Slab;

use self::tally::{Latency, Share, Tally};
use super::{
    Key,
    index::Index,
    roll::Roll,
    seat::{Seat, Wrote},
};
use crate::{
    fanout::run::{Run, SLICES, Slices, WRITE_BYTES},
    log::{BATCH, Log, Position, TailRead},
    metrics::ChannelMetrics,
};

// A pass has a bit in `Seat::owed` and a slice of one write for each of its events.
const _: () = assert!(BATCH <= u64::BITS as usize && BATCH <= SLICES);

/// A channel in one shard.
pub(super) struct Live {
    pub(super) log: Arc<Log>,
    pub(super) generation: u32,
    /// Subscribers in either state.
    pub(super) seats: usize,
    everyone: Roll,
    index: Index,
    /// The cursor of everyone in the index; none before the log was read.
    pub(super) head: Option<Position>,
    /// Those who are at the end of what they may read, but not at the head.
    pub(super) waiting: Vec<Key>,
    /// It is among those that have something to do.
    pub(super) queued: bool,
    pass: Option<Pass>,
    /// The last event that everyone without a filter was written, and when.
    told: Option<Position>,
    wrote: u64,
    metrics: Arc<ChannelMetrics>,
    news: Arc<AtomicWaker>,
    listener: usize,
    waker: Waker,
    latency: Latency,
}

/// Events on their way to everyone who is caught up.
struct Pass {
    run: Run,
    start: Position,
    /// What `told` was before.
    told: Option<Position>,
    /// Those with a filter whom some event reaches.
    reached: Vec<Key>,
    /// What each of those who get everything is written.
    whole: Share,
    /// Events that anybody could get.
    candidates: u64,
    tally: Tally,
}

/// What news of the log mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// There is nothing to write.
    Nothing,
    /// A pass has begun.
    Pass,
    /// Nobody can go on by the ring alone: all leave the index.
    Dissolve,
}

/// Someone whom a pass could not write everything.
pub(super) struct Stuck {
    pub(super) key: Key,
    pub(super) gone: bool,
}

impl Live {
    pub(super) fn new(
        log: &Arc<Log>,
        metrics: &Arc<ChannelMetrics>,
        generation: u32,
        waker: Waker,
    ) -> Self {
        let news = Arc::new(AtomicWaker::new());
        let listener = log.tail().add_waker(Arc::clone(&news));
        Self {
            log: Arc::clone(log),
            generation,
            seats: 0,
            everyone: Roll::default(),
            index: Index::default(),
            head: None,
            waiting: Vec::new(),
            queued: false,
            pass: None,
            told: None,
            wrote: 0,
            news,
            listener,
            waker,
            latency: Latency::new(metrics),
            metrics: Arc::clone(metrics),
        }
    }

    /// How many are caught up.
    pub(super) fn members(&self) -> usize {
        self.everyone.len() + self.index.len()
    }

    /// The cursor of a member.
    fn cursor_of(&self, key: Key, seat: &Seat) -> Option<Position> {
        if self.owes(key, seat) { self.pass.as_ref().map(|p| p.start) } else { self.head }
    }

    /// Whether the present pass is still to write to a member.
    pub(super) fn owes(&self, key: Key, seat: &Seat) -> bool {
        self.pass.is_some() && (self.everyone.owes(key) || seat.owed != 0)
    }

    /// When a member was last written to, in milliseconds of the shard; perhaps a moment later.
    pub(super) fn wrote(&self, key: Key, seat: &Seat) -> u64 {
        let everything = seat.subscriber.filter().is_empty();
        if everything && !self.owes(key, seat) { seat.wrote.max(self.wrote) } else { seat.wrote }
    }

    /// Gives a member its cursor, and what its client knows: nothing is noted in a seat for each event.
    pub(super) fn settle(&self, key: Key, seat: &mut Seat) {
        let Some(cursor) = self.cursor_of(key, seat) else { return };
        if seat.subscriber.filter().is_empty() {
            let before = self.pass.as_ref().filter(|_| self.owes(key, seat)).map(|p| p.told);
            seat.subscriber.told_at_least(before.unwrap_or(self.told));
        }
        seat.wrote = self.wrote(key, seat);
        seat.subscriber.resume(cursor);
    }

    pub(super) fn in_pass(&self) -> bool {
        self.pass.is_some()
    }

    /// Takes a subscriber into the index, whose cursor is the head.
    pub(super) fn join(&mut self, key: Key, seat: &mut Seat) {
        let filter = seat.subscriber.filter();
        if filter.is_empty() {
            self.everyone.insert(key);
        } else {
            self.index.insert(key, filter);
        }
        seat.caught_up = true;
    }

    /// Takes a member out of the index; its cursor is its own again.
    pub(super) fn leave(&mut self, key: Key, seat: &mut Seat) {
        self.settle(key, seat);
        self.forget(key, seat);
    }

    /// As [`leave`](Self::leave), for one whose cursor is set.
    pub(super) fn forget(&mut self, key: Key, seat: &mut Seat) {
        if seat.subscriber.filter().is_empty() {
            self.everyone.remove(key);
        } else {
            self.index.remove(key, seat.subscriber.filter());
        }
        seat.owed = 0;
        seat.caught_up = false;
    }

    /// Takes all members out, each with its cursor; there is no pass.
    pub(super) fn dissolve(&mut self, seats: &mut Slab<Box<Seat>>) -> Vec<Key> {
        let mut all = self.everyone.members();
        all.extend(self.index.members());
        for key in &all {
            if let Some(seat) = seats.get_mut(*key as usize) {
                self.settle(*key, seat);
                seat.caught_up = false;
            }
        }
        (self.everyone, self.index, self.told) = (Roll::default(), Index::default(), None);
        all
    }

    /// Notes somebody who can go on when there is news.
    pub(super) fn wait(&mut self, key: Key, seat: &mut Seat) {
        if !std::mem::replace(&mut seat.waits, true) {
            self.waiting.push(key);
        }
    }

    /// Looks at the log; news that come later wake the shard.
    pub(super) fn look(&mut self, seats: &mut Slab<Box<Seat>>, now_ms: u64) -> News {
        self.news.register(&self.waker);
        let tail = self.log.tail();
        let Some(start) = self.head.filter(|_| self.members() > 0) else {
            (self.head, self.told) = (tail.head(), None);
            return News::Nothing;
        };
        match tail.read_events(&start) {
            TailRead::NotReady => News::Nothing,
            TailRead::Events(mut events) => {
                one_write(&mut events);
                let Some(end) = events.last().map(|last| start.at(last)) else {
                    return News::Nothing;
                };
                self.begin(start, Run::of_ring(events, end), seats, now_ms);
                News::Pass
            }
            TailRead::BelowTail
            | TailRead::PageInMemory
            | TailRead::Expired(_)
            | TailRead::Recreated(_) => News::Dissolve,
        }
    }

    fn begin(&mut self, start: Position, run: Run, seats: &mut Slab<Box<Seat>>, now_ms: u64) {
        self.everyone.begin();
        self.head = Some(run.end);
        let mut whole = Share::default();
        let (mut reached, mut candidates, mut last) = (Vec::new(), 0, None);
        for (at, event) in run.events().iter().enumerate() {
            if event.kind == Kind::Marker || !run.holds(event) {
                continue;
            }
            candidates += 1;
            whole.add(event);
            last = Some(start.at(event));
            self.index.select(event, |key| {
                if let Some(seat) = seats.get_mut(key as usize) {
                    if seat.owed == 0 {
                        reached.push(key);
                    }
                    seat.owed |= 1 << at;
                }
            });
        }
        // whom nothing reaches has passed it all by now
        let passed = (self.index.len() - reached.len()) as u64;
        let tally = Tally { subscribers: passed, share: Share::default() };
        let told = self.told;
        if last.is_some() {
            (self.told, self.wrote) = (last, now_ms);
        }
        self.pass = Some(Pass { run, start, told, reached, whole, candidates, tally });
    }

    /// Writes to `sends` subscribers at most. Those who could not be written everything are in `stuck`, their cursor and rest
    /// set; they must leave the index.
    pub(super) fn write(
        &mut self,
        seats: &mut Slab<Box<Seat>>,
        sends: usize,
        now_ms: u64,
        stuck: &mut Vec<Stuck>,
    ) {
        let Some(pass) = &mut self.pass else { return };
        let Pass { run, start, told, reached, whole, tally, .. } = pass;
        let nothing = Filter::default();
        let all = run.slices(&nothing);
        for _ in 0..sends {
            let (key, everything) = if let Some(key) = self.everyone.next() {
                (key, true)
            } else if let Some(key) = reached.pop() {
                (key, false)
            } else {
                break;
            };
            let Some(seat) = seats.get_mut(key as usize) else { continue };
            let (wrote, share, first) = if everything {
                let wrote = match all.bytes {
                    0 => Wrote::All,
                    bytes => seat.write(all.as_slice(), bytes),
                };
                (wrote, *whole, run.events().first())
            } else {
                let mut slices = Slices::default();
                let mut share = Share::default();
                let owed = std::mem::take(&mut seat.owed);
                let owed = run.events().iter().enumerate().filter(|(at, _)| owed >> at & 1 == 1);
                let mut owed = owed.map(|(_, event)| event).peekable();
                let first = owed.peek().copied();
                let mut last = None;
                for event in owed {
                    slices.add(event.chunk.wire());
                    share.add(event);
                    last = Some(start.at(event));
                }
                let Some(last) = last else { continue }; // it left the index meanwhile
                let wrote = seat.write(slices.as_slice(), slices.bytes);
                if wrote == Wrote::All {
                    seat.wrote = now_ms;
                    seat.subscriber.told(last);
                }
                (wrote, share, first)
            };
            match wrote {
                Wrote::All => {
                    tally.subscribers += 1;
                    tally.share.sum(share);
                    first.into_iter().for_each(|event| self.latency.observe(event));
                }
                Wrote::Part(n) => {
                    if everything {
                        seat.subscriber.told_at_least(*told);
                    }
                    seat.subscriber.resume(*start);
                    seat.cut(run, n);
                    stuck.push(Stuck { key, gone: false });
                }
                Wrote::Gone => stuck.push(Stuck { key, gone: true }),
            }
        }
        if self.everyone.is_called() && reached.is_empty() {
            self.end();
        }
    }

    fn end(&mut self) {
        let Some(pass) = self.pass.take() else { return };
        let sequences = pass.run.end.sequence - pass.start.sequence;
        // Whoever sees the count sees the latencies of what it counts.
        self.latency.flush();
        pass.tally.count(&self.metrics, sequences, pass.candidates);
    }
}

/// Keeps as many events as go out in one write.
fn one_write(events: &mut Vec<Arc<Event>>) {
    let mut bytes = 0;
    let fits = events.iter().take_while(|event| {
        let before = bytes;
        bytes += event.chunk.wire().len();
        before < WRITE_BYTES
    });
    let count = fits.count();
    events.truncate(count);
}

impl Drop for Live {
    fn drop(&mut self) {
        self.log.tail().remove_waker(self.listener);
    }
}

//! A channel in one shard: its caught-up subscribers, the head that is their cursor, and the pass that moves the head.
//!
//! A pass takes the events after the head (at most [`MAX_EVENTS_PER_READ`]) and writes to each subscriber those that pass its filter, in
//! one call. Events that arrive meanwhile are written by the next pass, so bursts are combined and no event waits for a timer. The head is
//! the end of the pass as soon as the pass begins. A subscriber that is not yet written to is *pending*, and its cursor is the start of the
//! pass.

mod latency;
mod pass;

use std::{sync::Arc, task::Waker};

use eventcast_wire::{filter::Filter, frame::Form};
use futures_util::task::AtomicWaker;
use slab::Slab;

use self::{
    latency::PassLatency,
    pass::{Pass, Selection, truncate_to_one_write},
};
use super::{
    Key, connection::ShardConnection, index::Index, socket::WriteOutcome,
    unfiltered::UnfilteredMembers,
};
use crate::{
    delivery::Sent,
    fanout::batch::{Batch, MAX_SLICES},
    log::{Log, MAX_EVENTS_PER_READ, Position, TailRead},
    metrics::ChannelMetrics,
};

// A pass has a bit in `ShardConnection::pending_events` and a slice of one write for each of its events.
const _: () =
    assert!(MAX_EVENTS_PER_READ <= u64::BITS as usize && MAX_EVENTS_PER_READ <= MAX_SLICES);

/// The connections of a shard, by key.
pub(super) type Connections = Slab<Box<ShardConnection>>;

/// A channel in one shard.
pub(super) struct ChannelFanout {
    pub(super) log: Arc<Log>,
    pub(super) generation: u32,
    /// Connections of the channel, caught up or not.
    pub(super) connections: usize,
    unfiltered: UnfilteredMembers,
    index: Index,
    /// The cursor of every member; `None` before the log was read.
    pub(super) head: Option<Position>,
    /// Connections that have read everything they may, but are not at the head.
    pub(super) waiting: Vec<Key>,
    /// Whether it is queued to run.
    pub(super) queued: bool,
    pass: Option<Pass>,
    /// The last event that was sent to every unfiltered member, and when, in milliseconds of the shard.
    last_sent: Option<Position>,
    last_write: u64,
    /// What every unfiltered member was sent by all passes, the present one included.
    sent_to_all: Sent,
    metrics: Arc<ChannelMetrics>,
    log_advanced: Arc<AtomicWaker>,
    /// Our registration with the tail.
    listener: usize,
    waker: Waker,
    latency: PassLatency,
}

/// The outcome of polling the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogPoll {
    /// There is nothing to write.
    Idle,
    /// A pass has begun.
    PassBegun,
    /// The ring no longer holds what follows the head: the members have to catch up by themselves.
    OutOfReach,
}

/// A member whose socket did not accept everything during the pass.
pub(super) struct Unwritable {
    pub(super) key: Key,
    pub(super) disconnected: bool,
}

impl ChannelFanout {
    pub(super) fn new(log: &Arc<Log>, generation: u32, waker: Waker) -> Self {
        let metrics = log.metrics();
        let log_advanced = Arc::new(AtomicWaker::new());
        let listener = log.tail().add_waker(Arc::clone(&log_advanced));
        Self {
            log: Arc::clone(log),
            generation,
            connections: 0,
            unfiltered: UnfilteredMembers::default(),
            index: Index::default(),
            head: None,
            waiting: Vec::new(),
            queued: false,
            pass: None,
            last_sent: None,
            last_write: 0,
            sent_to_all: Sent::default(),
            log_advanced,
            listener,
            waker,
            latency: PassLatency::new(&metrics),
            metrics,
        }
    }

    /// How many subscribers are caught up.
    pub(super) fn members(&self) -> usize {
        self.unfiltered.len() + self.index.len()
    }

    /// Whether the present pass has yet to write to a member.
    pub(super) fn is_pending(&self, key: Key, connection: &ShardConnection) -> bool {
        self.pass.is_some() && (self.unfiltered.is_pending(key) || connection.pending_events != 0)
    }

    /// When a member was last written to, in milliseconds of the shard. May be a moment late.
    pub(super) fn last_write(&self, key: Key, connection: &ShardConnection) -> u64 {
        if connection.is_unfiltered() && !self.is_pending(key, connection) {
            connection.last_write.max(self.last_write)
        } else {
            connection.last_write
        }
    }

    /// Stores in the connection of a member what a pass does not store for each delivery: its position, the cursor of its client, and
    /// its last write.
    pub(super) fn settle(&self, key: Key, connection: &mut ShardConnection) {
        let pass = self.pass.as_ref().filter(|_| self.is_pending(key, connection));
        let Some(cursor) = pass.map_or(self.head, |pass| Some(pass.start)) else { return };
        if connection.is_unfiltered() {
            let last_sent = pass.map_or(self.last_sent, |pass| pass.last_sent);
            connection.subscriber().raise_acknowledged(last_sent);
            let pending = pass.map(|pass| Sent::from(&pass.everything)).unwrap_or_default();
            let sent = self.sent_to_all - pending;
            let new = sent - std::mem::replace(&mut connection.settled, sent);
            connection.subscriber().add_sent(new);
        }
        connection.last_write = self.last_write(key, connection);
        connection.subscriber().resume_at(cursor);
    }

    pub(super) fn in_pass(&self) -> bool {
        self.pass.is_some()
    }

    /// Makes a member of a subscriber whose cursor is the head.
    pub(super) fn join(&mut self, key: Key, connection: &mut ShardConnection) {
        let filter = connection.subscription.subscriber.filter();
        if filter.is_empty() {
            self.unfiltered.insert(key);
        } else {
            self.index.insert(key, filter);
        }
        connection.caught_up = true;
        connection.settled = self.sent_to_all;
        connection.subscription.admission.session().reached_head();
    }

    /// Removes a member and gives it its own cursor.
    pub(super) fn leave(&mut self, key: Key, connection: &mut ShardConnection) {
        self.settle(key, connection);
        self.remove(key, connection);
    }

    /// Removes a member whose cursor is set.
    pub(super) fn remove(&mut self, key: Key, connection: &mut ShardConnection) {
        let filter = connection.subscription.subscriber.filter();
        if filter.is_empty() {
            self.unfiltered.remove(key);
        } else {
            self.index.remove(key, filter);
        }
        connection.pending_events = 0;
        connection.caught_up = false;
        connection.note_position();
    }

    /// Removes every member and gives each its own cursor. There must be no pass.
    pub(super) fn remove_all(&mut self, connections: &mut Connections) -> Vec<Key> {
        let mut all = self.unfiltered.keys();
        all.extend(self.index.keys());
        for key in &all {
            if let Some(connection) = connections.get_mut(*key as usize) {
                self.settle(*key, connection);
                connection.caught_up = false;
                connection.note_position();
            }
        }
        self.unfiltered = UnfilteredMembers::default();
        self.index = Index::default();
        self.last_sent = None;
        all
    }

    /// Remembers a connection that can continue when the log advances.
    pub(super) fn await_advance(&mut self, key: Key, connection: &mut ShardConnection) {
        if !std::mem::replace(&mut connection.awaits_channel, true) {
            self.waiting.push(key);
        }
    }

    /// Reads the ring after the head. When the log advances later, the shard is woken.
    pub(super) fn poll_log(&mut self, connections: &mut Connections, now_ms: u64) -> LogPoll {
        self.log_advanced.register(&self.waker);
        let tail = self.log.tail();
        let Some(start) = self.head.filter(|_| self.members() > 0) else {
            (self.head, self.last_sent) = (tail.head(), None);
            return LogPoll::Idle;
        };
        match tail.read_events(&start) {
            TailRead::NotReady => LogPoll::Idle,
            TailRead::Events(mut events) => {
                truncate_to_one_write(&mut events);
                let Some(end) = events.last().map(|last| start.at(last)) else {
                    return LogPoll::Idle;
                };
                self.begin_pass(start, Batch::of_ring(events, end), connections, now_ms);
                LogPoll::PassBegun
            }
            TailRead::BelowTail
            | TailRead::PageInMemory
            | TailRead::Expired(_)
            | TailRead::Recreated(_) => LogPoll::OutOfReach,
        }
    }

    fn begin_pass(
        &mut self,
        start: Position,
        batch: Batch,
        connections: &mut Connections,
        now_ms: u64,
    ) {
        self.unfiltered.begin_pass();
        self.head = Some(batch.end);
        let channel = self.log.channel();
        let (pass, last) =
            Pass::begin(channel, start, batch, self.last_sent, &self.index, connections);
        if last.is_some() {
            (self.last_sent, self.last_write) = (last, now_ms);
        }
        self.sent_to_all += Sent::from(&pass.everything);
        self.pass = Some(pass);
    }

    /// Writes to members, at a [cost](ShardConnection::write_cost) of at most `max_cost` in all. Those that did not accept everything
    /// are added to `unwritable`, with their cursor and the rest set. The caller must remove them.
    pub(super) fn write(
        &mut self,
        connections: &mut Connections,
        max_cost: u32,
        now_ms: u64,
        unwritable: &mut Vec<Unwritable>,
    ) {
        let Some(pass) = &mut self.pass else { return };
        let no_filter = Filter::everything();
        let all = pass.batch.slices(&no_filter, Form::Chunk);
        let mut all_frames = None;
        let mut cost = 0;
        while cost < max_cost {
            let (key, unfiltered) = if let Some(key) = self.unfiltered.next() {
                (key, true)
            } else if let Some(key) = pass.selected.pop() {
                (key, false)
            } else {
                break;
            };
            let Some(connection) = connections.get_mut(key as usize) else { continue };
            cost += connection.write_cost();
            let (outcome, sent, first) = if unfiltered {
                let all = match connection.form() {
                    Form::Chunk => &all,
                    form => all_frames.get_or_insert_with(|| pass.batch.slices(&no_filter, form)),
                };
                let outcome = match all.bytes {
                    0 => WriteOutcome::Complete,
                    bytes => connection.write(all.as_slice(), bytes),
                };
                (outcome, pass.everything, pass.batch.events().first())
            } else {
                let selection = Selection::take(&pass.batch, connection);
                let Some(last) = selection.last else { continue }; // it has left the index
                let outcome = connection.write(selection.slices.as_slice(), selection.slices.bytes);
                if outcome == WriteOutcome::Complete {
                    connection.last_write = now_ms;
                    connection.subscriber().set_acknowledged(pass.start.at(last));
                    connection.subscriber().add_sent(Sent::from(&selection.ledger));
                }
                (outcome, selection.ledger, selection.first)
            };
            match outcome {
                WriteOutcome::Complete => {
                    pass.passed += 1;
                    pass.ledger += sent;
                    first.into_iter().for_each(|event| self.latency.observe(event));
                }
                WriteOutcome::Partial(written) => {
                    pass.blocked += 1;
                    if unfiltered {
                        connection.subscriber().raise_acknowledged(pass.last_sent);
                        let before = self.sent_to_all - Sent::from(&pass.everything);
                        let new = before - connection.settled;
                        connection.subscriber().add_sent(new);
                    }
                    connection.subscriber().resume_at(pass.start);
                    connection.keep_rest(&pass.batch, written);
                    unwritable.push(Unwritable { key, disconnected: false });
                }
                WriteOutcome::Disconnected => {
                    if unfiltered {
                        connection.settled += Sent::from(&pass.everything); // it was not written
                    }
                    unwritable.push(Unwritable { key, disconnected: true });
                }
            }
        }
        if self.unfiltered.pass_done() && pass.selected.is_empty() {
            self.end_pass();
        }
    }

    fn end_pass(&mut self) {
        let Some(pass) = self.pass.take() else { return };
        // Latencies first: a scrape that sees the count must see the latencies of what it counts.
        self.latency.flush();
        self.metrics.record(&pass.settle());
    }
}

impl Drop for ChannelFanout {
    fn drop(&mut self) {
        self.log.tail().remove_waker(self.listener);
    }
}

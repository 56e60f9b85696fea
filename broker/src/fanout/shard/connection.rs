//! One subscriber of a shard: its transport, the unwritten rest of the last write, and its deadlines.

use std::{io::IoSlice, task::Waker, time::Duration};

use bytes::Bytes;
use eventcast_wire::{
    closing::CloseReason,
    frame::{Chunk, Form, LAST_CHUNK},
};

use super::{inbox::LoadGuard, socket::WriteOutcome, transport::Transport};
use crate::{
    delivery::Sent,
    fanout::{Subscriber, Subscription, batch::Batch},
};

/// The cost of a write to a socket, relative to a write that HTTP/2 buffers, which costs 1.
pub(super) const SOCKET_WRITE_COST: u32 = 16;

/// One stream and its transport.
pub(super) struct ShardConnection {
    pub(super) transport: Transport,
    pub(super) subscription: Subscription,
    pub(super) registration: Registration,
    /// Whether it is a member of its channel's fan-out, at the head of the log.
    pub(super) caught_up: bool,
    /// The window in which it last caught up a step; see [`Arrivals`](super::event_loop).
    pub(super) last_catch_up: u64,
    /// Whether it is queued to catch up.
    pub(super) queued: bool,
    /// Whether it waits for its channel to advance.
    pub(super) awaits_channel: bool,
    /// Bytes that must be written before anything else.
    pub(super) unwritten: Bytes,
    /// Since when its client takes nothing more, in milliseconds of the shard.
    pub(super) blocked_since: Option<u64>,
    /// Whether the timer wheel has an entry for that.
    pub(super) stall_armed: bool,
    /// Whether the stream ends once `unwritten` is written.
    pub(super) closing: bool,
    /// What all unfiltered members of its channel had been sent when this one became a member, or was last settled.
    pub(super) settled: Sent,
    /// Events of the present pass that are still to be written to it, one bit each; only with a filter.
    pub(super) pending_events: u64,
    /// When it was last written to outside of the passes for all, in milliseconds of the shard.
    pub(super) last_write: u64,
    /// How long it may be silent this time.
    pub(super) heartbeat: Duration,
    _load: LoadGuard,
}

/// The registration of a connection with its shard.
pub(super) struct Registration {
    /// Its channel's fan-out.
    pub(super) channel: u32,
    /// Distinguishes it from earlier connections with the same key.
    pub(super) generation: u32,
    /// Wakes the shard for it.
    pub(super) waker: Waker,
}

impl ShardConnection {
    /// A stream whose response begins with `head`.
    pub(super) fn new(
        transport: Transport,
        head: &[u8],
        mut subscription: Subscription,
        load: LoadGuard,
        registration: Registration,
        now: u64,
    ) -> Self {
        let preamble = Chunk::of(&std::mem::take(&mut subscription.preamble));
        Self {
            unwritten: [head, preamble.bytes(transport.form())].concat().into(),
            transport,
            heartbeat: subscription.heartbeat_interval(),
            subscription,
            registration,
            caught_up: false,
            last_catch_up: u64::MAX,
            queued: false,
            awaits_channel: false,
            blocked_since: None,
            stall_armed: false,
            closing: false,
            settled: Sent::default(),
            pending_events: 0,
            last_write: now,
            _load: load,
        }
    }

    pub(super) fn subscriber(&mut self) -> &mut Subscriber {
        &mut self.subscription.subscriber
    }

    /// The form in which frames are written to it.
    pub(super) fn form(&self) -> Form {
        self.transport.form()
    }

    /// The cost of a write, in the units of [`SOCKET_WRITE_COST`].
    pub(super) fn write_cost(&self) -> u32 {
        match self.transport {
            Transport::Socket(_) => SOCKET_WRITE_COST,
            Transport::Http2(_) => 1,
        }
    }

    /// Reports its position to the session.
    pub(super) fn note_position(&self) {
        let sequence = self.subscription.subscriber.position().sequence;
        self.subscription.admission.session().reached(sequence);
    }

    /// Whether it has no filter and receives every event of its channel.
    pub(super) fn is_unfiltered(&self) -> bool {
        self.subscription.subscriber.filter().is_empty()
    }

    /// Whether something is left of earlier writes.
    pub(super) fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty() || self.transport.has_unsent()
    }

    /// Writes what is left.
    pub(super) fn flush(&mut self) -> WriteOutcome {
        let outcome = self.transport.flush();
        if outcome != WriteOutcome::Complete {
            return outcome;
        }
        if !self.unwritten.is_empty() {
            let unwritten = std::mem::take(&mut self.unwritten);
            let outcome = self.write(&[IoSlice::new(&unwritten)], unwritten.len());
            self.subscription.span = None;
            if let WriteOutcome::Partial(n) = outcome {
                self.unwritten = unwritten.slice(n..);
            }
            if outcome != WriteOutcome::Complete {
                return outcome;
            }
        }
        if self.closing { self.transport.end() } else { WriteOutcome::Complete }
    }

    /// Writes `slices` of `bytes` in all. Nothing may be left of an earlier write.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>], bytes: usize) -> WriteOutcome {
        self.transport.write(slices, bytes)
    }

    /// After a partial write of `written` bytes of what passes the filter: moves the cursor over the last event that was begun,
    /// and keeps the rest of that event.
    pub(super) fn keep_rest(&mut self, batch: &Batch, written: usize) {
        let form = self.form();
        let subscriber = &mut self.subscription.subscriber;
        if let Some((at, left)) = batch.cut(subscriber.filter(), form, written) {
            subscriber.wrote(batch, at + 1);
            self.unwritten = batch.rest(at, left, form);
        }
    }

    /// Ends the stream with the closing frames.
    pub(super) fn begin_close(&mut self, reason: CloseReason) {
        let frames = self.subscription.close(reason);
        self.unwritten = match self.form() {
            Form::Chunk => [Chunk::of(&frames).wire(), LAST_CHUNK].concat().into(),
            Form::Frame => frames,
        };
        self.closing = true;
    }

    /// Puts `frame` before what is written next.
    pub(super) fn queue(&mut self, frame: &Bytes) {
        self.unwritten = match self.form() {
            Form::Chunk => Chunk::of(frame).wire().clone(),
            Form::Frame => frame.clone(),
        };
    }

    /// Puts a heartbeat before what is written next.
    pub(super) fn queue_heartbeat(&mut self) {
        let frame = self.subscription.heartbeat();
        self.queue(&frame);
        self.heartbeat = self.subscription.heartbeat_interval();
    }
}

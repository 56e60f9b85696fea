//! One connection of a shard: its socket, what is left of the last write, and its deadlines.

use std::{
    io::{ErrorKind, IoSlice, Read, Write},
    task::Waker,
    time::Duration,
};

use bytes::{Buf, Bytes};
use eventcast_wire::{
    closing::CloseReason,
    frame::{Chunk, LAST_CHUNK},
};
use mio::net::TcpStream;

use super::{Handoff, inbox::LoadGuard};
use crate::{
    fanout::{Subscriber, Subscription, batch::Batch},
    sockets::ConnectionGuard,
};

/// The most bytes that a client may send after its request. They are discarded.
const MAX_INPUT_BYTES: usize = 1 << 20;

/// The outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteOutcome {
    /// Everything was written.
    Complete,
    /// So many bytes were written, fewer than all: the socket buffer is full.
    Partial(usize),
    /// The client has disconnected.
    Disconnected,
}

/// What a client has sent after its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientInput {
    /// Nothing more than it may.
    Acceptable,
    /// It closed, reset or half-closed the connection.
    Disconnected,
    /// More than [`MAX_INPUT_BYTES`].
    TooMuch,
}

/// One connection, which carries one stream.
pub(super) struct ShardConnection {
    pub(super) socket: TcpStream,
    pub(super) subscription: Subscription,
    pub(super) registration: Registration,
    /// It is a member of its channel's fan-out and at the head of the log.
    pub(super) caught_up: bool,
    /// It is queued to catch up.
    pub(super) queued: bool,
    /// It waits for its channel to advance.
    pub(super) awaits_channel: bool,
    /// What must be written before anything else.
    pub(super) unwritten: Bytes,
    /// Since when the socket buffer is full, in milliseconds of the shard.
    pub(super) blocked_since: Option<u64>,
    /// The timer wheel has an entry for that.
    pub(super) stall_armed: bool,
    /// The stream ends once `unwritten` is written.
    pub(super) closing: bool,
    /// Events of the present pass that are still to be written to it, one bit each; only with a filter.
    pub(super) pending_events: u64,
    /// When it was last written to outside of the passes for all, in milliseconds of the shard.
    pub(super) last_write: u64,
    /// How long it may be silent this time.
    pub(super) heartbeat: Duration,
    input_bytes: usize,
    _guard: ConnectionGuard,
    _load: LoadGuard,
}

/// How a connection is known in its shard.
pub(super) struct Registration {
    /// Its channel's fan-out.
    pub(super) channel: u32,
    /// Tells it from earlier connections with the same key.
    pub(super) generation: u32,
    /// Wakes the shard for it.
    pub(super) waker: Waker,
}

impl ShardConnection {
    pub(super) fn new(
        handoff: Handoff,
        load: LoadGuard,
        registration: Registration,
        now: u64,
    ) -> Self {
        let Handoff { socket, head, mut subscription, guard } = handoff;
        let preamble = Chunk::of(&std::mem::take(&mut subscription.preamble));
        Self {
            socket: TcpStream::from_std(socket),
            unwritten: [&head[..], preamble.wire()].concat().into(),
            heartbeat: subscription.heartbeat_interval(),
            subscription,
            registration,
            caught_up: false,
            queued: false,
            awaits_channel: false,
            blocked_since: None,
            stall_armed: false,
            closing: false,
            pending_events: 0,
            last_write: now,
            input_bytes: 0,
            _guard: guard,
            _load: load,
        }
    }

    pub(super) fn subscriber(&mut self) -> &mut Subscriber {
        &mut self.subscription.subscriber
    }

    /// Whether it gets every event of its channel.
    pub(super) fn is_unfiltered(&self) -> bool {
        self.subscription.subscriber.filter().is_empty()
    }

    /// Writes what is left.
    pub(super) fn flush(&mut self) -> WriteOutcome {
        let outcome =
            write(&mut self.socket, &[IoSlice::new(&self.unwritten)], self.unwritten.len());
        match outcome {
            WriteOutcome::Complete => self.unwritten = Bytes::new(),
            WriteOutcome::Partial(n) => self.unwritten.advance(n),
            WriteOutcome::Disconnected => {}
        }
        outcome
    }

    /// Writes `slices` of `bytes` in all. Nothing may be left of an earlier write.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>], bytes: usize) -> WriteOutcome {
        write(&mut self.socket, slices, bytes)
    }

    /// After a partial write of `written` bytes of what passes the filter: moves the cursor over the last event that was begun,
    /// and keeps the rest of that event.
    pub(super) fn keep_rest(&mut self, batch: &Batch, written: usize) {
        let subscriber = &mut self.subscription.subscriber;
        if let Some((at, left)) = batch.cut(subscriber.filter(), written) {
            subscriber.wrote(batch, at + 1);
            self.unwritten = batch.rest(at, left);
        }
    }

    /// Reads and discards what the client sends.
    pub(super) fn discard_input(&mut self) -> ClientInput {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return ClientInput::Disconnected,
                Ok(n) => {
                    self.input_bytes += n;
                    if self.input_bytes > MAX_INPUT_BYTES {
                        return ClientInput::TooMuch;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return ClientInput::Acceptable,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return ClientInput::Disconnected,
            }
        }
    }

    /// Ends the stream with the closing frames.
    pub(super) fn begin_close(&mut self, reason: CloseReason) {
        let frames = self.subscription.close(reason);
        self.unwritten = [Chunk::of(&frames).wire(), LAST_CHUNK].concat().into();
        self.closing = true;
    }

    /// Puts a heartbeat before what is written next.
    pub(super) fn queue_heartbeat(&mut self) {
        let frame = self.subscription.heartbeat();
        self.unwritten = Chunk::of(&frame).wire().clone();
        self.heartbeat = self.subscription.heartbeat_interval();
    }
}

fn write(socket: &mut TcpStream, slices: &[IoSlice<'_>], bytes: usize) -> WriteOutcome {
    loop {
        let wrote = match slices {
            [one] => socket.write(one),
            many => socket.write_vectored(many),
        };
        return match wrote {
            Ok(n) if n == bytes => WriteOutcome::Complete,
            Ok(0) => WriteOutcome::Disconnected,
            Ok(n) => WriteOutcome::Partial(n),
            Err(e) if e.kind() == ErrorKind::WouldBlock => WriteOutcome::Partial(0),
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(_) => WriteOutcome::Disconnected,
        };
    }
}

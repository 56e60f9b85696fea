//! One connection of a shard: its socket, what is left of the last write, and its deadlines.

use std::{io::IoSlice, task::Waker, time::Duration};

use bytes::Bytes;
use eventcast_wire::{
    closing::CloseReason,
    frame::{Chunk, LAST_CHUNK},
};
use mio::net::TcpStream;

use super::{
    Handoff,
    inbox::LoadGuard,
    socket::{self, ClientInput, WriteOutcome},
    tls_socket::TlsSocket,
};
use crate::{
    fanout::{Subscriber, Subscription, batch::Batch},
    sockets::ConnectionGuard,
};

/// The most bytes that a client may send after its request. They are discarded.
const MAX_INPUT_BYTES: usize = 1 << 20;

/// One connection, which carries one stream.
pub(super) struct ShardConnection {
    pub(super) socket: TcpStream,
    tls: Option<Box<TlsSocket>>,
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
        let Handoff { socket, tls, head, mut subscription, guard } = handoff;
        let preamble = Chunk::of(&std::mem::take(&mut subscription.preamble));
        Self {
            socket: TcpStream::from_std(socket),
            tls: tls.map(|state| Box::new(TlsSocket::new(*state))),
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

    /// Tells the session where its cursor is.
    pub(super) fn note_position(&self) {
        let sequence = self.subscription.subscriber.position().sequence;
        self.subscription.admission.session().reached(sequence);
    }

    /// Whether it gets every event of its channel.
    pub(super) fn is_unfiltered(&self) -> bool {
        self.subscription.subscriber.filter().is_empty()
    }

    /// Whether something is left of earlier writes.
    pub(super) fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty() || self.has_unsent()
    }

    /// Whether there are encrypted bytes to write, such as an answer of TLS.
    pub(super) fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_unsent())
    }

    /// Writes what is left.
    pub(super) fn flush(&mut self) -> WriteOutcome {
        if let Some(tls) = &mut self.tls {
            let outcome = tls.flush(&mut self.socket);
            if outcome != WriteOutcome::Complete {
                return outcome;
            }
        }
        if !self.unwritten.is_empty() {
            let unwritten = std::mem::take(&mut self.unwritten);
            let outcome = self.write(&[IoSlice::new(&unwritten)], unwritten.len());
            if let WriteOutcome::Partial(n) = outcome {
                self.unwritten = unwritten.slice(n..);
            }
            if outcome != WriteOutcome::Complete {
                return outcome;
            }
        }
        match &mut self.tls {
            Some(tls) if self.closing => {
                tls.close_notify();
                tls.flush(&mut self.socket)
            }
            _ => WriteOutcome::Complete,
        }
    }

    /// Writes `slices` of `bytes` in all. Nothing may be left of an earlier write.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>], bytes: usize) -> WriteOutcome {
        match &mut self.tls {
            None => socket::write(&mut self.socket, slices, bytes),
            Some(tls) => tls.write(&mut self.socket, slices, bytes),
        }
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
        let Self { socket, tls, input_bytes, .. } = self;
        let input = socket::read(socket, |bytes| {
            *input_bytes += bytes.len();
            match tls {
                _ if *input_bytes > MAX_INPUT_BYTES => ClientInput::TooMuch,
                None => ClientInput::Acceptable,
                Some(tls) => tls.receive(bytes),
            }
        });
        if let (ClientInput::Disconnected, Some(tls)) = (input, tls) {
            tls.flush(socket); // the client may be there to read why
        }
        input
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

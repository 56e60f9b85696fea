//! One subscriber of a shard: its socket, what is left of the last write, and its deadlines.

use std::{
    io::{ErrorKind, IoSlice, Read, Write},
    task::Waker,
    time::Duration,
};

use bytes::{Buf, Bytes};
use eventcast_wire::closing::CloseReason;
use eventcast_wire::frame::{Chunk, LAST_CHUNK};
use mio::net::TcpStream;
use tokio::time::Instant;

use super::inbox::Occupied;
use crate::{
    access::Grant,
    fanout::{Rhythm, Subscriber, run::Run, sessions::Admission},
    sockets::Held,
};

/// Bytes that a client may send on a stream in all, where nothing is to be sent: they are thrown away.
const MAX_INPUT_BYTES: usize = 1 << 20;

/// What came of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    /// Everything.
    All,
    /// So many bytes, fewer than all: the socket takes no more now.
    Part(usize),
    /// The client is gone.
    Gone,
}

/// What came of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    /// The client closed, reset or half-closed.
    Gone,
    /// It sends and sends.
    TooMuch,
}

/// One subscriber.
pub(super) struct Seat {
    pub(super) socket: TcpStream,
    pub(super) subscriber: Subscriber,
    pub(super) admission: Admission,
    pub(super) grant: Grant,
    pub(super) rhythm: Rhythm,
    pub(super) waker: Waker,
    /// Its channel in this shard.
    pub(super) live: u32,
    pub(super) generation: u32,
    pub(super) caught_up: bool,
    /// It waits for its turn to read.
    pub(super) queued: bool,
    /// What must go out before anything else.
    pub(super) rest: Bytes,
    /// Since when the socket takes nothing, in milliseconds of the shard.
    pub(super) blocked: Option<u64>,
    /// A deadline for that is in the wheel.
    pub(super) stall_armed: bool,
    /// With `rest` the stream ends.
    pub(super) ending: bool,
    /// It waits for news of its channel.
    pub(super) waits: bool,
    /// Events of the present pass that it is still to be written, a bit for each; only with a filter.
    pub(super) owed: u64,
    /// When it was last written to by itself, and how long a silence may last.
    pub(super) wrote: u64,
    pub(super) heartbeat: Duration,
    unasked: usize,
    _held: Held,
    _occupied: Occupied,
}

/// What a seat is made from beside its opening.
pub(super) struct Place {
    pub(super) live: u32,
    pub(super) generation: u32,
    pub(super) waker: Waker,
    pub(super) now: u64,
    pub(super) occupied: Occupied,
}

impl Seat {
    pub(super) fn new(taken: super::Taken, place: Place) -> Self {
        let super::Taken { socket, head, opening, held } = taken;
        let Place { live, generation, waker, now, occupied } = place;
        let first = Chunk::of(&opening.first);
        Self {
            socket: TcpStream::from_std(socket),
            rest: [&head[..], first.wire()].concat().into(),
            heartbeat: opening.rhythm.next_beat(),
            subscriber: opening.subscriber,
            admission: opening.admission,
            grant: opening.grant,
            rhythm: opening.rhythm,
            waker,
            live,
            generation,
            caught_up: false,
            queued: false,
            blocked: None,
            stall_armed: false,
            ending: false,
            waits: false,
            owed: 0,
            wrote: now,
            unasked: 0,
            _held: held,
            _occupied: occupied,
        }
    }

    /// Writes what is left.
    pub(super) fn flush(&mut self) -> Wrote {
        let wrote = write(&mut self.socket, &[IoSlice::new(&self.rest)], self.rest.len());
        match wrote {
            Wrote::All => self.rest = Bytes::new(),
            Wrote::Part(n) => self.rest.advance(n),
            Wrote::Gone => {}
        }
        wrote
    }

    /// Writes `slices`, which have `bytes` in all; nothing may be left of an earlier write.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>], bytes: usize) -> Wrote {
        write(&mut self.socket, slices, bytes)
    }

    /// Of what its filter lets pass of `run`, `written` bytes went out, fewer than all: the cursor moves over what was begun.
    pub(super) fn cut(&mut self, run: &Run, written: usize) {
        if let Some((at, left)) = run.cut(self.subscriber.filter(), written) {
            self.subscriber.wrote(run, at + 1);
            self.rest = run.rest(at, left);
        }
    }

    /// Reads what a client should not send.
    pub(super) fn listen(&mut self) -> Heard {
        let mut sink = [0; 16 << 10];
        loop {
            match self.socket.read(&mut sink) {
                Ok(0) => return Heard::Gone,
                Ok(n) => {
                    self.unasked += n;
                    if self.unasked > MAX_INPUT_BYTES {
                        return Heard::TooMuch;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Heard::Nothing,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Heard::Gone,
            }
        }
    }

    /// The stream ends with what it says now.
    pub(super) fn say_goodbye(&mut self, reason: CloseReason) {
        let words = self.rhythm.last_words(&mut self.subscriber, reason);
        self.rest = [Chunk::of(&words).wire(), LAST_CHUNK].concat().into();
        self.admission.session().close(reason);
        self.ending = true;
    }

    /// Says that it is still there.
    pub(super) fn beat(&mut self) {
        let frame = self.rhythm.beat(&mut self.subscriber);
        self.rest = Chunk::of(&frame).wire().clone();
        self.heartbeat = self.rhythm.next_beat();
    }

    /// Why the stream is to end now, if it is.
    pub(super) fn is_over(&self, now: Instant) -> Option<CloseReason> {
        let aged = || self.grant.until().is_some_and(|until| now >= until);
        self.admission.session().closing().or_else(|| aged().then_some(CloseReason::MaxAge))
    }
}

fn write(socket: &mut TcpStream, slices: &[IoSlice<'_>], bytes: usize) -> Wrote {
    loop {
        let wrote = match slices {
            [one] => socket.write(one),
            many => socket.write_vectored(many),
        };
        return match wrote {
            Ok(n) if n == bytes => Wrote::All,
            Ok(0) => Wrote::Gone,
            Ok(n) => Wrote::Part(n),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Wrote::Part(0),
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(_) => Wrote::Gone,
        };
    }
}

//! An HTTP/2 connection of a shard: its socket and the protocol. The writes of its streams are buffered and sent in one write.

use std::{
    cell::RefCell,
    future::Future,
    io::{ErrorKind, IoSlice, Read as _},
    net::Shutdown,
    pin::Pin,
    rc::Rc,
    task::Waker,
};

use bytes::Bytes;
use http::{Request, response::Parts};
use mio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Key,
    http2_deadlines::Http2Deadlines,
    inbox::LoadGuard,
    socket::{self, ClientInput, WriteOutcome},
    tls_socket::TlsSocket,
};
use crate::{
    http2::{self, Event, body::Body},
    sockets::{ConnectionGuard, RequestGuard},
    tls::TlsState,
};

/// Buffered bytes that are written without waiting for more.
const FLUSH_BYTES: usize = 32 << 10;
/// Bytes that are read from a connection before the next one has its turn.
const READ_BYTES_PER_TURN: usize = 64 << 10;

/// An HTTP/2 connection for a shard.
pub(crate) struct Http2Handoff {
    /// Non-blocking.
    pub(crate) socket: std::net::TcpStream,
    /// The state of TLS, if the connection uses it.
    pub(crate) tls: Option<Box<TlsState>>,
    pub(crate) guard: ConnectionGuard,
    pub(crate) service: Box<dyn Http2Service>,
    /// The most that a request head may have, uncompressed.
    pub(crate) max_head_bytes: u32,
    pub(crate) deadlines: Http2Deadlines,
    /// Completes when the connection is to serve no further requests.
    pub(crate) leaving: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Handles the requests of a connection.
pub(crate) trait Http2Service: Send {
    /// Begins to handle a request, in a task that uses `responder` once.
    fn call(&self, request: Request<Body>, responder: super::Responder) -> RequestTask;
}

/// A request that is being handled. Dropping it cancels the task, if that has not ended.
pub(crate) struct RequestTask {
    pub(crate) guard: RequestGuard,
    _task: AbortOnDropHandle<()>,
}

impl RequestTask {
    pub(crate) fn new(guard: RequestGuard, task: JoinHandle<()>) -> Self {
        Self { guard, _task: AbortOnDropHandle::new(task) }
    }
}

/// What the shard attaches to a stream.
pub(super) enum StreamUse {
    Request(RequestTask),
    /// Its subscriber, by key and generation.
    Subscriber {
        key: Key,
        generation: u32,
        _request: RequestGuard,
    },
}

/// A connection, shared by its streams.
pub(super) struct Http2Connection {
    pub(super) socket: TcpStream,
    tls: Option<Box<TlsSocket>>,
    pub(super) protocol: http2::Connection<StreamUse>,
    pub(super) service: Box<dyn Http2Service>,
    pub(super) guard: ConnectionGuard,
    pub(super) generation: u32,
    pub(super) deadlines: Http2Deadlines,
    key: Key,
    /// Connections of the shard with something to write, or with events.
    touched: Rc<RefCell<Vec<Key>>>,
    is_touched: bool,
    /// Whether the sending side is being closed. Further input is discarded.
    is_closing: bool,
    is_closed: bool,
    /// Whether reading is paused until enough was written.
    is_paused: bool,
    /// Wakes the shard when the connection is to leave.
    _leaving: AbortOnDropHandle<()>,
    _load: LoadGuard,
}

/// The outcome of reading from a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// There is nothing more now.
    Drained,
    /// There may be more.
    More,
    /// The client has disconnected.
    Disconnected,
}

impl Http2Connection {
    /// `wakers` wake the shard: the first when a handler has read from a body, the second when the connection is to leave.
    pub(super) fn new(
        handoff: Http2Handoff,
        key: Key,
        generation: u32,
        wakers: [Waker; 2],
        touched: Rc<RefCell<Vec<Key>>>,
        load: LoadGuard,
    ) -> Self {
        let Http2Handoff { socket, tls, guard, service, max_head_bytes, deadlines, leaving } =
            handoff;
        let [on_body_read, on_leaving] = wakers;
        // Woken directly and not through the task: GOAWAY must be sent before the end of a stream that is closed afterwards.
        guard.connection().wake_on_leave(&on_leaving);
        let leaving = tokio::spawn(async move {
            leaving.await;
            on_leaving.wake();
        });
        let mut connection = Self {
            socket: TcpStream::from_std(socket),
            tls: None,
            protocol: http2::Connection::new(max_head_bytes, on_body_read),
            service,
            guard,
            generation,
            deadlines,
            key,
            touched,
            is_touched: false,
            is_closing: false,
            is_closed: false,
            is_paused: false,
            _leaving: AbortOnDropHandle::new(leaving),
            _load: load,
        };
        if let Some(mut state) = tls {
            let early = std::mem::take(&mut state.plaintext);
            connection.tls = Some(Box::new(TlsSocket::new(*state)));
            connection.process(&early);
        }
        connection.touch();
        connection
    }

    /// Makes the shard process the connection before it sleeps.
    pub(super) fn touch(&mut self) {
        if !std::mem::replace(&mut self.is_touched, true) {
            self.touched.borrow_mut().push(self.key);
        }
    }

    /// The shard processes the connection now.
    pub(super) fn untouch(&mut self) {
        self.is_touched = false;
    }

    /// Adds the beginning of `slices`, of `bytes` in all, to what is written next.
    pub(super) fn write(&mut self, id: u32, slices: &[IoSlice<'_>], bytes: usize) -> WriteOutcome {
        if self.protocol.unsent().len() >= FLUSH_BYTES {
            self.flush(); // the shard notices a failure when it processes the connection
        }
        self.touch();
        match self.protocol.write(id, slices, bytes) {
            None => WriteOutcome::Disconnected,
            Some(n) if n == bytes => WriteOutcome::Complete,
            Some(n) => WriteOutcome::Partial(n),
        }
    }

    /// Writes the head of the response of a stream.
    pub(super) fn begin_response(&mut self, id: u32, parts: &Parts) -> bool {
        self.touch();
        self.protocol.begin_response(id, parts)
    }

    pub(super) fn respond(&mut self, id: u32, parts: &Parts, body: Bytes) {
        self.touch();
        self.protocol.respond(id, parts, body);
    }

    pub(super) fn finish(&mut self, id: u32) {
        self.touch();
        self.protocol.finish(id);
    }

    pub(super) fn cancel(&mut self, id: u32) {
        self.touch();
        self.protocol.cancel(id);
    }

    /// Writes the buffered bytes, and the frames that waited for room in the buffer.
    pub(super) fn flush(&mut self) -> WriteOutcome {
        loop {
            let outcome = self.flush_once();
            if outcome != WriteOutcome::Complete {
                return outcome;
            }
            if self.protocol.unsent().is_empty() {
                return WriteOutcome::Complete;
            }
        }
    }

    fn flush_once(&mut self) -> WriteOutcome {
        if let Some(tls) = &mut self.tls {
            let outcome = tls.flush(&mut self.socket);
            if outcome != WriteOutcome::Complete {
                return outcome;
            }
        }
        let unsent = self.protocol.unsent();
        let bytes = unsent.len();
        if bytes == 0 {
            return WriteOutcome::Complete;
        }
        let slices = [IoSlice::new(unsent)];
        let outcome = match &mut self.tls {
            None => socket::write(&mut self.socket, &slices, bytes),
            Some(tls) => tls.write(&mut self.socket, &slices, bytes),
        };
        match outcome {
            WriteOutcome::Complete => self.protocol.sent(bytes),
            WriteOutcome::Partial(written) => self.protocol.sent(written),
            WriteOutcome::Disconnected => {}
        }
        outcome
    }

    /// Reads what the client has sent, for one turn.
    pub(super) fn read(&mut self, now: u64) -> ReadOutcome {
        let (mut buffer, mut left) = ([0; 16 << 10], READ_BYTES_PER_TURN);
        loop {
            if !self.is_closing && self.protocol.is_congested() {
                self.is_paused = true;
                return ReadOutcome::Drained;
            }
            match self.socket.read(&mut buffer) {
                Ok(0) => return ReadOutcome::Disconnected,
                Ok(n) => {
                    self.deadlines.on_read(now);
                    if self.receive(&buffer[..n]) == ClientInput::Disconnected {
                        return ReadOutcome::Disconnected;
                    }
                    left = left.saturating_sub(n);
                    if left == 0 {
                        return ReadOutcome::More;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return ReadOutcome::Drained,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return ReadOutcome::Disconnected,
            }
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> ClientInput {
        let Some(tls) = &mut self.tls else {
            self.process(bytes);
            return ClientInput::Acceptable;
        };
        let mut plaintext = Vec::new();
        let input = tls.receive(bytes, |data| plaintext.extend_from_slice(data));
        self.process(&plaintext);
        input
    }

    fn process(&mut self, bytes: &[u8]) {
        if !self.is_closing
            && let Err(error) = self.protocol.receive(bytes)
        {
            let client = self.guard.connection().peer();
            tracing::debug!(%client, %error, "closing a connection");
            self.close();
        }
        self.report_head();
        self.touch();
    }

    /// Reports whether a request head has begun to arrive and is incomplete.
    fn report_head(&self) {
        let connection = self.guard.connection();
        if self.protocol.is_within_head() {
            connection.head_began();
        } else {
            connection.head_ended();
        }
    }

    /// Closes the sending side once everything is written. The socket is closed when the client has closed its side, too.
    pub(super) fn close(&mut self) {
        if !std::mem::replace(&mut self.is_closing, true) {
            self.deadlines.linger();
            self.touch();
        }
    }

    /// Closes the sending side if that was requested and everything is written.
    pub(super) fn close_if_written(&mut self) {
        let is_written = self.protocol.unsent().is_empty();
        if !self.is_closing || !is_written || std::mem::replace(&mut self.is_closed, true) {
            return;
        }
        if let Some(tls) = &mut self.tls {
            tls.close_notify();
            tls.flush(&mut self.socket);
        }
        if let Err(error) = self.socket.shutdown(Shutdown::Write) {
            tracing::trace!(%error, "the client closed the socket first");
        }
    }

    /// Whether reading was paused and can continue.
    pub(super) fn resumes_reading(&mut self) -> bool {
        self.is_paused && !self.protocol.is_congested() && std::mem::take(&mut self.is_paused)
    }

    /// What has happened since the last call.
    pub(super) fn take_events(&mut self) -> Vec<Event<StreamUse>> {
        self.protocol.take_events()
    }
}

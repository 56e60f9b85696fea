//! One connection: what it is doing, and since when.

use std::{
    future::poll_fn,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Poll, Waker},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Sockets;

/// How long a connection may wait for a request before it can be evicted, in milliseconds. A client that has just connected or been
/// answered is likely to send one.
const REQUEST_GRACE: u64 = 250;
/// How long a body may take to arrive, or a response to be read, before the connection can be evicted, in milliseconds.
const BODY_GRACE: u64 = 1000;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There is no request.
    Idle,
    /// A request head has begun to arrive.
    Head,
    /// Request bodies are awaited, and nothing else is in progress.
    Body,
    /// Complete responses wait for the client to read them, and nothing else is in progress but request bodies.
    Unread,
    /// A request is being processed.
    Answering,
    /// It carries streams.
    Streaming,
}

impl Phase {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Head => "head",
            Self::Body => "body",
            Self::Unread => "unread",
            Self::Answering => "answering",
            Self::Streaming => "streaming",
        }
    }
}

/// A connection of the public listener. Its observer, the handlers and the streams report what happens on it.
pub(crate) struct Connection {
    peer: IpAddr,
    is_tls: bool,
    sockets: Arc<Sockets>,
    /// Requests whose responses have not ended.
    requests: AtomicUsize,
    /// Requests whose bodies are being read.
    bodies: AtomicUsize,
    /// Requests whose responses are complete but not sent.
    unread: AtomicUsize,
    streams: Mutex<usize>,
    head: AtomicBool,
    /// Whether it has had a request.
    had_request: AtomicBool,
    /// When the phase last changed, in milliseconds of [`Sockets`].
    since: AtomicU64,
    evicted: CancellationToken,
    /// Whether it was asked to leave.
    leaving: AtomicBool,
    /// Wakes the task or shard that serves it when it is asked to leave.
    leave: AtomicWaker,
}

impl Connection {
    pub(super) fn new(peer: IpAddr, is_tls: bool, sockets: &Arc<Sockets>) -> Arc<Self> {
        Arc::new(Self {
            peer,
            is_tls,
            requests: AtomicUsize::new(0),
            bodies: AtomicUsize::new(0),
            unread: AtomicUsize::new(0),
            streams: Mutex::new(0),
            head: AtomicBool::new(false),
            had_request: AtomicBool::new(false),
            since: AtomicU64::new(sockets.now()),
            sockets: Arc::clone(sockets),
            evicted: CancellationToken::new(),
            leaving: AtomicBool::new(false),
            leave: AtomicWaker::new(),
        })
    }

    /// The other end of the socket.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Whether it came over the listener with TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.is_tls
    }

    pub(super) fn sockets(&self) -> &Arc<Sockets> {
        &self.sockets
    }

    pub(crate) fn phase(&self) -> Phase {
        if *self.streams.lock() > 0 {
            return Phase::Streaming;
        }
        let (bodies, unread) = (self.bodies.load(Relaxed), self.unread.load(Relaxed));
        match self.requests.load(Relaxed) {
            0 if self.head.load(Relaxed) => Phase::Head,
            0 => Phase::Idle,
            requests if bodies + unread < requests => Phase::Answering,
            _ if bodies > 0 => Phase::Body,
            _ => Phase::Unread,
        }
    }

    /// The order in which connections are evicted; `None`: it must not be.
    pub(super) fn rank(&self) -> Option<u8> {
        if self.is_evicted() {
            return None;
        }
        let (rank, grace) = match self.phase() {
            Phase::Idle => (0, REQUEST_GRACE),
            Phase::Head => (1, REQUEST_GRACE),
            Phase::Body | Phase::Unread => (2, BODY_GRACE),
            Phase::Answering | Phase::Streaming => return None,
        };
        (self.sockets.now().saturating_sub(self.since()) >= grace).then_some(rank)
    }

    pub(super) fn since(&self) -> u64 {
        self.since.load(Relaxed)
    }

    /// When the connection is closed if nothing happens: `head` after a request head has begun, or should have; `idle` after the
    /// last response.
    pub(crate) fn deadline(&self, head: Duration, idle: Duration) -> Option<Instant> {
        let since = self.sockets.instant(self.since());
        match self.phase() {
            Phase::Idle if self.had_request.load(Relaxed) => Some(since + idle),
            Phase::Idle | Phase::Head => Some(since + head),
            _ => None,
        }
    }

    /// A request head has begun to arrive.
    pub(crate) fn head_began(&self) {
        if !self.head.swap(true, Relaxed) {
            self.touch();
        }
    }

    /// The client is not within a request head any more.
    pub(crate) fn head_ended(&self) {
        if self.head.swap(false, Relaxed) {
            self.touch();
        }
    }

    /// Counts a request until the guard is dropped.
    pub(crate) fn begin_request(self: &Arc<Self>) -> RequestGuard {
        self.request_began();
        RequestGuard { connection: Arc::clone(self), answered: false }
    }

    /// A request head is complete.
    pub(crate) fn request_began(&self) {
        self.had_request.store(true, Relaxed);
        self.head.store(false, Relaxed);
        self.requests.fetch_add(1, Relaxed);
    }

    /// The response to a request is complete; the client has not read it yet.
    pub(crate) fn answered(&self) {
        self.touch();
        self.unread.fetch_add(1, Relaxed);
    }

    /// A request has ended: its response was sent, or its stream was reset before or after it was `answered`.
    pub(crate) fn request_ended(&self, answered: bool) {
        self.touch();
        if answered {
            self.unread.fetch_sub(1, Relaxed);
        }
        self.requests.fetch_sub(1, Relaxed);
    }

    /// Whether it only waits for its client, so that closing it loses nothing.
    pub(crate) fn waits_for_client(&self) -> bool {
        matches!(self.phase(), Phase::Idle | Phase::Head | Phase::Unread)
    }

    /// Whether it has had a request.
    pub(crate) fn had_request(&self) -> bool {
        self.had_request.load(Relaxed)
    }

    /// Whether there are requests in progress.
    pub(crate) fn has_requests(&self) -> bool {
        self.requests.load(Relaxed) > 0
    }

    /// A request body is read until the guard is dropped.
    pub(crate) fn read_body(self: &Arc<Self>) -> impl Drop + Send + use<> {
        self.touch();
        self.bodies.fetch_add(1, Relaxed);
        BodyGuard(Arc::clone(self))
    }

    /// Opens a stream on this connection; `None` if streams may not use another connection.
    pub(crate) fn open_stream(self: &Arc<Self>) -> Option<StreamGuard> {
        let mut streams = self.streams.lock();
        if *streams == 0 && !self.sockets.reserve_for_stream(self.is_tls) {
            return None;
        }
        *streams += 1;
        Some(StreamGuard(Arc::clone(self)))
    }

    /// Asks the connection to close, so that another one gets its socket.
    pub(super) fn evict(&self) {
        self.evicted.cancel();
    }

    pub(crate) fn is_evicted(&self) -> bool {
        self.evicted.is_cancelled()
    }

    /// Waits until the connection is evicted.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// Asks the connection to accept no further requests, so that the client sends the next ones over another connection. Requests under
    /// way are completed.
    pub(crate) fn leave(&self) {
        if !self.leaving.swap(true, Relaxed) {
            self.leave.wake();
        }
    }

    /// Whether it was asked to [`leave`](Self::leave).
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    /// Registers `waker`, in place of any other, to be woken when the connection is asked to leave, or at once if it was. It is woken
    /// before [`leave`](Self::leave) returns.
    pub(crate) fn wake_on_leave(&self, waker: &Waker) {
        self.leave.register(waker);
        if self.is_leaving() {
            waker.wake_by_ref();
        }
    }

    /// Waits until the connection is asked to leave. Only one may wait: what serves the connection.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn asked_to_leave(&self) {
        let _registered = Registered(&self.leave);
        poll_fn(|cx| {
            self.leave.register(cx.waker());
            if self.is_leaving() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn touch(&self) {
        self.since.store(self.sockets.now(), Relaxed);
    }
}

/// Removes the waker when nobody waits any more. It would keep the memory of a finished task for as long as the connection is open.
struct Registered<'a>(&'a AtomicWaker);

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

/// A request of a connection that can have several at once.
pub(crate) struct RequestGuard {
    connection: Arc<Connection>,
    answered: bool,
}

impl RequestGuard {
    /// The response is complete; the client has not read it yet.
    pub(crate) fn answered(&mut self) {
        if !std::mem::replace(&mut self.answered, true) {
            self.connection.answered();
        }
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.connection.request_ended(self.answered);
    }
}

struct BodyGuard(Arc<Connection>);

impl Drop for BodyGuard {
    fn drop(&mut self) {
        self.0.bodies.fetch_sub(1, Relaxed);
    }
}

/// Keeps a stream counted on its connection.
pub(crate) struct StreamGuard(Arc<Connection>);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let mut streams = self.0.streams.lock();
        *streams -= 1;
        if *streams == 0 {
            self.0.touch();
            self.0.sockets.release_from_streams(self.0.is_tls);
        }
    }
}

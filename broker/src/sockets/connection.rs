//! One connection: what it is doing, and since when.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Sockets;

/// How long a client may take before its connection may be closed to make room, in milliseconds: for a request, and for a body or to
/// read an answer. Whoever has just come, or been answered, is about to go on.
const REQUEST_PATIENCE: u64 = 250;
const BODY_PATIENCE: u64 = 1000;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has no request.
    Idle,
    /// A head has begun to come.
    Head,
    /// Bodies are to come, and nothing else is under way.
    Body,
    /// Answers are to be read by the client, and nothing else is under way but bodies.
    Unread,
    /// A request is being answered.
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

/// A connection of the public listener. What it is doing is told by those who see it: the wire, the handlers, the streams.
pub(crate) struct Connection {
    peer: IpAddr,
    sockets: Arc<Sockets>,
    /// Requests whose answers have not ended.
    requests: AtomicUsize,
    /// Requests whose bodies are being read.
    bodies: AtomicUsize,
    /// Requests whose answers are complete and have not gone.
    unread: AtomicUsize,
    streams: Mutex<usize>,
    head: AtomicBool,
    /// It has had a request.
    asked: AtomicBool,
    /// When that last changed, in milliseconds of [`Sockets`].
    since: AtomicU64,
    leave: CancellationToken,
}

/// Where a request comes from.
#[derive(Clone)]
pub(crate) struct Remote {
    /// The other end of the connection, or what the PROXY protocol says of it.
    pub(crate) peer: IpAddr,
    pub(crate) connection: Arc<Connection>,
}

impl Connection {
    pub(super) fn new(peer: IpAddr, sockets: &Arc<Sockets>) -> Arc<Self> {
        Arc::new(Self {
            peer,
            requests: AtomicUsize::new(0),
            bodies: AtomicUsize::new(0),
            unread: AtomicUsize::new(0),
            streams: Mutex::new(0),
            head: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            since: AtomicU64::new(sockets.now()),
            sockets: Arc::clone(sockets),
            leave: CancellationToken::new(),
        })
    }

    /// The other end of the socket.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer
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

    /// The order in which connections are closed to make room; `None`: not at all.
    pub(super) fn rank(&self) -> Option<u8> {
        if self.is_leaving() {
            return None;
        }
        let (rank, patience) = match self.phase() {
            Phase::Idle => (0, REQUEST_PATIENCE),
            Phase::Head => (1, REQUEST_PATIENCE),
            Phase::Body | Phase::Unread => (2, BODY_PATIENCE),
            Phase::Answering | Phase::Streaming => return None,
        };
        (self.sockets.now().saturating_sub(self.since()) >= patience).then_some(rank)
    }

    pub(super) fn since(&self) -> u64 {
        self.since.load(Relaxed)
    }

    /// When the connection is to be closed if nothing happens: `head` after a head has begun, or should have; `idle` after
    /// the last answer.
    pub(crate) fn deadline(&self, head: Duration, idle: Duration) -> Option<Instant> {
        let since = self.sockets.instant(self.since());
        match self.phase() {
            Phase::Idle if self.asked.load(Relaxed) => Some(since + idle),
            Phase::Idle | Phase::Head => Some(since + head),
            _ => None,
        }
    }

    /// Bytes of a head have come.
    pub(crate) fn head_began(&self) {
        if !self.head.swap(true, Relaxed) {
            self.touch();
        }
    }

    /// What had begun to come was no head.
    pub(crate) fn head_ended(&self) {
        if self.head.swap(false, Relaxed) {
            self.touch();
        }
    }

    /// A request has come.
    pub(crate) fn request_began(&self) {
        self.asked.store(true, Relaxed);
        self.head.store(false, Relaxed);
        self.requests.fetch_add(1, Relaxed);
    }

    /// The answer to a request is complete; the client is to read it.
    pub(crate) fn answered(&self) {
        self.touch();
        self.unread.fetch_add(1, Relaxed);
    }

    /// A request has ended: its answer has gone, or its stream was reset before or after it was `answered`.
    pub(crate) fn request_ended(&self, answered: bool) {
        self.touch();
        if answered {
            self.unread.fetch_sub(1, Relaxed);
        }
        self.requests.fetch_sub(1, Relaxed);
    }

    /// Whether it waits for its client alone, so that nothing is lost but the client's patience if it is closed.
    pub(crate) fn waits_for_client(&self) -> bool {
        matches!(self.phase(), Phase::Idle | Phase::Head | Phase::Unread)
    }

    /// Whether requests are under way.
    pub(crate) fn has_requests(&self) -> bool {
        self.requests.load(Relaxed) > 0
    }

    /// A body is read until the guard is dropped.
    pub(crate) fn read_body(self: &Arc<Self>) -> impl Drop + Send + use<> {
        self.touch();
        self.bodies.fetch_add(1, Relaxed);
        ReadsBody(Arc::clone(self))
    }

    /// A place for a stream on this connection, if streams may have one.
    pub(crate) fn open_stream(self: &Arc<Self>) -> Option<StreamPlace> {
        let mut streams = self.streams.lock();
        if *streams == 0 && !self.sockets.take_for_stream() {
            return None;
        }
        *streams += 1;
        Some(StreamPlace(Arc::clone(self)))
    }

    /// Tells the connection to make room.
    pub(super) fn leave(&self) {
        self.leave.cancel();
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leave.is_cancelled()
    }

    /// Waits until the connection is to make room for others.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn told_to_leave(&self) {
        self.leave.cancelled().await;
    }

    fn touch(&self) {
        self.since.store(self.sockets.now(), Relaxed);
    }
}

struct ReadsBody(Arc<Connection>);

impl Drop for ReadsBody {
    fn drop(&mut self) {
        self.0.bodies.fetch_sub(1, Relaxed);
    }
}

/// A stream's place on its connection.
pub(crate) struct StreamPlace(Arc<Connection>);

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut streams = self.0.streams.lock();
        *streams -= 1;
        if *streams == 0 {
            self.0.touch();
            self.0.sockets.free_of_streams();
        }
    }
}

//! One open stream, as the rest of the broker sees it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use eventcast_wire::closing::CloseReason;
use futures_util::task::AtomicWaker;
use tokio_util::sync::CancellationToken;

/// Names a session within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionId(pub(super) u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of a stream, and a handle to end it.
pub(crate) struct Session {
    id: SessionId,
    channel: Arc<str>,
    /// Who subscribed, if the client was authenticated.
    subject: Option<Arc<str>>,
    waker: Arc<AtomicWaker>,
    /// A [`CloseReason`] as its code; 0 while the stream is to go on.
    close_reason: AtomicU8,
    /// When hyper took a frame and has not asked for another one since, in milliseconds of the registry; 0: it has asked.
    unread_since: AtomicU64,
    stall_timeout: Duration,
    kill: CancellationToken,
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        channel: Arc<str>,
        subject: Option<Arc<str>>,
        stall_timeout: Duration,
        kill: CancellationToken,
    ) -> Self {
        Self {
            id,
            channel,
            subject,
            waker: Arc::default(),
            close_reason: AtomicU8::new(0),
            unread_since: AtomicU64::new(0),
            stall_timeout,
            kill,
        }
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// The key of its channel.
    pub(crate) fn channel(&self) -> &Arc<str> {
        &self.channel
    }

    pub(crate) fn subject(&self) -> Option<&Arc<str>> {
        self.subject.as_ref()
    }

    /// Wakes the sink.
    pub(crate) fn waker(&self) -> &Arc<AtomicWaker> {
        &self.waker
    }

    /// How long the socket may accept nothing.
    pub(crate) fn stall_timeout(&self) -> Duration {
        self.stall_timeout
    }

    /// Why the stream is to end, once [`close`](Self::close) was called.
    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        CloseReason::from_code(self.close_reason.load(Relaxed))
    }

    /// Ends the stream: its sink sends the closing frames as soon as it runs. The first reason counts.
    pub(crate) fn close(&self, reason: CloseReason) {
        if self.close_reason.compare_exchange(0, reason as u8, Relaxed, Relaxed).is_ok() {
            self.waker.wake();
        }
    }

    /// Ends the connection or HTTP/2 stream below the body, without closing frames.
    pub(super) fn kill(&self) {
        self.kill.cancel();
    }

    pub(super) fn is_stalled(&self, now: u64) -> bool {
        let since = self.unread_since.load(Relaxed);
        since != 0 && Duration::from_millis(now.saturating_sub(since)) > self.stall_timeout
    }

    /// Sets since when hyper holds a frame; 0: it asks for the next one.
    pub(super) fn set_unread_since(&self, millis: u64) {
        self.unread_since.store(millis, Relaxed);
    }
}

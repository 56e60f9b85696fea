//! One open stream, as the rest of the broker sees it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use eventcast_wire::{closing::CloseReason, filter::Filter};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::GrantEnd;
use crate::{
    client::Client,
    identity::{Identity, RandomId},
    sockets::Connection,
};

/// What a stream is admitted with.
pub(crate) struct SessionInfo {
    pub(crate) id: RandomId,
    /// The key of its channel.
    pub(crate) channel: Arc<str>,
    /// Who subscribed, if the client was authenticated.
    pub(crate) identity: Option<Identity>,
    /// What a renewal of its grant names: its ticket, or the session itself.
    pub(crate) renewal: RandomId,
    /// What it may read and asked for.
    pub(crate) filter: Arc<Filter>,
    /// When it began, in milliseconds since 1970.
    pub(crate) began_at: i64,
    /// When its credential was issued, in seconds since 1970.
    pub(crate) issued_at: Option<i64>,
    /// How long the socket may accept nothing.
    pub(crate) stall_timeout: Duration,
    /// Ends the connection or HTTP/2 stream below the body.
    pub(crate) kill: CancellationToken,
    /// Frames for this stream alone; `None` if there can be none.
    pub(crate) mailbox: Option<Box<Mailbox>>,
}

/// A control frame for one stream alone, until its sink takes it. A newer one replaces it.
#[derive(Default)]
pub(crate) struct Mailbox {
    frame: Mutex<Option<Bytes>>,
}

/// The identity of a stream, and a handle to end it.
pub(crate) struct Session {
    info: SessionInfo,
    client: Client,
    /// What carries it.
    connection: Arc<Connection>,
    grant_end: GrantEnd,
    /// When it was admitted, in milliseconds of the registry.
    admitted_at: u64,
    /// Counts the streams of clients that are to end, of the registry.
    ending: Arc<AtomicUsize>,
    waker: Arc<AtomicWaker>,
    /// A [`CloseReason`] as its code; 0 while the stream is to go on.
    close_reason: AtomicU8,
    /// When hyper took a frame and has not asked for another one since, in milliseconds of the registry; 0: it has asked.
    unread_since: AtomicU64,
    /// The sequence that it has reached; [`AT_HEAD`] if it gets events as they come, [`STARTING`] before it has read anything.
    position: AtomicU64,
}

/// The position of a stream that follows the head of the log.
const AT_HEAD: u64 = u64::MAX;
/// The position of a stream that has not read anything.
const STARTING: u64 = u64::MAX - 1;

impl Session {
    pub(super) fn new(
        info: SessionInfo,
        client: Client,
        connection: Arc<Connection>,
        grant_end: GrantEnd,
        admitted_at: u64,
        ending: &Arc<AtomicUsize>,
    ) -> Self {
        Self {
            info,
            client,
            connection,
            grant_end,
            admitted_at,
            ending: Arc::clone(ending),
            waker: Arc::default(),
            close_reason: AtomicU8::new(0),
            unread_since: AtomicU64::new(0),
            position: AtomicU64::new(STARTING),
        }
    }

    pub(crate) fn info(&self) -> &SessionInfo {
        &self.info
    }

    /// The client that limits are counted for.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// When its grant ends.
    pub(crate) fn grant_end(&self) -> &GrantEnd {
        &self.grant_end
    }

    pub(super) fn channel(&self) -> &Arc<str> {
        &self.info.channel
    }

    pub(super) fn subject(&self) -> Option<&Arc<str>> {
        self.info.identity.as_ref().map(|identity| &identity.subject)
    }

    /// The sink follows the head of the log from now on.
    pub(crate) fn reached_head(&self) {
        self.position.store(AT_HEAD, Relaxed);
    }

    /// The sink has reached `sequence` and is behind the head.
    pub(crate) fn reached(&self, sequence: u64) {
        self.position.store(sequence, Relaxed);
    }

    /// Sequences between its position and `head`.
    pub(crate) fn lag(&self, head: u64) -> u64 {
        match self.position.load(Relaxed) {
            AT_HEAD | STARTING => 0,
            position => head.saturating_sub(position),
        }
    }

    /// Whether it gets events as they come.
    pub(super) fn is_at_head(&self) -> bool {
        self.position.load(Relaxed) == AT_HEAD
    }

    /// The connection that carries it.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// When it was admitted, in milliseconds of the registry.
    pub(super) fn admitted_at(&self) -> u64 {
        self.admitted_at
    }

    /// Wakes the sink.
    pub(crate) fn waker(&self) -> &Arc<AtomicWaker> {
        &self.waker
    }

    /// How long the socket may accept nothing.
    pub(crate) fn stall_timeout(&self) -> Duration {
        self.info.stall_timeout
    }

    /// Why the stream is to end, once [`close`](Self::close) was called.
    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        CloseReason::from_code(self.close_reason.load(Relaxed))
    }

    /// Ends the stream: its sink sends the closing frames as soon as it runs. The first reason counts. Returns whether this was it.
    pub(crate) fn close(&self, reason: CloseReason) -> bool {
        let first = self.close_reason.compare_exchange(0, reason as u8, Relaxed, Relaxed).is_ok();
        if first {
            if !self.is_probe() {
                self.ending.fetch_add(1, Relaxed);
            }
            self.waker.wake();
        }
        first
    }

    /// Whether it is the stream of a delivery probe: only these have a mailbox.
    pub(super) fn is_probe(&self) -> bool {
        self.info.mailbox.is_some()
    }

    /// Gives the stream a control frame, if it has a mailbox.
    pub(crate) fn post(&self, frame: Bytes) {
        if let Some(mailbox) = &self.info.mailbox {
            *mailbox.frame.lock() = Some(frame);
            self.waker.wake();
        }
    }

    /// Whether there is a control frame for the sink.
    pub(crate) fn has_post(&self) -> bool {
        self.info.mailbox.as_ref().is_some_and(|mailbox| mailbox.frame.lock().is_some())
    }

    /// Takes the control frame.
    pub(crate) fn take_post(&self) -> Option<Bytes> {
        self.info.mailbox.as_ref()?.frame.lock().take()
    }

    /// Ends the connection or HTTP/2 stream below the body, without closing frames.
    pub(super) fn kill(&self) {
        self.info.kill.cancel();
    }

    pub(super) fn is_stalled(&self, now: u64) -> bool {
        let since = self.unread_since.load(Relaxed);
        since != 0 && Duration::from_millis(now.saturating_sub(since)) > self.info.stall_timeout
    }

    /// Sets since when hyper holds a frame; 0: it asks for the next one.
    pub(super) fn set_unread_since(&self, millis: u64) {
        self.unread_since.store(millis, Relaxed);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.close_reason().is_some() && !self.is_probe() {
            self.ending.fetch_sub(1, Relaxed);
        }
    }
}

//! A session: one open stream, as the rest of the broker sees it.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU8, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
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
    delivery::Sent,
    identity::{Identity, RandomId},
    sockets::Connection,
};

/// The facts about a stream that are known when it is admitted.
pub(crate) struct SessionInfo {
    pub(crate) id: RandomId,
    /// The key of its channel.
    pub(crate) channel: Arc<str>,
    /// Who subscribed, if the client was authenticated.
    pub(crate) identity: Option<Identity>,
    /// The id by which renewals name it: that of its ticket, or of the session itself.
    pub(crate) renewal: RandomId,
    /// What it asked for, narrowed to its grant.
    pub(crate) filter: Arc<Filter>,
    /// The version of HTTP.
    pub(crate) protocol: &'static str,
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
    /// The connection that carries it.
    connection: Arc<Connection>,
    grant_end: GrantEnd,
    /// When it was admitted, in milliseconds of the registry.
    admitted_at: u64,
    /// The counter of the registry for streams of clients that were told to close.
    ending: Arc<AtomicUsize>,
    waker: Arc<AtomicWaker>,
    /// A [`CloseReason`] as its code; 0 while the stream is open.
    close_reason: AtomicU8,
    /// When hyper took the last frame, in milliseconds of the registry; 0 if it has asked for another one since.
    unread_since: AtomicU64,
    report: ReportCells,
    /// The sequence that it has reached; [`AT_HEAD`] if it has caught up, [`STARTING`] before it has read anything.
    position: AtomicU64,
}

/// What a stream was sent, as its sink reported it last. Sinks report only on request, so that deliveries cost no store here.
#[derive(Default)]
struct ReportCells {
    is_requested: AtomicBool,
    events: AtomicU64,
    bytes: AtomicU64,
    /// How long its socket had accepted nothing at the time of the report, in milliseconds, plus one; 0: it accepts everything.
    blocked: AtomicU64,
}

/// What the sink of a stream reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SinkReport {
    pub(crate) sent: Sent,
    /// How long its socket has accepted nothing.
    pub(crate) blocked: Option<Duration>,
}

/// The progress of a stream in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It has read nothing yet.
    Starting,
    /// It has caught up, and receives events as they are published.
    AtHead,
    /// It has reached this sequence.
    Behind(u64),
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
            report: ReportCells::default(),
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

    pub(crate) fn channel(&self) -> &Arc<str> {
        &self.info.channel
    }

    pub(crate) fn subject(&self) -> Option<&Arc<str>> {
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

    /// Its progress in the log.
    pub(crate) fn progress(&self) -> Progress {
        match self.position.load(Relaxed) {
            AT_HEAD => Progress::AtHead,
            STARTING => Progress::Starting,
            position => Progress::Behind(position),
        }
    }

    /// Sequences between its position and `head`.
    pub(crate) fn lag(&self, head: u64) -> u64 {
        match self.progress() {
            Progress::AtHead | Progress::Starting => 0,
            Progress::Behind(position) => head.saturating_sub(position),
        }
    }

    /// Asks the sink to [report](Self::set_report) what it has sent.
    pub(crate) fn request_report(&self) {
        self.report.is_requested.store(true, Release);
        self.waker.wake();
    }

    /// Whether the sink was asked and has not reported yet.
    pub(crate) fn is_report_requested(&self) -> bool {
        self.report.is_requested.load(Acquire)
    }

    /// Stores the report of the sink.
    pub(crate) fn set_report(&self, SinkReport { sent, blocked }: SinkReport) {
        self.report.events.store(sent.events, Relaxed);
        self.report.bytes.store(sent.bytes, Relaxed);
        let blocked = blocked.map_or(0, |blocked| {
            u64::try_from(blocked.as_millis()).unwrap_or(u64::MAX - 1).saturating_add(1)
        });
        self.report.blocked.store(blocked, Relaxed);
        self.report.is_requested.store(false, Release);
    }

    /// The report of the sink; `None` if it was asked and has not reported yet.
    pub(crate) fn report(&self) -> Option<SinkReport> {
        let is_reported = !self.is_report_requested();
        is_reported.then(|| SinkReport {
            sent: Sent {
                events: self.report.events.load(Relaxed),
                bytes: self.report.bytes.load(Relaxed),
            },
            blocked: self.report.blocked.load(Relaxed).checked_sub(1).map(Duration::from_millis),
        })
    }

    /// Whether it has caught up.
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

    /// Why the stream must end, once [`close`](Self::close) was called.
    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        CloseReason::from_code(self.close_reason.load(Relaxed))
    }

    /// Closes the stream: its sink sends the closing frames as soon as it runs. Only the first reason is kept. Returns whether this was the
    /// first call.
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
    pub(crate) fn is_probe(&self) -> bool {
        self.info.mailbox.is_some()
    }

    /// Puts a control frame into the mailbox of the stream, if it has one.
    pub(crate) fn send_mail(&self, frame: Bytes) {
        if let Some(mailbox) = &self.info.mailbox {
            *mailbox.frame.lock() = Some(frame);
            self.waker.wake();
        }
    }

    /// Whether there is a control frame in the mailbox.
    pub(crate) fn has_mail(&self) -> bool {
        self.info.mailbox.as_ref().is_some_and(|mailbox| mailbox.frame.lock().is_some())
    }

    /// Takes the control frame from the mailbox.
    pub(crate) fn take_mail(&self) -> Option<Bytes> {
        self.info.mailbox.as_ref()?.frame.lock().take()
    }

    /// Ends the connection or HTTP/2 stream below the body, without closing frames.
    pub(super) fn kill(&self) {
        self.info.kill.cancel();
    }

    pub(super) fn is_stalled(&self, now: u64) -> bool {
        let longest = self.info.stall_timeout;
        self.unread_since()
            .is_some_and(|since| Duration::from_millis(now.saturating_sub(since)) > longest)
    }

    /// Since when hyper has a frame that it cannot write, if it has one, in milliseconds of the registry.
    pub(super) fn unread_since(&self) -> Option<u64> {
        Some(self.unread_since.load(Relaxed)).filter(|since| *since != 0)
    }

    /// Sets since when hyper has had a frame; 0: it asks for the next one.
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

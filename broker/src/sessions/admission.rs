//! Admission control for streams.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{Session, SessionInfo, Sessions};
use crate::{
    client::Client,
    cluster::StreamPermit,
    metrics::ChannelMetrics,
    sockets::{Connection, StreamGuard},
};
use eventcast_wire::closing::CloseReason;

/// A stream that asks to be admitted.
pub(crate) struct AdmissionRequest {
    pub(crate) session: SessionInfo,
    pub(crate) client: Client,
    pub(crate) connection: Arc<Connection>,
    /// How long its grant lasts from now; `None`: without end.
    pub(crate) grant_left: Option<Duration>,
    /// The most streams of the channel; 0: no limit of its own.
    pub(crate) limit: usize,
    /// Counts the stream in the quota of its subject.
    pub(crate) quota: Option<StreamPermit>,
}

/// Why a stream is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The broker is shutting down.
    Draining,
    /// Streams already use as many connections as they may.
    Connections,
    /// `limits.subscribers`.
    Process,
    /// `limits.subscribersPerAddress`.
    Address,
    /// `delivery.maxSubscribers` of the channel.
    Channel,
}

impl Refusal {
    /// The label of the metric.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Connections => "limit-connections",
            Self::Process => "limit-process",
            Self::Address => "limit-address",
            Self::Channel => "limit-channel",
        }
    }
}

/// Keeps a stream registered; dropping it removes the stream.
pub(crate) struct Admission {
    sessions: Arc<Sessions>,
    session: Arc<Session>,
    key: usize,
    client: Client,
    metrics: Arc<ChannelMetrics>,
    /// Whether the stream has begun, so that its end must be counted.
    began: bool,
    _stream: StreamGuard,
    _quota: Option<StreamPermit>,
}

impl Admission {
    pub(super) fn new(
        sessions: Arc<Sessions>,
        session: Arc<Session>,
        key: usize,
        client: Client,
        metrics: Arc<ChannelMetrics>,
        stream: StreamGuard,
        quota: Option<StreamPermit>,
    ) -> Self {
        metrics.subscribers.inc();
        let began = false;
        Self { sessions, session, key, client, metrics, began, _stream: stream, _quota: quota }
    }

    /// Counts the stream in `metrics` from now on.
    pub(crate) fn count_in(&mut self, metrics: &Arc<ChannelMetrics>) {
        self.metrics.subscribers.dec();
        metrics.subscribers.inc();
        self.metrics = Arc::clone(metrics);
    }

    /// Counts the beginning of the stream. `start` is the kind of its start position.
    pub(crate) fn begin(&mut self, start: &'static str) {
        self.began = true;
        self.metrics.connected(start);
    }

    /// The session, for as long as it is open.
    pub(crate) fn weak_session(&self) -> Weak<Session> {
        Arc::downgrade(&self.session)
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// hyper took a frame.
    pub(crate) fn frame_taken(&self) {
        self.session.set_unread_since(self.sessions.now());
    }

    /// hyper asks for the next frame.
    pub(crate) fn wants_more(&self) {
        self.session.set_unread_since(0);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.sessions.remove(self.key, &self.client);
        self.metrics.subscribers.dec();
        if self.began {
            let reason = self.session.close_reason().unwrap_or(CloseReason::Client);
            self.metrics.disconnected(reason);
            tracing::debug!(
                session = %self.session.info().id,
                channel = &**self.session.channel(),
                reason = reason.as_str(),
                "stream ended"
            );
        }
    }
}

//! Observes the bytes of an HTTP/1.1 connection to learn what hyper does: whether a request head has begun to arrive, whether a response
//! was sent, and whether hyper itself refuses a head. That refusal is replaced by a problem document.
//!
//! hyper has a whole response, except a stream's, before it writes the first byte, and flushes when it has written everything. So a
//! response was sent at the first flush after hyper received it, and what hyper writes while there is no request is its own refusal.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use bytes::Bytes;

use crate::{
    metrics::Metrics,
    server::{refusal, transport::Observer},
    sockets::{Connection, Phase},
};

/// The progress of a connection's responses, shared by its service and its observer.
pub(super) struct Progress {
    /// Whether hyper has written everything: nothing is lost if the socket is taken from it now.
    flushed: AtomicBool,
    /// Whether the service has returned a response to hyper, which may not be sent yet.
    answered: AtomicBool,
}

impl Progress {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { flushed: AtomicBool::new(true), answered: AtomicBool::new(false) })
    }

    pub(super) fn request_began(&self) {
        self.answered.store(false, Relaxed);
    }

    pub(super) fn answered(&self) {
        self.answered.store(true, Relaxed);
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.flushed.load(Relaxed)
    }
}

/// The observer of an HTTP/1.1 connection.
pub(super) struct Http1Observer {
    connection: Arc<Connection>,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    client: IpAddr,
    /// Written instead of hyper's own refusal.
    refusal: Option<Bytes>,
}

impl Http1Observer {
    pub(super) fn new(
        connection: Arc<Connection>,
        progress: Arc<Progress>,
        metrics: Arc<Metrics>,
        client: IpAddr,
    ) -> Self {
        Self { connection, progress, metrics, client, refusal: None }
    }
}

impl Observer for Http1Observer {
    fn on_read(&mut self, bytes: &[u8]) {
        // Empty lines before a request are not part of it (RFC 9112, section 2.2).
        let has_head = bytes.iter().any(|b| !b"\r\n".contains(b));
        if has_head && !self.connection.has_requests() {
            self.connection.head_began();
        }
    }

    fn on_write(&mut self, first: &[u8]) -> bool {
        self.progress.flushed.store(false, Relaxed);
        let is_refusal = !self.connection.has_requests() && first.starts_with(b"HTTP/1.1 4");
        if self.refusal.is_none() && is_refusal {
            let status = first.get(9..12).and_then(|s| str::from_utf8(s).ok()?.parse().ok());
            self.refusal =
                Some(refusal::of_head(&self.metrics, self.client, status.unwrap_or(400)));
        }
        self.refusal.is_some()
    }

    fn replacement(&mut self) -> Option<&mut Bytes> {
        self.refusal.as_mut()
    }

    fn on_flushed(&mut self) {
        self.progress.flushed.store(true, Relaxed);
        let streaming = self.connection.phase() == Phase::Streaming;
        if !streaming && self.progress.answered.swap(false, Relaxed) {
            self.connection.request_ended(true);
        }
    }
}

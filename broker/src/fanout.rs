//! Fan-out: events from the log to sockets. A subscriber is a cursor on the log and a filter; it has no queue of its own.
//!
//! [`subscriber`] reads the log. Two sinks serve a [`Subscription`] and keep the same contract: [`shard`] writes to HTTP/1.1
//! sockets itself, [`body`] is a response body that hyper polls for everything else.

mod batch;
pub(crate) mod body;
mod settings;
pub(crate) mod shard;
mod subscriber;

use std::time::Duration;

use bytes::Bytes;
use eventcast_wire::{closing::CloseReason, frame};
use tokio::time::Instant;

use crate::sessions::Admission;

pub(crate) use settings::{HeartbeatStyle, StreamSettings, jittered_retry};
pub(crate) use subscriber::{Step, Subscriber};

/// A stream that is ready to be served by a sink.
pub(crate) struct Subscription {
    pub(crate) subscriber: Subscriber,
    pub(crate) admission: Admission,
    /// When the stream must end.
    pub(crate) until: Option<Instant>,
    pub(crate) settings: StreamSettings,
    /// Frames that precede the first event. The sink takes them.
    pub(crate) preamble: Bytes,
}

impl Subscription {
    /// Why the stream must end at `now`, if it must.
    pub(crate) fn close_reason(&self, now: Instant) -> Option<CloseReason> {
        let expired = || self.until.is_some_and(|until| now >= until);
        self.admission.session().close_reason().or_else(|| expired().then_some(CloseReason::MaxAge))
    }

    /// How long the stream may be silent this time.
    pub(crate) fn heartbeat_interval(&self) -> Duration {
        self.settings.heartbeat_interval()
    }

    /// A heartbeat. To a client whose filter excludes what was published since, it is the new cursor.
    pub(crate) fn heartbeat(&mut self) -> Bytes {
        if self.subscriber.is_ahead_of_client() {
            return self.subscriber.cursor_frame();
        }
        match self.settings.heartbeat {
            HeartbeatStyle::Comment => frame::HEARTBEAT,
            HeartbeatStyle::Event => frame::heartbeat(&jiff::Timestamp::now().to_string()),
        }
    }

    /// Ends the stream with `reason` and returns its last frames. The cursor among them saves the client from reading again what
    /// its filter excludes.
    pub(crate) fn close(&mut self, reason: CloseReason) -> Bytes {
        self.admission.session().close(reason);
        let closing = frame::closing(reason.as_str(), jittered_retry(self.settings.retry_ms));
        if self.subscriber.is_ahead_of_client() {
            return [self.subscriber.cursor_frame(), closing].concat().into();
        }
        closing
    }
}

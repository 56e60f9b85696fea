//! Fan-out: events from the log to sockets. A subscriber is a cursor on the log and a filter; it has no queue of its own.
//!
//! [`subscriber`] reads the log. Two sinks serve a [`Subscription`] and keep the same contract: [`shard`] writes to the sockets of
//! HTTP/1.1 and HTTP/2 itself, [`body`] is a response body that hyper polls, for HTTP/1.0 and for HTTP/1.1 without shards.

mod batch;
pub(crate) mod body;
mod settings;
pub(crate) mod shard;
mod subscriber;

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use eventcast_wire::{closing::CloseReason, frame};
use tokio::time::Instant;

use crate::{
    access::Renewal,
    access_log::{self, Line},
    delivery::Sent,
    sessions::{Admission, SinkReport},
    spans::SubscribeSpan,
};

use settings::drain_retry;
pub(crate) use settings::{HeartbeatStyle, StreamSettings, jittered_retry};
pub(crate) use subscriber::{Step, Subscriber};

/// A stream that is ready to be served by a sink.
pub(crate) struct Subscription {
    pub(crate) subscriber: Subscriber,
    pub(crate) admission: Admission,
    /// When the stream reaches its maximum age.
    pub(crate) max_age_end: Option<Instant>,
    /// Where the client can renew its grant.
    pub(crate) renewal: Option<Renewal>,
    /// The end of the grant of which the client was notified last.
    pub(crate) noticed: Option<Instant>,
    pub(crate) settings: StreamSettings,
    /// Frames that precede the first event. The sink takes them.
    pub(crate) preamble: Bytes,
    pub(crate) origin: RequestOrigin,
    /// Ends with the first byte.
    pub(crate) span: Option<Box<SubscribeSpan>>,
}

/// Where a stream came from, for the access log.
pub(crate) struct RequestOrigin {
    /// The address of the client, as its proxies report it.
    pub(crate) client: IpAddr,
    /// The template of the path.
    pub(crate) route: &'static str,
    pub(crate) began: Instant,
}

impl Subscription {
    /// Why the stream must end at `now`, if it must.
    pub(crate) fn close_reason(&self, now: Instant) -> Option<CloseReason> {
        let session = self.admission.session();
        let passed = |end: Option<Instant>| end.is_some_and(|end| now >= end);
        let expired = || passed(session.grant_end().end()).then_some(CloseReason::Expired);
        let old = || passed(self.max_age_end).then_some(CloseReason::MaxAge);
        session.close_reason().or_else(expired).or_else(old)
    }

    /// When the stream ends, or its client must be notified that its grant will end.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let grant = self.admission.session().grant_end();
        let end = grant.end();
        let notice = grant.notice().filter(|_| self.noticed != end);
        [self.max_age_end, end, notice].into_iter().flatten().min()
    }

    /// Tells the session what was sent, if that was asked for.
    pub(crate) fn report_to_session(&self, blocked: Option<Duration>) {
        let session = self.admission.session();
        if session.is_report_requested() {
            session.set_report(SinkReport { sent: self.subscriber.sent(), blocked });
        }
    }

    /// Whether there is a notice for this stream alone.
    pub(crate) fn is_notice_due(&self, now: Instant) -> bool {
        self.admission.session().has_mail() || self.is_expiry_notice_due(now)
    }

    /// A notice for this stream alone, if there is one: what was posted to it, or that its grant will end.
    pub(crate) fn notice(&mut self, now: Instant) -> Option<Bytes> {
        self.admission.session().take_mail().or_else(|| self.expiry_notice(now))
    }

    /// Whether the client must be notified at `now` that its grant will end.
    fn is_expiry_notice_due(&self, now: Instant) -> bool {
        let grant = self.admission.session().grant_end();
        self.noticed != grant.end() && grant.notice().is_some_and(|notice| now >= notice)
    }

    /// The notice that the grant will end, if it is due. The client can then renew its credential.
    fn expiry_notice(&mut self, now: Instant) -> Option<Bytes> {
        if !self.is_expiry_notice_due(now) {
            return None;
        }
        let end = self.admission.session().grant_end().end()?;
        self.noticed = Some(end);
        let left = end.saturating_duration_since(now);
        let at = jiff::Timestamp::now() + jiff::SignedDuration::try_from(left).ok()?;
        let renew = self.renewal.as_ref().and_then(Renewal::path);
        let in_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        Some(frame::expiring(&format!("{at:.3}"), in_ms, renew.as_deref()))
    }

    /// How long the stream may be silent this time.
    pub(crate) fn heartbeat_interval(&self) -> Duration {
        self.settings.heartbeat_interval()
    }

    /// A heartbeat. If the filter has excluded events since the last frame, it is a frame with the new cursor.
    pub(crate) fn heartbeat(&mut self) -> Bytes {
        if self.subscriber.is_ahead_of_client() {
            return self.subscriber.cursor_frame();
        }
        match self.settings.heartbeat {
            HeartbeatStyle::Comment => frame::HEARTBEAT,
            HeartbeatStyle::Event => frame::heartbeat(&jiff::Timestamp::now().to_string()),
        }
    }

    /// Ends the stream with `reason` and returns its last frames. They include the cursor if it has moved, so that the client does not
    /// resume before events that its filter excludes.
    pub(crate) fn close(&mut self, reason: CloseReason) -> Bytes {
        self.admission.session().close(reason);
        let retry = match reason {
            CloseReason::Draining => drain_retry(self.settings.retry_ms),
            _ => jittered_retry(self.settings.retry_ms),
        };
        let closing = frame::closing(reason.as_str(), retry);
        if self.subscriber.is_ahead_of_client() {
            return [self.subscriber.cursor_frame(), closing].concat().into();
        }
        closing
    }
}

/// Logs the end of the stream, whatever the reason.
impl Drop for Subscription {
    fn drop(&mut self) {
        if !access_log::is_on() {
            return;
        }
        let (session, Sent { events, bytes }) = (self.admission.session(), self.subscriber.sent());
        let info = session.info();
        let line = Line {
            client: self.origin.client,
            protocol: info.protocol,
            method: "GET",
            route: self.origin.route,
            channel: Some(&info.channel),
            subject: info.identity.as_ref().map(|identity| &*identity.subject),
            duration: self.origin.began.elapsed(),
            trace: self.subscriber.trace().copied(),
        };
        let reason = session.close_reason().unwrap_or(CloseReason::Client);
        let cursor = self.subscriber.acknowledged_cursor().to_string();
        line.stream_ended(&info.id.to_string(), reason.as_str(), events, bytes, &cursor);
    }
}

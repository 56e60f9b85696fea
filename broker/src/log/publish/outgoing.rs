//! A message on its way to the stream: an event as subject, headers and payload. Pure.

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use eventcast_wire::{
    cursor::Check,
    event::Draft,
    subject::{self, Origin},
    trace_context::{TRACEPARENT, TraceContext},
};

use crate::log::{Settings, internal::InternalEvent, message};

/// An event as it is sent, the same at every attempt.
pub(in crate::log) struct OutgoingMessage {
    pub(in crate::log) subject: String,
    pub(in crate::log) headers: HeaderMap,
    pub(in crate::log) payload: Bytes,
    /// The check of the event's cursor.
    pub(super) check: Check,
}

impl OutgoingMessage {
    /// The message of a publisher's event.
    pub(in crate::log) fn of_draft(draft: Draft, settings: &Settings) -> Self {
        let subject = subject::of(&settings.prefix, Origin::Publisher, draft.topic.as_deref());
        let mut headers = headers(&draft.key, draft.event_type.as_deref(), settings);
        for (name, value) in
            [(message::SOURCE_HEADER, &draft.source), (message::ID_HEADER, &draft.id)]
        {
            if let Some(value) = value {
                headers.insert(name, value.as_str());
            }
        }
        if draft.cloudevent {
            headers.insert(message::CONTENT_TYPE_HEADER, message::CLOUDEVENT_MEDIA_TYPE);
        }
        // NATS traces the message, too, where its account asks for that (docs/TRACING.md).
        if let Some(trace) = draft.trace.filter(TraceContext::is_sampled) {
            headers.insert(TRACEPARENT, trace.to_string());
        }
        if let Some(seconds) = draft.ttl {
            headers.insert(message::TTL_HEADER, format!("{seconds}s"));
        }
        Self { subject, headers, payload: draft.data, check: Check::of_id(&draft.key) }
    }

    /// The message of an event of the broker itself.
    pub(in crate::log) fn of_internal(event: InternalEvent, settings: &Settings) -> Self {
        let InternalEvent { event_type, topic, data, key } = event;
        let subject = subject::of(&settings.prefix, Origin::Broker, topic.as_deref());
        let headers = headers(&key, Some(&event_type), settings);
        Self { subject, headers, payload: data, check: Check::of_id(&key) }
    }

    /// The size of the message as NATS counts it: headers and payload.
    pub(super) fn bytes(&self) -> usize {
        let lines =
            self.headers.iter().flat_map(|(name, values)| values.iter().map(move |v| (name, v)));
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            AsRef::<str>::as_ref(name).len() + value.as_str().len() + ": \r\n".len()
        };
        "NATS/1.0\r\n\r\n".len() + lines.map(line).sum::<usize>() + self.payload.len()
    }
}

fn headers(key: &str, event_type: Option<&str>, settings: &Settings) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(message::MESSAGE_ID_HEADER, key);
    // Fails if a foreign stream captures the channel's subjects.
    headers.insert("Nats-Expected-Stream", settings.stream.as_str());
    if let Some(name) = event_type {
        headers.insert(message::TYPE_HEADER, name);
    }
    headers
}

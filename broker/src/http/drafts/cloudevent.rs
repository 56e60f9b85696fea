//! CloudEvents 1.0 over HTTP: structured, binary and batch.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{Problem, Sent, key, text};
use crate::cloudevent::{self, BadCloudEvent, CloudEvent, HEADER_PREFIX};

pub(super) fn structured(body: &[u8]) -> Result<Sent, Problem> {
    cloudevent::structured(body).map(sent).map_err(|e| refusal(&e))
}

pub(super) fn batch(body: &[u8]) -> Result<Vec<Sent>, Problem> {
    let numbered = |(i, event): (usize, Result<CloudEvent, BadCloudEvent>)| {
        event.map(sent).map_err(|e| refusal(&e).with("line", i + 1))
    };
    let events = cloudevent::batch(body).map_err(|e| refusal(&e))?;
    events.into_iter().enumerate().map(numbered).collect()
}

pub(super) fn binary(headers: &HeaderMap, body: &[u8]) -> Result<Sent, Problem> {
    let attributes = headers.iter().filter_map(|(name, value)| {
        Some((name.as_str().strip_prefix(HEADER_PREFIX)?, value.as_bytes()))
    });
    let content_type = text(headers, "content-type")?;
    let event = cloudevent::binary(attributes, content_type.as_deref(), body);
    event.map(sent).map_err(|e| refusal(&e))
}

/// Whether a header is an attribute of a CloudEvent.
pub(super) fn has_attributes(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(HEADER_PREFIX))
}

fn sent(event: CloudEvent) -> Sent {
    let CloudEvent { event_type, source, id, topic, json } = event;
    Sent {
        data: Bytes::from(json),
        topic,
        event_type: Some(event_type),
        key: Some(key::of_cloudevent(&source, &id)),
        source: Some(source),
        id: Some(id),
        ttl: None,
        cloudevent: true,
    }
}

/// The refusal of what is no CloudEvent.
pub(super) fn refusal(bad: &BadCloudEvent) -> Problem {
    let detail = bad.to_string();
    match bad {
        BadCloudEvent::Format => Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media-type",
            "The body cannot be read",
            detail + ".",
        )
        .with("field", "Content-Type")
        .close(),
        BadCloudEvent::Body(_) => Problem::field("body", detail),
        BadCloudEvent::Header(name, _) => Problem::field(name, detail),
    }
}

//! CloudEvents 1.0 over HTTP, in structured, binary and batched mode.

use bytes::Bytes;
use http::HeaderMap;

use super::{super::problem::Kind, Problem, UncheckedEvent, key, text};
use crate::cloudevent::{self, BadCloudEvent, CloudEvent, HEADER_PREFIX};

pub(super) fn structured(body: &[u8]) -> Result<UncheckedEvent, Problem> {
    cloudevent::structured(body).map(unchecked).map_err(|e| problem(&e))
}

pub(super) fn batch(body: &[u8]) -> Result<Vec<UncheckedEvent>, Problem> {
    let numbered = |(i, event): (usize, Result<CloudEvent, BadCloudEvent>)| {
        event.map(unchecked).map_err(|e| problem(&e).with("line", i + 1))
    };
    let events = cloudevent::batch(body).map_err(|e| problem(&e))?;
    events.into_iter().enumerate().map(numbered).collect()
}

pub(super) fn binary(headers: &HeaderMap, body: &[u8]) -> Result<UncheckedEvent, Problem> {
    let attributes = headers.iter().filter_map(|(name, value)| {
        Some((name.as_str().strip_prefix(HEADER_PREFIX)?, value.as_bytes()))
    });
    let content_type = text(headers, "content-type")?;
    let event = cloudevent::binary(attributes, content_type.as_deref(), body);
    event.map(unchecked).map_err(|e| problem(&e))
}

/// Whether any header is an attribute of a CloudEvent.
pub(super) fn has_attributes(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(HEADER_PREFIX))
}

fn unchecked(event: CloudEvent) -> UncheckedEvent {
    let CloudEvent { event_type, source, id, topic, json, trace } = event;
    UncheckedEvent {
        data: Bytes::from(json),
        topic,
        event_type: Some(event_type),
        key: Some(key::of_cloudevent(&source, &id)),
        source: Some(source),
        id: Some(id),
        ttl: None,
        cloudevent: true,
        trace,
    }
}

pub(super) fn problem(bad: &BadCloudEvent) -> Problem {
    let detail = bad.to_string();
    match bad {
        BadCloudEvent::Format => {
            Problem::new(Kind::MEDIA_TYPE, detail + ".").with("field", "Content-Type").close()
        }
        BadCloudEvent::Body(_) => Problem::field("body", detail),
        BadCloudEvent::Header(name, _) => Problem::field(name, detail),
    }
}

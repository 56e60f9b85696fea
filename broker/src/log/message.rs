//! A stored message as an event. Whoever publishes straight to NATS is held to the rules of events here: what breaks one
//! becomes a gap that those whom its topic reaches are told, never poison. Pure.

use async_nats::HeaderMap;
use tokio::time::Instant;

use super::Names;
use crate::{
    cursor::{Check, Cursor, Epoch},
    event::{self, BadEvent, Event, Kind},
    frame::{self, Chunk, Gap, GapReason},
};

/// JetStream's deduplication id, which the check of the event's cursor is made from.
pub(super) const MESSAGE_ID: &str = "Nats-Msg-Id";
pub(super) const TYPE: &str = "Eventcast-Type";
pub(super) const SOURCE: &str = "Eventcast-Source";
pub(super) const ID: &str = "Eventcast-Id";
pub(super) const CONTENT_TYPE: &str = "content-type";
pub(super) const CLOUDEVENT: &str = "application/cloudevents+json";
/// Seconds to live, for the server.
pub(super) const TTL: &str = "Nats-TTL";
/// Set by the server on messages that say "these were deleted".
const MARKER: &str = "Nats-Marker-Reason";

/// A message of the stream, from wherever it was read.
pub(super) struct Stored<'a> {
    pub(super) sequence: u64,
    pub(super) nanos: i64,
    pub(super) subject: &'a str,
    pub(super) headers: Option<&'a HeaderMap>,
    pub(super) payload: &'a [u8],
}

struct Parts {
    topic: Option<String>,
    event_type: Option<String>,
    source: Option<String>,
    id: Option<String>,
    data: String,
}

/// The check of a stored message's cursor. The id is the first one of the headers, as the server reads it (docs/adr/0015).
pub(super) fn check(headers: Option<&HeaderMap>, nanos: i64) -> Check {
    match headers.and_then(|h| h.get(MESSAGE_ID)) {
        Some(id) => Check::of_id(id.as_str()),
        None => Check::of_time(nanos),
    }
}

/// Frames `m`; tells the rule that it breaks, if any.
pub(super) fn event(
    m: &Stored<'_>,
    names: &Names,
    epoch: Epoch,
    received: Option<Instant>,
) -> (Event, Option<BadEvent>) {
    let check = check(m.headers, m.nanos);
    let cursor = Cursor { epoch, sequence: m.sequence, check };
    let mut event = Event {
        sequence: m.sequence,
        nanos: m.nanos,
        check,
        kind: Kind::Marker,
        topic: None,
        event_type: None,
        source: None,
        id: None,
        expires: expires(m),
        chunk: Chunk::default(),
        received,
    };
    // The server's markers are empty: an event of a publisher who set the same header is an event.
    if m.payload.is_empty() && header(m, MARKER).is_some() {
        return (event, None);
    }
    match parts(m, names) {
        Ok(p) => {
            event.kind = Kind::Data;
            event.chunk = Chunk::of(&frame::event(p.event_type.as_deref(), &p.data, &cursor));
            event.topic = p.topic.map(Into::into);
            event.event_type = p.event_type.map(Into::into);
            event.source = p.source.map(Into::into);
            event.id = p.id.map(Into::into);
            (event, None)
        }
        Err(why) => {
            let before =
                Cursor { sequence: m.sequence.saturating_sub(1), check: Check::ABSENT, ..cursor };
            let gap = Gap {
                requested: before.to_string(),
                resumed_at: cursor.to_string(),
                lost: Some(1),
                reason: GapReason::InvalidEvent,
            };
            event.kind = Kind::Invalid;
            event.chunk = Chunk::of(&frame::gap(&gap, &cursor));
            event.topic = topic(m, names).ok().flatten().map(Into::into);
            (event, Some(why))
        }
    }
}

/// When the server drops the message, by the time to live that it was published with (ADR-43).
fn expires(m: &Stored<'_>) -> Option<i64> {
    let ttl = header(m, TTL)?;
    let seconds = ttl.parse().ok().or_else(|| ttl.strip_suffix('s')?.parse().ok());
    let nanos = seconds.and_then(|s: i64| s.checked_mul(1_000_000_000)).filter(|n| *n > 0);
    nanos.and_then(|n| m.nanos.checked_add(n))
}

fn topic(m: &Stored<'_>, names: &Names) -> Result<Option<String>, BadEvent> {
    let rest = m.subject.strip_prefix(&*names.prefix).and_then(|s| s.strip_prefix('.'));
    event::topic_of(rest.ok_or(BadEvent::Subject)?)
}

fn parts(m: &Stored<'_>, names: &Names) -> Result<Parts, BadEvent> {
    let topic = topic(m, names)?;
    let data = event::check_data(m.payload, names.max_event_bytes)?;
    let mut parts = Parts {
        topic,
        event_type: header(m, TYPE).map(Into::into),
        source: header(m, SOURCE).map(Into::into),
        id: header(m, ID).map(Into::into),
        data: String::new(),
    };
    let content_type = header(m, CONTENT_TYPE).or_else(|| header(m, "Content-Type"));
    let cloudevent = content_type.is_some_and(|t| t.starts_with(CLOUDEVENT));
    if cloudevent && parts.event_type.is_none() {
        let ce: cloudevents::Event =
            serde_json::from_str(data).map_err(|_| BadEvent::CloudEvent)?;
        let attributes = cloudevents::AttributesReader::ty(&ce);
        parts.event_type = Some(attributes.to_owned());
        parts.source = Some(cloudevents::AttributesReader::source(&ce).to_string());
        parts.id = Some(cloudevents::AttributesReader::id(&ce).to_owned());
        parts.data = serde_json::to_string(&ce).map_err(|_| BadEvent::CloudEvent)?;
    } else {
        parts.data = data.to_owned();
    }
    match parts.event_type.as_deref() {
        Some(event::DEFAULT_TYPE) => parts.event_type = None,
        Some(name) => event::check_type(name)?,
        None => {}
    }
    for name in [&parts.source, &parts.id].into_iter().flatten() {
        event::check_name(name)?;
    }
    Ok(parts)
}

/// The last value: the server appends its own headers after the publisher's, who may have set the same names.
fn header<'a>(m: &Stored<'a>, name: &str) -> Option<&'a str> {
    m.headers.and_then(|h| h.get_last(name)).map(async_nats::HeaderValue::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(subject: &str, headers: &[(&str, &str)], payload: &[u8]) -> (Event, Option<BadEvent>) {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(k, v)| map.append(*k, *v));
        let names = Names {
            channel: "a/b".into(),
            stream: "S".into(),
            prefix: "sse.a.b".into(),
            max_event_bytes: 64,
        };
        let m = Stored { sequence: 9, nanos: 1, subject, headers: Some(&map), payload };
        event(&m, &names, Epoch::mint(1), None)
    }

    #[test]
    fn a_message_without_headers_is_a_plain_event() {
        let (e, bad) = read("sse.a.b.t.user.42", &[], b"hello");
        assert_eq!((e.kind, e.topic.as_deref(), bad), (Kind::Data, Some("user.42"), None));
        assert!(e.chunk.frame().starts_with(b"data: hello\nid: "));
    }

    #[test]
    fn what_breaks_a_rule_is_a_gap_of_one() {
        type Case =
            (&'static str, &'static [(&'static str, &'static str)], &'static [u8], BadEvent);
        let cases: [Case; 7] = [
            ("sse.a.b.all", &[], b"a\xffb", BadEvent::NotUtf8),
            ("sse.a.b.all", &[], b"a\0b", BadEvent::Nul),
            ("sse.a.b.all", &[], &[b'x'; 65], BadEvent::TooLarge),
            ("sse.a.b.t.%41", &[], b"x", BadEvent::Subject),
            ("sse.a.b.ctl", &[], b"x", BadEvent::Subject),
            ("sse.a.b.all", &[(TYPE, "eventcast.gap")], b"x", BadEvent::Reserved),
            ("sse.a.b.all", &[(TYPE, "error")], b"x", BadEvent::BuiltIn),
        ];
        for (subject, headers, payload, expected) in cases {
            let (e, bad) = read(subject, headers, payload);
            assert_eq!((e.kind, bad), (Kind::Invalid, Some(expected)));
            let frame = e.chunk.frame();
            let text = std::str::from_utf8(&frame).unwrap();
            assert!(text.contains(r#""lost":1,"reason":"invalid-event""#), "{text}");
        }
    }

    #[test]
    fn forged_headers_do_not_hide_the_servers() {
        let (e, _) = read("sse.a.b.all", &[(TYPE, "first"), (TYPE, "last")], b"x");
        assert_eq!(e.event_type.as_deref(), Some("last"));
    }

    #[test]
    fn a_servers_marker_is_nobodys_event() {
        let (e, bad) = read("sse.a.b.all", &[(MARKER, "MaxAge")], b"");
        assert_eq!((e.kind, bad), (Kind::Marker, None));
    }

    #[test]
    fn a_structured_cloudevent_names_its_own_type_and_source() {
        let json = br#"{"specversion":"1.0","id":"7","type":"t.x","source":"/s"}"#;
        let (e, bad) = read("sse.a.b.all", &[(CONTENT_TYPE, CLOUDEVENT)], json);
        assert_eq!(
            (e.event_type.as_deref(), e.source.as_deref(), bad),
            (Some("t.x"), Some("/s"), None)
        );
        let (_, bad) = read("sse.a.b.all", &[(CONTENT_TYPE, CLOUDEVENT)], b"{}");
        assert_eq!(bad, Some(BadEvent::CloudEvent));
    }
}

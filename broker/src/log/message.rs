//! Turns a stored message into an event. A message that was published straight to NATS is checked here: if it breaks a rule of
//! events, subscribers of its topic receive a gap instead. Pure.

use async_nats::HeaderMap;
use eventcast_wire::{
    cursor::{Check, Cursor, Epoch},
    event::{self, BadEvent, Event, Kind, MAX_SOURCE_BYTES},
    frame::{self, Chunk},
    gap::{Gap, GapReason},
    subject::{self, Origin},
    trace_context::{TRACEPARENT, TraceContext},
};
use tokio::time::Instant;

use super::Settings;
use crate::{
    cloudevent::{self, CloudEvent, HEADER_PREFIX, Mode},
    media_type,
};

/// The id by which JetStream deduplicates. The check of the event's cursor is a hash of it.
pub(super) const MESSAGE_ID_HEADER: &str = "Nats-Msg-Id";
pub(super) const TYPE_HEADER: &str = "Eventcast-Type";
pub(super) const SOURCE_HEADER: &str = "Eventcast-Source";
pub(super) const ID_HEADER: &str = "Eventcast-Id";
pub(super) const CONTENT_TYPE_HEADER: &str = "content-type";
pub(super) const CLOUDEVENT_MEDIA_TYPE: &str = "application/cloudevents+json";
/// The time to live of a message, which the server enforces.
pub(super) const TTL_HEADER: &str = "Nats-TTL";
/// Set by the server on the markers that it stores for deleted messages.
const MARKER_REASON_HEADER: &str = "Nats-Marker-Reason";

/// A stored message, read from the consumer or from a page.
pub(super) struct Stored<'a> {
    pub(super) sequence: u64,
    pub(super) nanos: i64,
    pub(super) subject: &'a str,
    pub(super) headers: Option<&'a HeaderMap>,
    pub(super) payload: &'a [u8],
}

/// The fields of a message that obeys the rules of events.
struct Fields {
    topic: Option<String>,
    event_type: Option<String>,
    source: Option<String>,
    id: Option<String>,
    data: String,
    trace: Option<TraceContext>,
}

/// The check of a stored message's cursor. The first message id counts, as it does for the server (docs/adr/0015).
pub(super) fn check(headers: Option<&HeaderMap>, nanos: i64) -> Check {
    match headers.and_then(|h| h.get(MESSAGE_ID_HEADER)) {
        Some(id) => Check::of_id(id.as_str()),
        None => Check::of_time(nanos),
    }
}

/// Frames `m`. Returns also the rule that it breaks, if any.
pub(super) fn event(
    m: &Stored<'_>,
    settings: &Settings,
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
        trace: None,
        expires: expires(m),
        chunk: Chunk::default(),
        received: received.map(Instant::into_std),
    };
    // Markers have no payload. A publisher may set the same header on an event.
    if m.payload.is_empty() && header(m, MARKER_REASON_HEADER).is_some() {
        return (event, None);
    }
    match fields(m, settings) {
        Ok(fields) => {
            event.kind = Kind::Data;
            let Fields { topic, event_type, source, id, data, trace } = fields;
            event.trace = trace.filter(TraceContext::is_sampled).map(Box::new);
            let mut frame = frame::event(event_type.as_deref(), &data, &cursor);
            if let Some(trace) = event.trace.as_deref().filter(|_| settings.trace_comments) {
                frame = frame::traced(trace, &frame);
            }
            event.chunk = Chunk::of(&frame);
            event.topic = topic.map(Into::into);
            event.event_type = event_type.map(Into::into);
            event.source = source.map(Into::into);
            event.id = id.map(Into::into);
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
            let parsed = subject::parse(&settings.prefix, m.subject).ok();
            event.topic = parsed.and_then(|(_, topic)| topic).map(Into::into);
            (event, Some(why))
        }
    }
}

/// When the server deletes the message according to its time to live (NATS ADR-43), in nanoseconds since 1970.
fn expires(m: &Stored<'_>) -> Option<i64> {
    let ttl = header(m, TTL_HEADER)?;
    let seconds = ttl.parse().ok().or_else(|| ttl.strip_suffix('s')?.parse().ok());
    let nanos = seconds.and_then(|s: i64| s.checked_mul(1_000_000_000)).filter(|n| *n > 0);
    nanos.and_then(|n| m.nanos.checked_add(n))
}

fn fields(m: &Stored<'_>, settings: &Settings) -> Result<Fields, BadEvent> {
    let (origin, topic) = subject::parse(&settings.prefix, m.subject)?;
    let mut fields = match cloudevent(m)? {
        // The `topic` attribute is ignored: the publisher has chosen the subject.
        Some(CloudEvent { event_type, source, id, json, trace, topic: _ }) => {
            let (event_type, source, id) = (Some(event_type), Some(source), Some(id));
            let data =
                event::check_data(json.as_bytes(), settings.max_event_bytes).map(Into::into)?;
            Fields { topic, event_type, source, id, data, trace }
        }
        None => Fields {
            topic,
            event_type: publisher_header(m, TYPE_HEADER).map(Into::into),
            source: publisher_header(m, SOURCE_HEADER).map(Into::into),
            id: publisher_header(m, ID_HEADER).map(Into::into),
            data: event::check_data(m.payload, settings.max_event_bytes)?.to_owned(),
            trace: None,
        },
    };
    // The trace context in a CloudEvent takes precedence over the header, which an intermediary may have set.
    fields.trace = fields
        .trace
        .or_else(|| TraceContext::parse(publisher_header(m, TRACEPARENT).unwrap_or_default()));
    match fields.event_type.as_deref() {
        Some(event::DEFAULT_TYPE) if origin == Origin::Publisher => fields.event_type = None,
        Some(name) if origin == Origin::Broker => event::check_reserved_type(name)?,
        Some(name) => event::check_type(name)?,
        None if origin == Origin::Broker => return Err(BadEvent::NotReserved),
        None => {}
    }
    for name in [&fields.source, &fields.id].into_iter().flatten() {
        event::check_name(name, MAX_SOURCE_BYTES)?;
    }
    Ok(fields)
}

/// The message as a CloudEvent, if it was published as one straight to NATS. A CloudEvent that a broker has stored has a header
/// [`TYPE_HEADER`] and was checked before.
fn cloudevent(m: &Stored<'_>) -> Result<Option<CloudEvent>, BadEvent> {
    let Some(headers) = m.headers else { return Ok(None) };
    let attributes =
        || headers.iter().filter_map(|(name, values)| Some((attribute(name.as_ref())?, values)));
    let content_type = publisher_header(m, CONTENT_TYPE_HEADER);
    let essence = content_type.map(media_type::essence).unwrap_or_default();
    let mode = cloudevent::mode(&essence, attributes().next().is_some());
    let event = match mode.map_err(|_| BadEvent::CloudEvent)? {
        None => return Ok(None),
        Some(Mode::Structured) if publisher_header(m, TYPE_HEADER).is_some() => return Ok(None),
        Some(Mode::Structured) => cloudevent::structured(m.payload),
        Some(Mode::Binary) => {
            let each = attributes().flat_map(|(name, values)| {
                values.iter().map(move |value| (name, value.as_str().as_bytes()))
            });
            cloudevent::binary(each, content_type, m.payload)
        }
        Some(Mode::Batch) => return Err(BadEvent::CloudEvent),
    };
    event.map(Some).map_err(|_| BadEvent::CloudEvent)
}

/// The CloudEvents attribute that a header holds. Header names are case-sensitive in NATS, but publishers spell them as in HTTP.
fn attribute(name: &str) -> Option<&str> {
    let (prefix, attribute) = name.split_at_checked(HEADER_PREFIX.len())?;
    prefix.eq_ignore_ascii_case(HEADER_PREFIX).then_some(attribute)
}

/// The value of a header that publishers set, in any case. The exact spelling wins, then the first one in byte order, so that all
/// brokers read the same.
fn publisher_header<'a>(m: &Stored<'a>, name: &str) -> Option<&'a str> {
    let spelled = || {
        let same = |(k, _): &(&async_nats::HeaderName, _)| {
            AsRef::<str>::as_ref(*k).eq_ignore_ascii_case(name)
        };
        let (_, values) =
            m.headers?.iter().filter(same).min_by_key(|(k, _)| AsRef::<str>::as_ref(*k))?;
        values.last().map(async_nats::HeaderValue::as_str)
    };
    header(m, name).or_else(spelled)
}

/// The last value of a header. The server appends its headers after those of the publisher, which may have the same names.
fn header<'a>(m: &Stored<'a>, name: &str) -> Option<&'a str> {
    m.headers.and_then(|h| h.get_last(name)).map(async_nats::HeaderValue::as_str)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use eventcast_wire::{event::Draft, topic};
    use proptest::prelude::*;

    use super::*;
    use crate::log::{internal::InternalEvent, publish::OutgoingMessage};

    fn read(subject: &str, headers: &[(&str, &str)], payload: &[u8]) -> (Event, Option<BadEvent>) {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(k, v)| map.append(*k, *v));
        let m = Stored { sequence: 9, nanos: 1, subject, headers: Some(&map), payload };
        event(&m, &settings(), Epoch::mint(1), None)
    }

    #[test]
    fn a_message_without_headers_is_a_plain_event() {
        let (e, bad) = read("sse.a.b.t.user.42", &[], b"hello");
        assert_eq!((e.kind, e.topic.as_deref(), bad), (Kind::Data, Some("user.42"), None));
        assert!(e.chunk.frame().starts_with(b"data: hello\nid: "));
    }

    #[test]
    fn a_message_that_breaks_a_rule_is_a_gap_of_one() {
        type Case =
            (&'static str, &'static [(&'static str, &'static str)], &'static [u8], BadEvent);
        let cases: [Case; 10] = [
            ("sse.a.b.all", &[], b"a\xffb", BadEvent::NotUtf8),
            ("sse.a.b.all", &[], b"a\0b", BadEvent::Nul),
            ("sse.a.b.all", &[], &[b'x'; 101], BadEvent::TooLarge),
            ("sse.a.b.t.%41", &[], b"x", BadEvent::Subject),
            ("sse.a.b.ctl", &[], b"x", BadEvent::Subject),
            ("sse.a.b.all", &[(TYPE_HEADER, "eventcast.gap")], b"x", BadEvent::Reserved),
            ("sse.a.b.all", &[(TYPE_HEADER, "error")], b"x", BadEvent::BuiltIn),
            ("sse.a.b.internal", &[], b"x", BadEvent::Subject),
            ("sse.a.b.internal.all", &[], b"x", BadEvent::NotReserved),
            ("sse.a.b.internal.t.x", &[(TYPE_HEADER, "message")], b"x", BadEvent::NotReserved),
        ];
        for (subject, headers, payload, expected) in cases {
            let (e, bad) = read(subject, headers, payload);
            assert_eq!((e.kind, bad), (Kind::Invalid, Some(expected)));
            let frame = e.chunk.frame();
            let text = std::str::from_utf8(&frame).unwrap();
            assert!(text.contains(r#""lost":1,"reason":"invalid-event""#), "{text}");
        }
    }

    fn settings() -> Settings {
        Settings {
            channel: "a/b".into(),
            stream: "S".into(),
            prefix: "sse.a.b".into(),
            max_event_bytes: 100,
            trace_comments: false,
        }
    }

    fn reread(message: &OutgoingMessage) -> (Event, Option<BadEvent>) {
        let OutgoingMessage { subject, headers, payload, .. } = message;
        let m = Stored { sequence: 9, nanos: 1, subject, headers: Some(headers), payload };
        event(&m, &settings(), Epoch::mint(1), None)
    }

    #[test]
    fn an_event_of_the_broker_is_read_back_with_its_reserved_type() {
        let event = InternalEvent::new("eventcast.removed", Some("a b"), "{}".into(), "k".into());
        let (e, bad) = reread(&OutgoingMessage::of_internal(event.unwrap(), &settings()));
        assert_eq!((e.kind, e.check, bad), (Kind::Data, Check::of_id("k"), None));
        assert_eq!((e.type_name(), e.topic.as_deref()), ("eventcast.removed", Some("a b")));
        for name in ["order.paid", "eventcast", "message", "eventcast..x", "eventcast.*"] {
            assert!(
                InternalEvent::new(name, None, String::new(), String::new()).is_err(),
                "{name}"
            );
        }
    }

    proptest! {
        /// Whatever a request body becomes, no subscriber sees a reserved type in it.
        #[test]
        fn no_draft_is_read_back_with_a_reserved_type(
            event_type in proptest::option::of("(eventcast\\.)?[a-z.]{1,12}"),
            topic in proptest::option::of("(internal|t|all|[a-z%.]{1,8})(\\.[a-z]{1,4}){0,2}"),
            cloudevent: bool,
        ) {
            let topic = topic.and_then(|t| topic::encode(&t).ok());
            let (source, id, data) = (None, None, Bytes::from_static(b"x"));
            let draft = Draft { data, event_type, topic, source, id, key: "k".into(), ttl: None, cloudevent, trace: None };
            let (e, _) = reread(&OutgoingMessage::of_draft(draft, &settings()));
            prop_assert!(e.kind != Kind::Data || !e.type_name().starts_with(event::RESERVED_PREFIX));
        }
    }

    #[test]
    fn the_last_value_of_a_header_counts() {
        let (e, _) = read("sse.a.b.all", &[(TYPE_HEADER, "first"), (TYPE_HEADER, "last")], b"x");
        assert_eq!(e.event_type.as_deref(), Some("last"));
    }

    #[test]
    fn a_marker_of_the_server_is_not_delivered() {
        let (e, bad) = read("sse.a.b.all", &[(MARKER_REASON_HEADER, "MaxAge")], b"");
        assert_eq!((e.kind, bad), (Kind::Marker, None));
    }

    #[test]
    fn a_structured_cloudevent_names_its_own_type_and_source() {
        let json = br#"{"specversion":"1.0","id":"7","type":"t.x","source":"/s"}"#;
        let (e, bad) = read("sse.a.b.all", &[(CONTENT_TYPE_HEADER, CLOUDEVENT_MEDIA_TYPE)], json);
        assert_eq!(
            (e.event_type.as_deref(), e.source.as_deref(), bad),
            (Some("t.x"), Some("/s"), None)
        );
        let (_, bad) = read("sse.a.b.all", &[(CONTENT_TYPE_HEADER, CLOUDEVENT_MEDIA_TYPE)], b"{}");
        assert_eq!(bad, Some(BadEvent::CloudEvent));
        for (name, kind) in [
            ("Content-Type", "Application/CloudEvents+JSON; charset=UTF-8"),
            ("CONTENT-TYPE", "application/cloudevents+json"),
        ] {
            let (e, bad) = read("sse.a.b.all", &[(name, kind)], json);
            assert_eq!((e.event_type.as_deref(), bad), (Some("t.x"), None), "{name}: {kind}");
        }
    }

    #[test]
    fn a_binary_cloudevent_is_read_as_over_http() {
        let headers =
            [("ce-specversion", "1.0"), ("ce-id", "7"), ("Ce-Type", "t.x"), ("CE-Source", "/s")];
        let (e, bad) = read("sse.a.b.t.x", &headers, b"1.10");
        assert_eq!(
            (e.event_type.as_deref(), e.source.as_deref(), e.id.as_deref(), bad),
            (Some("t.x"), Some("/s"), Some("7"), None)
        );
        let frame = e.chunk.frame();
        let text = std::str::from_utf8(&frame).unwrap();
        assert!(text.contains(r#""type":"t.x","data":1.10}"#), "{text}");
        for (i, more) in [
            ("CE-ID", "again"),
            ("ce-data", "x"),
            ("content-type", "application/cloudevents+xml"),
            ("content-type", "application/cloudevents-batch+json"),
        ]
        .into_iter()
        .enumerate()
        {
            let (e, bad) = read("sse.a.b.t.x", &[&headers[..], &[more]].concat(), b"1");
            assert_eq!((e.kind, bad), (Kind::Invalid, Some(BadEvent::CloudEvent)), "{i}");
        }
        let (_, bad) = read("sse.a.b.t.x", &headers[1..], b"1");
        assert_eq!(bad, Some(BadEvent::CloudEvent), "no ce-specversion");
        let (_, bad) = read("sse.a.b.t.x", &headers, &[b'1'; 60]);
        assert_eq!(bad, Some(BadEvent::TooLarge), "more than 100 bytes with its envelope");
    }

    #[test]
    fn headers_of_publishers_are_case_insensitive() {
        let headers = [("eventcast-type", "t"), ("EVENTCAST-SOURCE", "/s"), ("eventcast-ID", "7")];
        let (e, _) = read("sse.a.b.all", &headers, b"x");
        assert_eq!(
            (e.event_type.as_deref(), e.source.as_deref(), e.id.as_deref()),
            (Some("t"), Some("/s"), Some("7"))
        );
        let headers = [("eventcast-type", "a"), ("EVENTCAST-TYPE", "b"), ("Eventcast-Type", "c")];
        let (e, _) = read("sse.a.b.all", &headers, b"x");
        assert_eq!(e.event_type.as_deref(), Some("c"), "the documented spelling wins");
        let (e, _) = read("sse.a.b.all", &headers[..2], b"x");
        assert_eq!(e.event_type.as_deref(), Some("b"), "else the first in byte order");
        let (e, _) = read("sse.a.b.all", &[("nats-ttl", "1s")], b"x");
        assert_eq!(e.expires, None, "the server ignores this spelling");
    }
}

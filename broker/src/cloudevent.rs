//! Parses CloudEvents 1.0 in structured, binary and batched mode. All of them become structured JSON (JSON format, version 1.0).
//!
//! The library validates an event, but the JSON is passed on byte by byte, because serializing it again would round numbers and
//! reorder keys. Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cloudevents::{AttributesReader, Event};
use eventcast_wire::trace_context::{TRACEPARENT, TraceContext};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, value::RawValue};

use crate::media_type::{essence, is_json};

/// Characters of an invalid name that are echoed to its sender.
const MAX_SHOWN_NAME_CHARS: usize = 64;

/// The prefix of headers that hold attributes in binary mode.
pub(crate) const HEADER_PREFIX: &str = "ce-";

/// The content mode of an event in a request or a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// JSON with attributes and data.
    Structured,
    /// A JSON array of structured events.
    Batch,
    /// Attributes in headers. The body is the data.
    Binary,
}

/// A valid event: the attributes that Eventcast uses, and its JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CloudEvent {
    pub(crate) event_type: String,
    pub(crate) source: String,
    pub(crate) id: String,
    /// The extension attribute `topic`.
    pub(crate) topic: Option<String>,
    pub(crate) json: String,
    /// The extension attribute `traceparent`, if it is valid.
    pub(crate) trace: Option<TraceContext>,
}

/// Why an event is not a valid CloudEvent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadCloudEvent {
    #[error(
        "Only the JSON format of CloudEvents is supported: send application/cloudevents+json or -batch+json"
    )]
    Format,
    #[error("The body is not a CloudEvent of version 1.0: {0}.")]
    Body(String),
    #[error("{1}")]
    Header(String, &'static str),
}

/// The mode of a message with the media type `essence`; `None` if it is not a CloudEvent. A message with any attribute in its
/// headers is one: otherwise, with a misspelt `ce-specversion`, it would become a plain event without type and topic.
///
/// # Errors
/// A format other than JSON.
pub(crate) fn mode(essence: &str, has_attributes: bool) -> Result<Option<Mode>, BadCloudEvent> {
    match essence {
        "application/cloudevents+json" => Ok(Some(Mode::Structured)),
        "application/cloudevents-batch+json" => Ok(Some(Mode::Batch)),
        _ if essence.starts_with("application/cloudevents") => Err(BadCloudEvent::Format),
        _ => Ok(has_attributes.then_some(Mode::Binary)),
    }
}

/// Parses a structured event.
///
/// # Errors
/// The body is not a valid CloudEvent.
pub(crate) fn structured(body: &[u8]) -> Result<CloudEvent, BadCloudEvent> {
    let json = utf8(body)?.trim_ascii();
    let mut members: Map<String, Value> = serde_json::from_str(json).map_err(|e| bad(&e))?;
    check_names(&members)?;
    if !members.contains_key("data_base64") {
        // Data may be any JSON, but the library expects a string for content types that it does not know.
        members.remove("data");
    }
    let event: Event = serde_json::from_value(Value::Object(members)).map_err(|e| bad(&e))?;
    Ok(CloudEvent {
        event_type: event.ty().to_owned(),
        source: event.source().clone(),
        id: event.id().to_owned(),
        topic: event.extension("topic").map(ToString::to_string),
        json: json.to_owned(),
        trace: event
            .extension(TRACEPARENT)
            .and_then(|value| TraceContext::parse(&value.to_string())),
    })
}

/// Checks what the library does not: with a `Topic` that is not read, an event would be a broadcast, and with another version, data
/// could be encoded in another way.
fn check_names(members: &Map<String, Value>) -> Result<(), BadCloudEvent> {
    let invalid = |name: &&String| *name != "data_base64" && !is_attribute_name(name);
    if let Some(name) = members.keys().find(invalid) {
        let shown: String = name.chars().take(MAX_SHOWN_NAME_CHARS).collect();
        let why = format!("names consist of lower-case letters and digits, and {shown:?} does not");
        return Err(BadCloudEvent::Body(why));
    }
    match members.get("specversion") {
        Some(version) if version != "1.0" => {
            Err(BadCloudEvent::Body("specversion must be \"1.0\"".into()))
        }
        _ => Ok(()),
    }
}

/// Whether an attribute may have this name (CloudEvents, section 3.1).
fn is_attribute_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// Parses a batch. Returns each event, or what is wrong with it.
///
/// # Errors
/// The body is not a JSON array.
pub(crate) fn batch(body: &[u8]) -> Result<Vec<Result<CloudEvent, BadCloudEvent>>, BadCloudEvent> {
    let events: Vec<&RawValue> = serde_json::from_str(utf8(body)?).map_err(|e| bad(&e))?;
    Ok(events.iter().map(|event| structured(event.get().as_bytes())).collect())
}

/// Parses an event in binary mode. `attributes` are the headers with [`HEADER_PREFIX`], without the prefix.
///
/// # Errors
/// An attribute is missing, repeated or invalid, or the data is declared as JSON but is not.
pub(crate) fn binary<'a>(
    attributes: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<CloudEvent, BadCloudEvent> {
    let mut event = Map::new();
    for (name, value) in attributes {
        let wrong = |why| BadCloudEvent::Header(format!("{HEADER_PREFIX}{name}"), why);
        let name = name.to_ascii_lowercase();
        if name == "datacontenttype" {
            return Err(wrong("Send the type of the data as the Content-Type header."));
        }
        if name == "data" || !is_attribute_name(&name) {
            return Err(wrong(
                "The name of an attribute must consist of letters and digits, and must not be data.",
            ));
        }
        let value = decoded(value).ok_or_else(|| {
            wrong("The attribute must be UTF-8, percent-encoded unless it is ASCII.")
        })?;
        if event.insert(name, Value::String(value)).is_some() {
            return Err(wrong("The attribute is repeated. Send it once."));
        }
    }
    if !event.contains_key("specversion") {
        let name = format!("{HEADER_PREFIX}specversion");
        let why =
            "The ce- headers are attributes of a CloudEvent, so ce-specversion: 1.0 is required.";
        return Err(BadCloudEvent::Header(name, why));
    }
    let kind = content_type.map(essence);
    if let Some(content_type) = content_type {
        event.insert("datacontenttype".into(), content_type.into());
    }
    let mut json = Value::Object(event).to_string();
    if !body.is_empty() {
        let member = data(kind.as_deref().unwrap_or("application/json"), body)?;
        json.truncate(json.len() - 1); // the closing brace
        json = format!("{json},{member}}}");
    }
    structured(json.as_bytes())
}

/// The JSON member with the data (JSON format, section 3.1): JSON unchanged, text as a string, and anything else as base64.
fn data(essence: &str, body: &[u8]) -> Result<String, BadCloudEvent> {
    if is_json(essence) {
        let json: &RawValue = serde_json::from_str(utf8(body)?)
            .map_err(|e| BadCloudEvent::Body(format!("the data is not JSON: {e}")))?;
        return Ok(format!("\"data\":{json}"));
    }
    match std::str::from_utf8(body) {
        Ok(text) if essence.starts_with("text/") => Ok(format!("\"data\":{}", Value::from(text))),
        _ => Ok(format!("\"data_base64\":\"{}\"", STANDARD.encode(body))),
    }
}

/// Decodes the value of a header (HTTP binding, section 3.1.3.2): unquoted, then percent-decoded once.
fn decoded(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let text = match quoted {
        None => text.to_owned(),
        Some(quoted) => {
            let mut out = String::with_capacity(quoted.len());
            let mut chars = quoted.chars();
            while let Some(c) = chars.next() {
                out.extend(if c == '\\' { chars.next() } else { Some(c) });
            }
            out
        }
    };
    Some(percent_decode_str(&text).decode_utf8().ok()?.into_owned())
}

/// JSON as text, without the byte order mark that programs on Windows put before it (RFC 8259, section 8.1).
fn utf8(body: &[u8]) -> Result<&str, BadCloudEvent> {
    let text = std::str::from_utf8(body)
        .map_err(|_| BadCloudEvent::Body("it is not valid UTF-8".into()))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn bad(error: &serde_json::Error) -> BadCloudEvent {
    BadCloudEvent::Body(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str =
        r#"{ "z" : 1.10, "n":123456789012345678901234567890, "a":[ 1e2 , "\u00e9" ] }"#;

    fn attributes(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static [u8])> {
        let base = [("specversion", "1.0"), ("id", "7"), ("type", "t.x"), ("source", "/s")];
        base.iter().chain(more).map(|(name, value)| (*name, value.as_bytes())).collect()
    }

    #[test]
    fn the_json_is_passed_on_unchanged() {
        let sent = format!(
            "{{\"type\":\"t.x\", \"data\":{DATA}, \"specversion\":\"1.0\",\r\n\"source\":\"/s\",\"id\":\"7\",\"zeta\":1,\"topic\":\"a\"}}"
        );
        let event = structured(format!(" {sent}\n").as_bytes()).unwrap();
        assert_eq!(event.json, sent);
        assert_eq!((&*event.source, event.topic.as_deref()), ("/s", Some("a")));
        let events = batch(format!("[{sent} ,\n {sent}]").as_bytes()).unwrap();
        assert!(events.iter().all(|e| e.as_ref().is_ok_and(|e| e.json == sent)), "{events:?}");
        for kind in
            [None, Some("application/json"), Some("Application/Problem+JSON; charset=utf-8")]
        {
            let event = binary(attributes(&[]), kind, DATA.as_bytes()).unwrap();
            assert!(event.json.ends_with(&format!("\"data\":{DATA}}}")), "{}", event.json);
        }
    }

    #[test]
    fn what_the_library_lets_through_is_refused() {
        let with = |more: &str| {
            let event = format!("{{\"id\":\"7\",\"source\":\"/s\",\"type\":\"t\",{more}}}");
            (
                structured(event.as_bytes()),
                batch(format!("[{event}]").as_bytes()).unwrap().remove(0),
            )
        };
        for bad in [
            r#""specversion":"1.0","Topic":"user.1""#,
            r#""specversion":"1.0","my_attribute":"a""#,
            r#""specversion":"1.0","":"a""#,
            r#""specversion":"0.3""#,
            r#""specversion":1.0"#,
        ] {
            let (alone, in_batch) = with(bad);
            assert!(alone.is_err() && in_batch.is_err(), "{bad}");
        }
        assert!(with(r#""specversion":"1.0","topic":"user.1","data_base64":"YQ==""#).0.is_ok());
        let marked =
            "\u{feff}{\"id\":\"7\",\"source\":\"/s\",\"type\":\"t\",\"specversion\":\"1.0\"}";
        assert!(structured(marked.as_bytes()).unwrap().json.starts_with('{'));
        let old = [("specversion", "0.3"), ("id", "7"), ("type", "t"), ("source", "/s")];
        let old = old.map(|(name, value)| (name, value.as_bytes()));
        assert!(binary(old, None, b"").is_err());
    }

    #[test]
    fn binary_data_is_json_or_text_or_base64() {
        let of = |kind, body: &[u8]| binary(attributes(&[]), Some(kind), body).unwrap().json;
        assert!(of("text/plain", b"a\"b").contains(r#""data":"a\"b""#));
        assert!(of("Text/Plain", b"a\xff").contains(r#""data_base64":"Yf8=""#));
        assert!(of("image/png", b"ab").contains(r#""data_base64":"YWI=""#));
        assert!(!of("application/json", b"").contains("data\""));
        assert!(binary(attributes(&[]), Some("application/json"), b"{").is_err());
        assert!(binary(attributes(&[]), Some("application/json"), b"\xff").is_err());
    }

    #[test]
    fn attributes_in_headers_are_decoded_once() {
        let more =
            [("subject", "caf%C3%A9 100%25"), ("comment", r#""say \"hi\"""#), ("Topic", "user.1")];
        let event = binary(attributes(&more), None, b"").unwrap();
        let json: Value = serde_json::from_str(&event.json).unwrap();
        assert_eq!(
            (&json["subject"], &json["comment"]),
            (&"café 100%".into(), &"say \"hi\"".into())
        );
        assert_eq!(event.topic.as_deref(), Some("user.1"));
        for bad in [
            ("id", "again"),
            ("ID", "again"),
            ("datacontenttype", "text/plain"),
            ("data", "x"),
            ("da-ta", "x"),
            ("subject", "%FF"),
        ] {
            assert!(binary(attributes(&[bad]), None, b"").is_err(), "{bad:?}");
        }
        let without = attributes(&[]).into_iter().filter(|(name, _)| *name != "specversion");
        assert!(
            matches!(binary(without, None, b""), Err(BadCloudEvent::Header(name, _)) if name == "ce-specversion")
        );
    }

    #[test]
    fn the_mode_follows_from_content_type_and_headers() {
        assert_eq!(mode("application/cloudevents+json", true), Ok(Some(Mode::Structured)));
        assert_eq!(mode("application/cloudevents-batch+json", false), Ok(Some(Mode::Batch)));
        assert_eq!(mode("application/json", true), Ok(Some(Mode::Binary)));
        assert_eq!(mode("application/json", false), Ok(None));
        for other in [
            "application/cloudevents",
            "application/cloudevents+xml",
            "application/cloudevents-batch+avro",
        ] {
            assert_eq!(mode(other, false), Err(BadCloudEvent::Format), "{other}");
        }
    }
}

//! A batch with one JSON envelope per line (`application/x-ndjson` and its other spellings).

use bytes::Bytes;
use eventcast_wire::trace_context::TraceContext;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{super::whole_number::WholeNumber, Problem, UncheckedEvent, key, parse_ttl};

/// Unknown fields are rejected: with a misspelt `topic`, the event would be a broadcast.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    topic: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    source: Option<String>,
    id: Option<String>,
    ttl: Option<Ttl>,
    /// An invalid one is ignored, so it may be anything.
    traceparent: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Ttl {
    Seconds(WholeNumber),
    Text(String),
}

pub(super) fn read(body: &[u8]) -> Result<Vec<UncheckedEvent>, Problem> {
    let text = std::str::from_utf8(body).map_err(|_| {
        Problem::field("body", "The body is not valid UTF-8. Send JSON, one envelope per line.")
    })?;
    // RFC 8259, section 8.1: a parser may ignore a byte order mark. Programs on Windows write one.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(i, line)| envelope(line).map_err(|p| p.with("line", i + 1))).collect()
}

fn envelope(line: &str) -> Result<UncheckedEvent, Problem> {
    let e: Envelope<'_> = serde_json::from_str(line).map_err(|e| {
        let what = r#"{"data": …, "topic"?, "type"?, "source"?, "ttl"?, "id"?, "traceparent"?}"#;
        // The parser sees one line, and calls it the first. Which of the batch it is stands in the field `line`.
        let why = e.to_string().replace(" at line 1 column ", " at column ");
        Problem::field("body", format!("The line is not an envelope {what}: {why}."))
    })?;
    // The content of a string, or the text of any other JSON.
    let data = match serde_json::from_str::<String>(e.data.get()) {
        Ok(text) => text,
        Err(_) if e.data.get().starts_with('"') => {
            return Err(Problem::field(
                "data",
                "The data is not valid Unicode: it has an unpaired surrogate.",
            ));
        }
        Err(_) => e.data.get().to_owned(),
    };
    let ttl = match e.ttl {
        None => None,
        Some(Ttl::Seconds(WholeNumber(s))) => Some(parse_ttl(&s.to_string())?),
        Some(Ttl::Text(t)) => Some(parse_ttl(&t)?),
    };
    let trace = e.traceparent.as_ref().and_then(Value::as_str).and_then(TraceContext::parse);
    let topic = e.topic.filter(|t| !t.is_empty());
    let event_type = e.event_type.filter(|t| !t.is_empty());
    Ok(UncheckedEvent {
        data: Bytes::from(data),
        topic,
        event_type,
        source: e.source,
        key: e.id.as_deref().map(key::of_id),
        id: e.id,
        ttl,
        cloudevent: false,
        trace,
    })
}

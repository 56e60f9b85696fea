//! CloudEvents 1.0 over HTTP: structured, binary and batch. Whatever the mode, the event becomes its structured JSON.

use bytes::Bytes;
use cloudevents::{AttributesReader, Data, Event, binding::http::to_event};
use http::HeaderMap;
use percent_encoding::percent_decode_str;

use super::{Problem, Sent};

pub(super) fn structured(body: &[u8]) -> Result<Sent, Problem> {
    sent(&serde_json::from_slice(body).map_err(|e| bad(&e.to_string()))?)
}

pub(super) fn batch(body: &[u8]) -> Result<Vec<Sent>, Problem> {
    let events: Vec<Event> = serde_json::from_slice(body).map_err(|e| bad(&e.to_string()))?;
    events.iter().enumerate().map(|(i, e)| sent(e).map_err(|p| p.with("line", i + 1))).collect()
}

/// The library takes header values as they are; the binding wants them percent-decoded (HTTP binding, 3.1.3.2).
pub(super) fn binary(headers: &HeaderMap, body: &[u8]) -> Result<Sent, Problem> {
    if headers.contains_key("ce-datacontenttype") {
        return Err(Problem::field(
            "ce-datacontenttype",
            "The type of the data is the Content-Type header.",
        ));
    }
    let mut decoded = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if decoded.contains_key(name) && name.as_str().starts_with("ce-") {
            return Err(Problem::field(name.as_str(), "The attribute came twice: send it once."));
        }
        decoded.insert(name, value.clone());
    }
    let mut event = to_event(&decoded, body.to_vec()).map_err(|e| bad(&e.to_string()))?;
    // The attributes that people write words into; the others are ASCII by their definition.
    let subject = event.subject().map(percent_decode).transpose()?;
    if let Some(subject) = subject {
        cloudevents::AttributesWriter::set_subject(&mut event, Some(subject));
    }
    let extensions: Vec<_> =
        event.iter_extensions().map(|(k, v)| (k.to_owned(), v.to_string())).collect();
    for (name, value) in extensions {
        event.set_extension(&name, percent_decode(&value)?);
    }
    let kind = event.datacontenttype().unwrap_or("application/json").to_ascii_lowercase();
    if let Some(data) = shown(event.data(), &kind)? {
        event.set_data_unchecked(data);
    }
    sent(&event)
}

/// The library takes every binary body for bytes, which its JSON would show in base64: JSON stays JSON, and text stays text
/// (JSON format, section 3.1).
fn shown(data: Option<&Data>, kind: &str) -> Result<Option<Data>, Problem> {
    let Some(Data::Binary(bytes)) = data else { return Ok(None) };
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.ends_with("/json") || essence.ends_with("+json") {
        let json = serde_json::from_slice(bytes)
            .map_err(|e| bad(&format!("its data is not JSON: {e}")))?;
        return Ok(Some(Data::Json(json)));
    }
    let text = String::from_utf8(bytes.clone()).ok().filter(|_| essence.starts_with("text/"));
    Ok(text.map(Data::String))
}

fn percent_decode(value: &str) -> Result<String, Problem> {
    let decoded = percent_decode_str(value).decode_utf8();
    let decoded =
        decoded.map_err(|_| bad("an attribute is not valid UTF-8 once percent-decoded"))?;
    Ok(decoded.into_owned())
}

fn sent(event: &Event) -> Result<Sent, Problem> {
    let (source, id) = (event.source().to_string(), event.id().to_owned());
    let topic = event.extension("topic").map(ToString::to_string);
    let json = serde_json::to_string(event).map_err(|e| bad(&e.to_string()))?;
    Ok(Sent {
        data: Bytes::from(json),
        topic,
        event_type: Some(event.ty().to_owned()),
        key: Some(dedup_key(&source, &id)),
        source: Some(source),
        id: Some(id),
        ttl: None,
        cloudevent: true,
    })
}

/// Source and id together identify a CloudEvent (section 3.1.1). Both are free text: what a header cannot carry is escaped.
fn dedup_key(source: &str, id: &str) -> String {
    let escape = |s: &str| form_urlencoded::byte_serialize(s.as_bytes()).collect::<String>();
    format!("ce:{}:{}", escape(source), escape(id))
}

fn bad(why: &str) -> Problem {
    Problem::field("body", format!("This is no CloudEvent of version 1.0: {why}."))
}

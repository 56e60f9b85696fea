//! Turns the body of a publish request into drafts, and checks the rules of events. Pure, and fuzzed.

mod cloudevent;
pub(crate) mod grant;
mod key;
mod ndjson;

use bytes::Bytes;
use eventcast_crds::config::Publishing;
use eventcast_wire::{
    event::{self, BadEvent, Draft, MAX_NAME_BYTES, MAX_SOURCE_BYTES},
    topic::{self, Pattern},
    trace_context::TraceContext,
};
use http::{HeaderMap, header};

use super::{
    params::{Params, seconds},
    problem::{Kind, Problem},
};
use crate::{
    cloudevent::{Mode, mode},
    media_type,
};

/// Seconds of a time to live: ten years.
const MAX_TTL_SECONDS: u64 = 315_360_000;

/// The format of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Raw,
    Ndjson,
    CloudEvent,
    CloudEventBinary,
    CloudEventBatch,
}

impl Format {
    /// The format by the content type, or by the `ce-*` headers of a binary CloudEvent.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        if headers.contains_key(header::CONTENT_ENCODING) {
            let detail = "Content-Encoding is not supported. Send the body without it.";
            return Err(Problem::new(Kind::CONTENT_ENCODING, detail)
                .with("field", "Content-Encoding")
                .close());
        }
        let content_type = text(headers, "content-type")?.unwrap_or_default();
        let essence = media_type::essence(&content_type);
        let mode = mode(&essence, cloudevent::has_attributes(headers));
        Ok(match mode.map_err(|e| cloudevent::problem(&e))? {
            Some(Mode::Structured) => Self::CloudEvent,
            Some(Mode::Batch) => Self::CloudEventBatch,
            Some(Mode::Binary) => Self::CloudEventBinary,
            None if media_type::is_json_lines(&essence) => Self::Ndjson,
            None => Self::Raw,
        })
    }

    /// The largest body, in bytes.
    pub(crate) fn limit(self, rules: &Publishing) -> usize {
        match self {
            Self::Raw => rules.max_event_bytes,
            Self::CloudEvent | Self::CloudEventBinary => rules.largest_cloud_event(),
            Self::Ndjson | Self::CloudEventBatch => rules.max_batch_bytes,
        }
    }

    pub(crate) fn is_batch(self) -> bool {
        matches!(self, Self::Ndjson | Self::CloudEventBatch)
    }
}

/// The values of parameters and headers that apply to every event of a request.
pub(crate) struct Defaults {
    topic: Option<String>,
    event_type: Option<String>,
    source: Option<String>,
    ttl: Option<u64>,
    /// The idempotency key of the request, or a new one.
    pub(crate) key: String,
    is_key_generated: bool,
}

impl Defaults {
    pub(crate) fn of(
        params: &Params,
        headers: &HeaderMap,
        fresh_key: String,
    ) -> Result<Self, Problem> {
        let topic = either(params, headers, "topic", "eventcast-topic")?;
        let ttl = either(params, headers, "ttl", "eventcast-ttl")?;
        let key = text(headers, "idempotency-key")?;
        if let Some(key) = &key
            && !key::is_plain(key)
        {
            let detail = "An Idempotency-Key must have 1 to 128 visible ASCII characters.";
            return Err(Problem::field("Idempotency-Key", detail).with("limit", MAX_NAME_BYTES));
        }
        let is_key_generated = key.is_none();
        Ok(Self {
            topic: topic.filter(|t| !t.is_empty()),
            event_type: either(params, headers, "type", "eventcast-type")?
                .filter(|t| !t.is_empty()),
            source: either(params, headers, "source", "eventcast-source")?
                .filter(|t| !t.is_empty()),
            ttl: ttl.map(|t| parse_ttl(&t)).transpose()?,
            key: key.unwrap_or(fresh_key),
            is_key_generated,
        })
    }

    /// The key of an event: that of the request, with the index of the event in a batch.
    fn key_of(&self, index: Option<usize>) -> String {
        index.map_or_else(|| self.key.clone(), |i| key::numbered(&self.key, i))
    }
}

fn either(
    params: &Params,
    headers: &HeaderMap,
    query: &str,
    name: &str,
) -> Result<Option<String>, Problem> {
    match (params.one(query)?, text(headers, name)?) {
        (Some(_), Some(_)) => Err(Problem::field(
            query,
            format!("{query} is both in the query and in {name}. Send it once."),
        )),
        (Some(value), None) => Ok(Some(value.into())),
        (None, value) => Ok(value),
    }
}

fn text(headers: &HeaderMap, name: &str) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let once = values.next().is_none();
    match std::str::from_utf8(value.as_bytes()) {
        Ok(value) if once => Ok(Some(value.into())),
        _ => Err(Problem::field(name, format!("{name} must be a single header in UTF-8."))),
    }
}

/// Parses a time to live: seconds, or a number with a unit. The maximum is about ten years.
fn parse_ttl(text: &str) -> Result<u64, Problem> {
    let plain = || text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let ttl = seconds(text).or_else(plain).filter(|s| (1..=MAX_TTL_SECONDS).contains(s));
    ttl.ok_or_else(|| {
        Problem::field(
            "ttl",
            "A time to live must be from 1 second to 10 years, in seconds or such as 90s, 10m, 2h or 7d.",
        )
    })
}

/// An event as it was sent, unchecked.
#[derive(Default)]
struct UncheckedEvent {
    data: Bytes,
    topic: Option<String>,
    event_type: Option<String>,
    source: Option<String>,
    id: Option<String>,
    key: Option<String>,
    ttl: Option<u64>,
    cloudevent: bool,
    /// The trace context in the event itself.
    trace: Option<TraceContext>,
}

/// Reads the events of `body` and checks them.
///
/// # Errors
/// A problem that names the field, the limit and, in a batch, the line.
pub(crate) fn read(
    format: Format,
    headers: &HeaderMap,
    body: Bytes,
    defaults: &Defaults,
    rules: &Publishing,
) -> Result<Vec<Draft>, Problem> {
    let sent = match format {
        Format::Raw => vec![UncheckedEvent { data: body, ..UncheckedEvent::default() }],
        Format::Ndjson => ndjson::read(&body)?,
        Format::CloudEvent => vec![cloudevent::structured(&body)?],
        Format::CloudEventBinary => vec![cloudevent::binary(headers, &body)?],
        Format::CloudEventBatch => cloudevent::batch(&body)?,
    };
    if sent.is_empty() {
        return Err(Problem::field("body", "The batch is empty. Send at least one event."));
    }
    if sent.len() > rules.max_batch_events {
        let detail = format!("The batch has {} events. Send fewer at a time.", sent.len());
        return Err(Problem::too_large(detail, Some(rules.max_batch_events)).with("field", "body"));
    }
    let types = patterns(&rules.types);
    let is_batch = format.is_batch();
    let numbered = |(i, s)| {
        check(s, is_batch.then_some(i), defaults, rules, &types)
            .map_err(|p| if is_batch { p.with("line", i + 1) } else { p })
    };
    sent.into_iter().enumerate().map(numbered).collect()
}

fn patterns(types: &[String]) -> Vec<Pattern> {
    types.iter().filter_map(|t| Pattern::new(t).ok()).collect()
}

/// Checks the rules of events, and completes an event with the defaults of its request. `index` is its index in a batch.
fn check(
    sent: UncheckedEvent,
    index: Option<usize>,
    defaults: &Defaults,
    rules: &Publishing,
    types: &[Pattern],
) -> Result<Draft, Problem> {
    let event_type = sent.event_type.or_else(|| defaults.event_type.clone());
    let source = sent.source.or_else(|| defaults.source.clone());
    event::check_data(&sent.data, rules.max_event_bytes).map_err(|e| invalid("data", e, rules))?;
    if let Some(name) = &event_type {
        event::check_type(name).map_err(|e| invalid("type", e, rules))?;
    }
    for (field, value) in [("source", &source), ("id", &sent.id)] {
        if let Some(value) = value {
            event::check_name(value, MAX_SOURCE_BYTES).map_err(|e| invalid(field, e, rules))?;
        }
    }
    let name = event_type.as_deref().unwrap_or(event::DEFAULT_TYPE);
    if !rules.types.is_empty() && !types.iter().any(|t| t.matches(name)) {
        let detail =
            format!("This channel accepts only the event types {}.", rules.types.join(", "));
        return Err(Problem::field("type", detail));
    }
    let topic = sent.topic.as_ref().or(defaults.topic.as_ref()).map(|t| topic::encode(t));
    let topic = topic.transpose().map_err(|e| invalid("topic", e.into(), rules))?;
    // The key of an event applies if the request has none.
    let key =
        sent.key.filter(|_| defaults.is_key_generated).unwrap_or_else(|| defaults.key_of(index));
    Ok(Draft {
        data: sent.data,
        event_type: event_type.filter(|t| t != event::DEFAULT_TYPE),
        topic,
        source,
        id: sent.id,
        key,
        ttl: sent.ttl.or(defaults.ttl),
        cloudevent: sent.cloudevent,
        trace: sent.trace,
    })
}

fn invalid(field: &str, why: BadEvent, rules: &Publishing) -> Problem {
    let detail = format!("The {field} {why}.");
    match why {
        BadEvent::TooLarge => {
            Problem::too_large(detail, Some(rules.max_event_bytes)).with("field", field)
        }
        BadEvent::Length(limit) => Problem::field(field, detail).with("limit", limit),
        _ => Problem::field(field, detail),
    }
}

#[cfg(test)]
mod tests;

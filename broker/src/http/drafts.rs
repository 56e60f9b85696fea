//! A publish request's body as drafts: every rule of events, and where it is broken. Pure, and fuzzed.

mod cloudevent;
mod key;
mod ndjson;

use bytes::Bytes;
use eventcast_crds::config::Publishing;
use eventcast_wire::{
    event::{self, BadEvent, Draft, MAX_NAME_BYTES, MAX_SOURCE_BYTES},
    topic::{self, Pattern},
};
use http::{HeaderMap, StatusCode, header};

use super::{
    params::{Params, seconds},
    problem::Problem,
};
use crate::{
    cloudevent::{Mode, mode},
    media_type,
};

/// How a body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Raw,
    Ndjson,
    CloudEvent,
    CloudEventBinary,
    CloudEventBatch,
}

impl Format {
    /// By the content type, and for binary CloudEvents by their headers.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        if headers.contains_key(header::CONTENT_ENCODING) {
            let detail = "Content-Encoding is not read: send the body as it is.";
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content-encoding",
                "The body is encoded",
                detail,
            )
            .with("field", "Content-Encoding")
            .close());
        }
        let content_type = text(headers, "content-type")?.unwrap_or_default();
        let essence = media_type::essence(&content_type);
        let mode = mode(&essence, cloudevent::has_attributes(headers));
        Ok(match mode.map_err(|e| cloudevent::refusal(&e))? {
            Some(Mode::Structured) => Self::CloudEvent,
            Some(Mode::Batch) => Self::CloudEventBatch,
            Some(Mode::Binary) => Self::CloudEventBinary,
            None if media_type::is_json_lines(&essence) => Self::Ndjson,
            None => Self::Raw,
        })
    }

    /// Bytes of a body at most.
    pub(crate) fn limit(self, rules: &Publishing) -> usize {
        match self {
            Self::Raw => rules.max_event_bytes,
            // The envelope and the escapes of JSON come on top of the data.
            Self::CloudEvent | Self::CloudEventBinary => rules.max_event_bytes * 2 + 4096,
            Self::Ndjson | Self::CloudEventBatch => rules.max_batch_bytes,
        }
    }

    pub(crate) fn is_batch(self) -> bool {
        matches!(self, Self::Ndjson | Self::CloudEventBatch)
    }
}

/// What query and headers say of every event of a request.
pub(crate) struct Defaults {
    topic: Option<String>,
    event_type: Option<String>,
    source: Option<String>,
    ttl: Option<u64>,
    /// The publisher's idempotency key, or ours.
    pub(crate) key: String,
    own_key: bool,
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
            let detail = "An Idempotency-Key has 1 to 128 visible ASCII characters.";
            return Err(Problem::field("Idempotency-Key", detail).with("limit", MAX_NAME_BYTES));
        }
        let own_key = key.is_none();
        Ok(Self {
            topic: topic.filter(|t| !t.is_empty()),
            event_type: either(params, headers, "type", "eventcast-type")?
                .filter(|t| !t.is_empty()),
            source: either(params, headers, "source", "eventcast-source")?
                .filter(|t| !t.is_empty()),
            ttl: ttl.map(|t| parse_ttl(&t)).transpose()?,
            key: key.unwrap_or(fresh_key),
            own_key,
        })
    }

    /// The key of an event: the request's, numbered in a batch.
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
            format!("{query} stands in the query and in {name}: give it once."),
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
        _ => Err(Problem::field(name, format!("{name} is one header in UTF-8."))),
    }
}

/// Seconds, or a number with a unit; at least one second, at most what the header of NATS takes.
fn parse_ttl(text: &str) -> Result<u64, Problem> {
    let plain = || text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let ttl = seconds(text).or_else(plain).filter(|s| (1..=315_360_000).contains(s));
    ttl.ok_or_else(|| {
        Problem::field(
            "ttl",
            "A time to live is 1 second to 10 years: seconds, or 90s, 10m, 2h, 7d.",
        )
    })
}

/// One event as it was sent, not yet checked.
#[derive(Default)]
struct Sent {
    data: Bytes,
    topic: Option<String>,
    event_type: Option<String>,
    source: Option<String>,
    id: Option<String>,
    key: Option<String>,
    ttl: Option<u64>,
    cloudevent: bool,
}

/// Reads `body`.
///
/// # Errors
/// The problem that names field, limit and, in a batch, the line or index.
pub(crate) fn read(
    format: Format,
    headers: &HeaderMap,
    body: Bytes,
    defaults: &Defaults,
    rules: &Publishing,
) -> Result<Vec<Draft>, Problem> {
    let sent = match format {
        Format::Raw => vec![Sent { data: body, ..Sent::default() }],
        Format::Ndjson => ndjson::read(&body)?,
        Format::CloudEvent => vec![cloudevent::structured(&body)?],
        Format::CloudEventBinary => vec![cloudevent::binary(headers, &body)?],
        Format::CloudEventBatch => cloudevent::batch(&body)?,
    };
    if sent.is_empty() {
        return Err(Problem::field("body", "The batch is empty: send at least one event."));
    }
    if sent.len() > rules.max_batch_events {
        let detail = format!("The batch has {} events: send fewer at a time.", sent.len());
        return Err(too_large(detail, Some(rules.max_batch_events)).with("field", "body"));
    }
    let types = patterns(&rules.types);
    let batch = format.is_batch();
    let check = |(i, s)| {
        draft(s, batch.then_some(i), defaults, rules, &types)
            .map_err(|p| if batch { p.with("line", i + 1) } else { p })
    };
    sent.into_iter().enumerate().map(check).collect()
}

fn patterns(types: &[String]) -> Vec<Pattern> {
    types.iter().filter_map(|t| Pattern::new(t).ok()).collect()
}

fn draft(
    sent: Sent,
    index: Option<usize>,
    defaults: &Defaults,
    rules: &Publishing,
    types: &[Pattern],
) -> Result<Draft, Problem> {
    let event_type = sent.event_type.or_else(|| defaults.event_type.clone());
    let source = sent.source.or_else(|| defaults.source.clone());
    event::check_data(&sent.data, rules.max_event_bytes).map_err(|e| broken("data", e, rules))?;
    if let Some(name) = &event_type {
        event::check_type(name).map_err(|e| broken("type", e, rules))?;
    }
    for (field, value) in [("source", &source), ("id", &sent.id)] {
        if let Some(value) = value {
            event::check_name(value, MAX_SOURCE_BYTES).map_err(|e| broken(field, e, rules))?;
        }
    }
    let name = event_type.as_deref().unwrap_or(event::DEFAULT_TYPE);
    if !rules.types.is_empty() && !types.iter().any(|t| t.matches(name)) {
        let detail =
            format!("This channel takes only events of the types {}.", rules.types.join(", "));
        return Err(Problem::field("type", detail));
    }
    let topic = sent.topic.as_ref().or(defaults.topic.as_ref()).map(|t| topic::encode(t));
    let topic = topic.transpose().map_err(|e| broken("topic", e.into(), rules))?;
    // An event's own key counts where the request names none.
    let key = sent.key.filter(|_| defaults.own_key).unwrap_or_else(|| defaults.key_of(index));
    Ok(Draft {
        data: sent.data,
        event_type: event_type.filter(|t| t != event::DEFAULT_TYPE),
        topic,
        source,
        id: sent.id,
        key,
        ttl: sent.ttl.or(defaults.ttl),
        cloudevent: sent.cloudevent,
    })
}

fn broken(field: &str, why: BadEvent, rules: &Publishing) -> Problem {
    let detail = format!("The {field} {why}.");
    match why {
        BadEvent::TooLarge => too_large(detail, Some(rules.max_event_bytes)).with("field", field),
        BadEvent::Length(limit) => Problem::field(field, detail).with("limit", limit),
        _ => Problem::field(field, detail),
    }
}

/// `413`, naming the limit.
/// The limit is left out where only NATS knows it.
pub(crate) fn too_large(detail: impl Into<String>, limit: Option<usize>) -> Problem {
    let problem = Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too-large",
        "The request is too large",
        detail,
    );
    match limit {
        Some(limit) => problem.with("limit", limit),
        None => problem,
    }
}

#[cfg(test)]
mod tests;

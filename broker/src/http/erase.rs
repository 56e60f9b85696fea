//! `DELETE …/events/{cursor}` and `DELETE …/events?topic=…`: erases events from the log. Subscribers are not told: who has no
//! claim to an event must not learn of it by its erasure.

use std::time::Duration;

use eventcast_wire::{cursor::Cursor, filter::MAX_PATTERNS, topic};
use http::{Response, StatusCode, request::Parts};

use super::{
    Answer, empty,
    params::{Params, known},
    problem::Problem,
};
use crate::{channel::Channel, log::EraseError};

/// Erases one event.
pub(super) async fn event(
    channel: &Channel,
    request: &Parts,
    cursor: &str,
) -> Result<Response<Answer>, Problem> {
    allowed(channel)?;
    Params::of(&request.uri, &request.headers, &known::ERASE_EVENT)?;
    let cursor: Cursor = cursor.parse().map_err(|_| {
        Problem::field("cursor", "The last part of the path is the cursor of an event: its id.")
    })?;
    match channel.log().erase_event(&cursor).await {
        Ok(events) => answer(channel, events, Ok(())),
        Err(error) => answer(channel, 0, Err(error)),
    }
}

/// Erases the events of some topics.
pub(super) async fn topics(
    channel: &Channel,
    request: &Parts,
) -> Result<Response<Answer>, Problem> {
    allowed(channel)?;
    let params = Params::of(&request.uri, &request.headers, &known::ERASE)?;
    let patterns: Vec<_> = params.all("topic").collect();
    if patterns.is_empty() || patterns.len() > MAX_PATTERNS {
        let detail = "Name what to erase: topic= once or more, or one event as …/events/{cursor}.";
        return Err(Problem::field("topic", detail).with("limit", MAX_PATTERNS));
    }
    let mut tokens = Vec::with_capacity(patterns.len());
    for pattern in patterns {
        let encoded = topic::encode_pattern(pattern);
        tokens.push(encoded.map_err(|why| Problem::field("topic", format!("The topic {why}.")))?);
    }
    let mut events = 0;
    for tokens in &tokens {
        match channel.log().erase_topic(tokens).await {
            Ok(more) => events += more,
            Err(error) => return answer(channel, events, Err(error)),
        }
    }
    answer(channel, events, Ok(()))
}

/// Whoever may publish may erase, and where nobody may publish over HTTP nobody may erase.
fn allowed(channel: &Channel) -> Result<(), Problem> {
    if channel.config().publishing.enabled {
        return Ok(());
    }
    let detail =
        "Publishing over HTTP is switched off for this channel, and erasing with it: use NATS.";
    Err(Problem::new(StatusCode::FORBIDDEN, "publishing-disabled", "Not here", detail))
}

fn answer(
    channel: &Channel,
    events: u64,
    outcome: Result<(), EraseError>,
) -> Result<Response<Answer>, Problem> {
    let label = outcome.as_ref().err().map_or("erased", label);
    channel.metrics().erased(label, events);
    // Neither topic nor cursor: what was erased must not live on in logs.
    tracing::info!(
        channel = &**channel.key(),
        events,
        outcome = label,
        "a request to erase events ended"
    );
    outcome.map_err(|error| refusal(&error))?;
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

fn label(error: &EraseError) -> &'static str {
    match error {
        EraseError::NoSuchEvent => "no-such-event",
        EraseError::Unavailable => "unavailable",
        EraseError::Refused => "refused",
    }
}

fn refusal(error: &EraseError) -> Problem {
    match error {
        EraseError::NoSuchEvent => Problem::new(
            StatusCode::NOT_FOUND,
            "no-such-event",
            "No such event",
            "The log never had an event with this cursor: send the cursor as the broker gave it.",
        ),
        EraseError::Unavailable => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Perhaps not erased",
            "NATS did not confirm the erasure. Repeat the request after Retry-After: erasing again does no harm.",
        )
        .retry_after(Duration::from_secs(2)),
        EraseError::Refused => Problem::new(
            StatusCode::CONFLICT,
            "erasure-refused",
            "Not erased",
            "The stream of the channel has deny_delete or deny_purge: it keeps its events until retention takes them. \
             JetStream cannot change that; recreate the stream without.",
        ),
    }
}

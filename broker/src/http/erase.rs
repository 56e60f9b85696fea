//! `DELETE …/events/{cursor}` and `DELETE …/events?topic=…`: erases events from the log. Subscribers are not notified: a client
//! that may not read an event must not learn of its existence when it is erased.

use eventcast_wire::{
    cursor::Cursor,
    filter::MAX_PATTERNS,
    grants::{NotGranted, Topics},
    topic::{self, Pattern},
};
use http::{Response, StatusCode};

use super::{Answer, channel_request::ChannelRequest, empty, params::known, problem::Problem};
use crate::{channel::Channel, log::EraseError};

/// Erases one event.
pub(super) async fn event(
    request: &ChannelRequest<'_>,
    cursor: &str,
) -> Result<Response<Answer>, Problem> {
    let channel = request.channel;
    allowed(channel)?;
    request.params(&known::ERASE_EVENT)?;
    let cursor: Cursor = cursor.parse().map_err(|_| {
        Problem::field(
            "cursor",
            "The last segment of the path must be the cursor of an event (its id).",
        )
    })?;
    let grant = &request.grant;
    let may = |topic: Option<&str>| grant.publish.as_ref().is_some_and(|p| p.topics.cover(topic));
    match request.attached_log().await.erase_event(&cursor, may).await {
        Ok(events) => answer(channel, events, Ok(())),
        Err(error) => answer(channel, 0, Err(error)),
    }
}

/// Erases the events of topics.
pub(super) async fn topics(request: &ChannelRequest<'_>) -> Result<Response<Answer>, Problem> {
    let channel = request.channel;
    allowed(channel)?;
    let params = request.params(&known::ERASE)?;
    let patterns: Vec<_> = params.all("topic").collect();
    if patterns.is_empty() || patterns.len() > MAX_PATTERNS {
        let detail =
            "Name what to erase: one or more topic= parameters, or one event as …/events/{cursor}.";
        return Err(Problem::field("topic", detail).with("limit", MAX_PATTERNS));
    }
    let mut tokens = Vec::with_capacity(patterns.len());
    for pattern in patterns {
        may_erase(request, pattern)?;
        let encoded = topic::encode_pattern(pattern);
        tokens.push(encoded.map_err(|why| Problem::field("topic", format!("The topic {why}.")))?);
    }
    let log = request.attached_log().await;
    let mut events = 0;
    for tokens in &tokens {
        match log.erase_topic(tokens).await {
            Ok(more) => events += more,
            Err(error) => return answer(channel, events, Err(error)),
        }
    }
    answer(channel, events, Ok(()))
}

/// Checks that everything that `pattern` selects is granted. The pattern is not narrowed to the grant: otherwise a client would believe
/// that it erased more than it did.
fn may_erase(request: &ChannelRequest<'_>, pattern: &str) -> Result<(), Problem> {
    let Ok(parsed) = Pattern::new(pattern) else { return Ok(()) };
    let asked = Topics::new(vec![parsed], false);
    if request.grant.publish.as_ref().is_some_and(|publish| publish.topics.contains(&asked)) {
        return Ok(());
    }
    Err(Problem::from(NotGranted::Pattern(pattern.to_owned())))
}

/// A client that may publish may erase. If publishing over HTTP is disabled, so is erasing.
fn allowed(channel: &Channel) -> Result<(), Problem> {
    if channel.config().publishing.enabled {
        return Ok(());
    }
    Err(Problem::publishing_disabled(
        "Publishing over HTTP is disabled for this channel, and with it erasing. Use NATS.",
    ))
}

fn answer(
    channel: &Channel,
    events: u64,
    outcome: Result<(), EraseError>,
) -> Result<Response<Answer>, Problem> {
    let label = outcome.as_ref().err().map_or("erased", EraseError::label);
    channel.metrics().erased(label, events);
    // Without topic and cursor: erased data must not survive in logs.
    tracing::info!(
        channel = &**channel.key(),
        events,
        outcome = label,
        "handled a request to erase events"
    );
    outcome?;
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

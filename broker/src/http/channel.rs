//! `GET /channels` and `GET /channels/{namespace}/{channel}`: lists and describes channels.

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode, Uri};
use serde::Serialize;

use super::{
    Answer,
    channel_request::ChannelRequest,
    json,
    params::{Params, known},
    problem::Problem,
};
use crate::{broker::Broker, channel::Channel};

#[derive(Serialize)]
struct Name {
    namespace: String,
    name: String,
}

#[derive(Serialize)]
struct List {
    channels: Vec<Name>,
}

#[derive(Serialize)]
struct Retention {
    max_age_seconds: Option<u64>,
    max_bytes: Option<i64>,
    max_events: Option<i64>,
}

#[derive(Serialize)]
struct Description {
    #[serde(flatten)]
    name: Name,
    state: &'static str,
    /// Clients treat a stream that is silent for much longer as dead.
    heartbeat_seconds: u64,
    first: Option<String>,
    last: Option<String>,
    events: Option<u64>,
    bytes: Option<u64>,
    retention: Option<Retention>,
    subscribers: Option<usize>,
}

/// `GET /channels`.
pub(super) fn list(
    broker: &Broker,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response<Answer>, Problem> {
    Params::of(uri, headers, &known::CHANNELS)?;
    let name = |c: &Arc<Channel>| {
        let config = c.config();
        Name { namespace: config.namespace.clone(), name: config.name.clone() }
    };
    let channels = broker.channels().values().map(name).collect();
    Ok(json(StatusCode::OK, &List { channels }))
}

/// `GET /channels/{namespace}/{channel}`.
pub(super) async fn describe(request: &ChannelRequest<'_>) -> Result<Response<Answer>, Problem> {
    request.params(&known::CHANNEL)?;
    let channel = request.channel;
    let (config, log) = (channel.config(), request.attached_log().await);
    let incarnation = log.tail().incarnation();
    let state = match (incarnation, log.is_live()) {
        (None, _) => "starting",
        (Some(_), true) => "live",
        (Some(_), false) => "degraded",
    };
    // Counts and cursors would reveal how much is published on topics that the client may not read.
    let info = if request.grant.reads_everything() { log.info().await.ok() } else { None };
    let limit = |n: i64| Some(n).filter(|n| *n > 0);
    let (first, last) = match (&info, incarnation) {
        (Some(info), Some(i)) if info.state.messages > 0 => {
            let cursor = |sequence| log.cursor_at(i, sequence);
            (cursor(info.state.first_sequence).await, cursor(info.state.last_sequence).await)
        }
        _ => (None, None),
    };
    Ok(json(
        StatusCode::OK,
        &Description {
            name: Name { namespace: config.namespace.clone(), name: config.name.clone() },
            state,
            heartbeat_seconds: config.delivery.heartbeat_seconds,
            first: first.map(|c| c.to_string()),
            last: last.map(|c| c.to_string()),
            events: info.as_ref().map(|i| i.state.messages),
            bytes: info.as_ref().map(|i| i.state.bytes),
            retention: info.as_ref().map(|i| Retention {
                max_age_seconds: Some(i.config.max_age.as_secs()).filter(|s| *s > 0),
                max_bytes: limit(i.config.max_bytes),
                max_events: limit(i.config.max_messages),
            }),
            subscribers: request
                .grant
                .reads_everything()
                .then(|| request.broker.sessions.count_of(channel.key())),
        },
    ))
}

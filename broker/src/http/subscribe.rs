//! `GET …/events`: admits a subscriber, or turns it away so that it reconnects later.

use std::{sync::Arc, time::Duration};

use eventcast_crds::config::{ChannelConfig, Delivery, Overload};
use eventcast_wire::{filter::Filter, frame};
use http::{HeaderName, HeaderValue, Method, Response, header, request::Parts};
use tokio::time::timeout;

use super::{
    Answer, client, empty, full,
    params::{Params, known},
    problem::Problem,
    set,
};
use crate::{
    access::Grant,
    broker::Broker,
    channel::Channel,
    fanout::{
        HeartbeatStyle, Opening, Rhythm, Subscriber, jittered_retry,
        sessions::{Admission, Candidate},
    },
    log::{Resolved, Start, Unavailable},
    server::kill_switch,
    sockets::Remote,
};

/// How long a subscriber waits for its start position to be resolved.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How soon a subscriber that was turned away may reconnect, in milliseconds.
const MIN_OVERLOAD_RETRY_MS: u64 = 2000;
/// The reason of a gap at the start of the stream.
const GAP_HEADER: HeaderName = HeaderName::from_static("eventcast-gap");

pub(super) async fn handle(
    broker: &Arc<Broker>,
    channel: &Channel,
    remote: &Remote,
    request: &Parts,
) -> Result<Response<Answer>, Problem> {
    let config = channel.config();
    let delivery = &config.delivery;
    let params = Params::of(&request.uri, &request.headers, &known::SUBSCRIBE)?;
    let filter = params.filter(false)?;
    let start = params.start(&request.headers, &delivery.from, crate::clock::now_nanos())?;
    let rhythm = rhythm(delivery, &params)?;
    if request.method == Method::HEAD {
        return Ok(stream_head(Response::new(empty())));
    }
    let limits = broker.config().limits.clone();
    let candidate = Candidate {
        channel: Arc::clone(channel.key()),
        client: client(broker, remote, &request.headers),
        connection: Arc::clone(&remote.connection),
        stall: Duration::from_secs(delivery.stall_seconds),
        max_of_channel: delivery.max_subscribers,
        kill: kill_switch(),
    };
    let admission = match broker.sessions.admit(candidate, &limits, Arc::clone(channel.metrics())) {
        Ok(admission) => admission,
        Err(refusal) => {
            channel.metrics().rejected(refusal.label());
            return Ok(turn_away(limits.overload, refusal.reason(), delivery));
        }
    };
    match timeout(RESOLVE_TIMEOUT, resolve_start(broker, channel, &start, &filter)).await {
        Ok(Ok(resolved)) => {
            Ok(stream(channel, &config, resolved, filter, admission, rhythm, &start))
        }
        Ok(Err(Unavailable)) | Err(_) => {
            channel.metrics().rejected("unavailable");
            Ok(turn_away(limits.overload, "unavailable", delivery))
        }
    }
}

async fn resolve_start(
    broker: &Broker,
    channel: &Channel,
    start: &Start,
    filter: &Filter,
) -> Result<Resolved, Unavailable> {
    if !channel.log().ready(RESOLVE_TIMEOUT).await {
        return Err(Unavailable);
    }
    channel.log().resolve(start, filter, broker.config().query.scan_events).await
}

fn stream(
    channel: &Channel,
    config: &ChannelConfig,
    resolved: Resolved,
    filter: Filter,
    mut admission: Admission,
    rhythm: Rhythm,
    start: &Start,
) -> Response<Answer> {
    let (log, metrics) = (Arc::clone(channel.log()), Arc::clone(channel.metrics()));
    admission.begin(start.label());
    let Resolved { incarnation, position, gap } = resolved;
    let mut subscriber = Subscriber::new(log, metrics, filter, position, incarnation);
    // A client that is disconnected before its first event must resume at its start position (docs/adr/0002).
    let told = match &gap {
        Some(gap) => subscriber.tell(gap),
        None => subscriber.tell_cursor(),
    };
    let first = [frame::opening(jittered_retry(rhythm.retry_ms)), told].concat().into();
    let grant = Grant::for_age(config.delivery.max_age_seconds);
    let opening = Opening { subscriber, admission, grant, rhythm, first };
    let mut response = stream_head(Response::new(Answer::Stream(Box::new(opening))));
    if let Some(gap) = gap {
        response.headers_mut().insert(GAP_HEADER, HeaderValue::from_static(gap.reason.as_str()));
    }
    response
}

fn rhythm(delivery: &Delivery, params: &Params) -> Result<Rhythm, Problem> {
    let heartbeat = match params.one("heartbeat")? {
        None | Some("comment") => HeartbeatStyle::Comment,
        Some("event") => HeartbeatStyle::Event,
        Some(_) => {
            return Err(Problem::field("heartbeat", "heartbeat must be event or comment."));
        }
    };
    let Delivery { heartbeat_seconds, retry_milliseconds: retry_ms, .. } = *delivery;
    Ok(Rhythm { heartbeat_seconds, heartbeat, retry_ms })
}

/// Tells the client to reconnect later. By default with status 200, because `EventSource` does not reconnect after another status.
fn turn_away(overload: Overload, reason: &'static str, delivery: &Delivery) -> Response<Answer> {
    let retry = jittered_retry(delivery.retry_milliseconds.max(MIN_OVERLOAD_RETRY_MS));
    match overload {
        Overload::Retry => {
            let frames = [frame::opening(retry), frame::closing(reason, retry)].concat();
            stream_head(Response::new(full(frames)))
        }
        Overload::Status => {
            let detail =
                "The broker cannot accept this subscriber at the moment. Retry after Retry-After.";
            Problem::unavailable(reason, detail)
                .retry_after(Duration::from_millis(retry))
                .into_response()
        }
    }
}

fn stream_head(mut response: Response<Answer>) -> Response<Answer> {
    set(
        response.headers_mut(),
        &[
            (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store, no-transform"),
            (HeaderName::from_static("x-accel-buffering"), "no"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CONTENT_SECURITY_POLICY, "sandbox"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        ],
    );
    response
}

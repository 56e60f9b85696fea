//! `GET …/events`: opens a stream, or tells the client to reconnect later.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use eventcast_crds::config::{Delivery, Overload};
use eventcast_wire::{filter::Filter, frame, trace_context::TraceContext};
use http::{HeaderName, HeaderValue, Method, Response, header};
use tokio::time::{Instant, timeout};

use super::{
    Answer,
    channel_request::ChannelRequest,
    empty, full,
    params::{Params, known},
    problem::{Kind, Problem},
    record::{Reason, protocol},
    route, set,
};
use crate::{
    access::AuthMethod,
    broker::Broker,
    channel::Channel,
    clock::{now_millis, now_nanos},
    cluster::{Exceeded, StreamPermit},
    fanout::{
        HeartbeatStyle, RequestOrigin, StreamSettings, Subscriber, Subscription, jittered_retry,
    },
    identity::RandomId,
    log::{Log, Position, Resolved, Start, Unavailable},
    sessions::{Admission, AdmissionRequest, Refusal, SessionInfo},
    spans::SubscribeSpan,
};

/// How long the log may take to resolve the start position.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The shortest reconnect delay of a client that was refused, in milliseconds, before jitter.
const MIN_REFUSAL_RETRY_MS: u64 = 2000;
/// The reason of a gap at the start, for clients that read headers.
const GAP_HEADER: HeaderName = HeaderName::from_static("eventcast-gap");

/// The topics of a stream that was narrowed to its grant.
const TOPICS_HEADER: HeaderName = HeaderName::from_static("eventcast-topics");

/// The filter of all streams that get everything.
static EVERYTHING: LazyLock<Arc<Filter>> = LazyLock::new(|| Arc::new(Filter::everything()));

pub(super) async fn handle(request: ChannelRequest<'_>) -> Result<Response<Answer>, Problem> {
    let (broker, channel, headers) = (request.broker, request.channel, &request.head.headers);
    let config = channel.config();
    let delivery = &config.delivery;
    let params = request.params(&known::SUBSCRIBE)?;
    let filter = request.filter(&params, false)?;
    let start = params.start(headers, &delivery.from, now_nanos())?;
    let settings = stream_settings(delivery, &params)?;
    let topics = request.narrowed_topics(&filter);
    if request.head.method == Method::HEAD {
        return Ok(with_topics(stream_head(Response::new(empty())), topics));
    }
    let is_probe = request.grant.auth_method == AuthMethod::Probe;
    let mut span =
        SubscribeSpan::begin(channel.key(), route::EVENTS, request.trace.as_ref(), start.label());
    let metrics = || if is_probe { Arc::clone(broker.probe_metrics()) } else { channel.metrics() };
    let limits = broker.config().limits.clone();
    let filter = if filter.is_empty() { Arc::clone(&EVERYTHING) } else { Arc::new(filter) };
    let admission = admission_request(&request, &filter);
    let permit = match admit_within_quota(&request) {
        Ok(permit) => permit,
        Err(exceeded) => {
            metrics().rejected("quota");
            refused(span, Kind::STREAM_QUOTA);
            return Ok(refuse_after(limits.overload, Kind::STREAM_QUOTA, quota_retry(&exceeded)));
        }
    };
    let admission = AdmissionRequest { quota: permit, ..admission };
    let mut admission = match broker.sessions.admit(admission, &limits, metrics()) {
        Ok(admission) => admission,
        Err(refusal) => {
            metrics().rejected(refusal.label());
            refused(span, kind_of(refusal));
            return Ok(refuse(limits.overload, kind_of(refusal), delivery));
        }
    };
    let log = channel.log().lease();
    // While the log was parked, it may have had no series of its own.
    let metrics = metrics();
    admission.count_in(&metrics);
    let resolved = timeout(RESOLVE_TIMEOUT, resolve(broker, &log, &start, &filter)).await;
    let Ok(Ok(Resolved { incarnation, position, gap })) = resolved else {
        metrics.rejected("unavailable");
        refused(span, Kind::UNAVAILABLE);
        return Ok(refuse(limits.overload, Kind::UNAVAILABLE, delivery));
    };
    admission.begin(start.label());
    if is_probe && !relay_probe(&request, &admission).await {
        refused(span, Kind::UNAVAILABLE);
        return Ok(refuse(limits.overload, Kind::UNAVAILABLE, delivery));
    }
    let session = admission.session().info().id;
    if let Some(span) = &mut span {
        span.resolved(replay_source(&log, position), gap.as_ref().map(|gap| gap.reason.as_str()));
    }
    let mut subscriber = Subscriber::new(log, metrics, filter, position, incarnation);
    let trace = span.as_ref().map(|span| span.context());
    let trace = trace.or_else(|| request.trace.as_ref().map(|trace| trace.context));
    if let Some(trace) = trace.filter(TraceContext::is_sampled) {
        subscriber.set_trace(trace);
    }
    // A client that is cut off before its first event must resume where it began (docs/adr/0002).
    let start_frame = match &gap {
        Some(gap) => subscriber.gap_frame(gap),
        None => subscriber.cursor_frame(),
    };
    let opening = frame::opening(jittered_retry(settings.retry_ms));
    let subscription = Subscription {
        subscriber,
        admission,
        max_age_end: max_age_end(delivery.max_age_seconds),
        renewal: channel.access().tickets().renewal_of(&request.grant, session),
        noticed: None,
        settings,
        preamble: [opening, start_frame].concat().into(),
        span,
        origin: RequestOrigin {
            client: request.client_address,
            route: route::EVENTS,
            began: Instant::now(),
        },
    };
    let mut response = stream_head(Response::new(Answer::Stream(Box::new(subscription))));
    if let Some(gap) = gap {
        response.headers_mut().insert(GAP_HEADER, HeaderValue::from_static(gap.reason.as_str()));
    }
    Ok(with_topics(response, topics))
}

/// Ends the span of a subscription that was refused.
fn refused(span: Option<Box<SubscribeSpan>>, kind: &'static Kind) {
    if let Some(mut span) = span {
        span.refused(kind.name);
    }
}

/// Where the first events after `position` are read from.
fn replay_source(log: &Log, position: Position) -> &'static str {
    let (low, high) = log.tail().bounds();
    if position.sequence >= high {
        "none"
    } else if position.sequence + 1 >= low {
        "tail"
    } else {
        "pages"
    }
}

/// Adds the header with the topics that the client gets, if its grant does not cover everything.
fn with_topics(mut response: Response<Answer>, topics: Option<HeaderValue>) -> Response<Answer> {
    if let Some(topics) = topics {
        response.headers_mut().insert(TOPICS_HEADER, topics);
    }
    response
}

/// When a stream that begins now reaches its maximum age, less up to 20 % of jitter; 0: never.
fn max_age_end(max_age_seconds: u64) -> Option<Instant> {
    let ms = max_age_seconds * 1000;
    let age = (ms > 0).then(|| Duration::from_millis(fastrand::u64(ms - ms / 5..=ms)));
    age.map(|age| Instant::now() + age)
}

fn admission_request(request: &ChannelRequest<'_>, filter: &Arc<Filter>) -> AdmissionRequest {
    let config = request.channel.config();
    let grant = &request.grant;
    let is_probe = grant.auth_method == AuthMethod::Probe;
    let id = RandomId::generate();
    let now = now_millis();
    let left = |at: i64| {
        Duration::from_millis(
            u64::try_from(at.saturating_mul(1000).saturating_sub(now)).unwrap_or(0),
        )
    };
    AdmissionRequest {
        session: SessionInfo {
            id,
            channel: Arc::clone(request.channel.key()),
            identity: grant.identity.clone(),
            renewal: grant.ticket.map_or(id, |(ticket, _)| ticket),
            filter: Arc::clone(filter),
            protocol: protocol(request.head.version),
            began_at: now,
            issued_at: grant.issued_at,
            stall_timeout: Duration::from_secs(config.delivery.stall_seconds),
            kill: request.context.kill.clone(),
            mailbox: is_probe.then(Box::default),
        },
        client: request.client(),
        connection: Arc::clone(&request.context.connection),
        grant_left: grant.expires.map(left),
        limit: if is_probe { 0 } else { config.delivery.max_subscribers },
        quota: None,
    }
}

/// Relays the events of a delivery probe to its stream until the stream ends. Returns false if they cannot be received.
async fn relay_probe(request: &ChannelRequest<'_>, admission: &Admission) -> bool {
    let probes = request.channel.cluster().probes.clone();
    let Some(events) = probes.receive(admission.session().info().renewal).await else {
        return false;
    };
    let (stream, checked) = (admission.weak_session(), admission.weak_session());
    let give = move |number| {
        if let Some(session) = stream.upgrade() {
            session.send_mail(frame::probe(number));
        }
    };
    tokio::spawn(probes.relay(events, move || checked.strong_count() > 0, give));
    true
}

/// A permit of the quota of the client, if it has one.
fn admit_within_quota(request: &ChannelRequest<'_>) -> Result<Option<StreamPermit>, Exceeded> {
    let Some((identity, quota)) = request.quota() else { return Ok(None) };
    let quotas = &request.channel.cluster().quotas;
    quotas.admit(&identity, &quota, Instant::now()).map(Some)
}

/// The reconnect delay, in milliseconds, of a client whose quota is used up. Jittered, so that its tabs try again at different times.
fn quota_retry(exceeded: &Exceeded) -> u64 {
    let ms = u64::try_from(exceeded.wait.as_millis()).unwrap_or(30_000);
    fastrand::u64(ms..=2 * ms)
}

/// Refuses a stream of a channel that is moving to other brokers. `limits.overload` does not apply: the client must reconnect.
pub(super) fn refuse_moving(channel: &Channel) -> Response<Answer> {
    channel.metrics().rejected(Kind::MOVING.name);
    refuse(Overload::Retry, Kind::MOVING, &channel.config().delivery)
}

/// Refuses a stream whose credential cannot be verified now.
pub(super) fn refuse_unavailable(broker: &Broker, channel: &Channel) -> Response<Answer> {
    channel.metrics().rejected(Kind::UNAVAILABLE.name);
    refuse(broker.config().limits.overload, Kind::UNAVAILABLE, &channel.config().delivery)
}

async fn resolve(
    broker: &Broker,
    log: &Arc<Log>,
    start: &Start,
    filter: &Filter,
) -> Result<Resolved, Unavailable> {
    if !log.ready(RESOLVE_TIMEOUT).await {
        return Err(Unavailable);
    }
    log.resolve(start, filter, broker.config().query.scan_events).await
}

fn stream_settings(delivery: &Delivery, params: &Params) -> Result<StreamSettings, Problem> {
    let heartbeat = match params.one("heartbeat")? {
        None | Some("comment") => HeartbeatStyle::Comment,
        Some("event") => HeartbeatStyle::Event,
        Some(_) => {
            return Err(Problem::field("heartbeat", "heartbeat must be event or comment."));
        }
    };
    let Delivery { heartbeat_seconds, retry_milliseconds: retry_ms, .. } = *delivery;
    Ok(StreamSettings { heartbeat_seconds, heartbeat, retry_ms })
}

fn kind_of(refusal: Refusal) -> &'static Kind {
    match refusal {
        Refusal::Draining => Kind::STREAM_DRAINING,
        Refusal::Connections | Refusal::Process | Refusal::Address | Refusal::Channel => {
            Kind::STREAM_OVERLOADED
        }
    }
}

/// Refuses a stream for now. By default with status 200 and closing frames, whose reason is the name of `kind`: browsers do not
/// reconnect after any other status.
fn refuse(overload: Overload, kind: &'static Kind, delivery: &Delivery) -> Response<Answer> {
    let retry = jittered_retry(delivery.retry_milliseconds.max(MIN_REFUSAL_RETRY_MS));
    refuse_after(overload, kind, retry)
}

fn refuse_after(overload: Overload, kind: &'static Kind, retry: u64) -> Response<Answer> {
    match overload {
        Overload::Retry => {
            let frames = [frame::opening(retry), frame::closing(kind.name, retry)].concat();
            let mut response = stream_head(Response::new(full(frames)));
            response.extensions_mut().insert(Reason(kind.name.into()));
            response
        }
        Overload::Status => {
            let detail =
                "The broker cannot accept this subscriber at the moment. Retry after Retry-After.";
            Problem::new(kind, detail).retry_after(Duration::from_millis(retry)).into_response()
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

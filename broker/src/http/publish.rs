//! `POST …/events`: reads and checks the events of a request and appends them to the log. A `201` means that the log has acknowledged
//! every event.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use eventcast_wire::event::Draft;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Body;
use serde::Serialize;
use tokio::time::{Instant, timeout};

use super::{
    Answer, RequestBody, accept,
    channel_request::ChannelRequest,
    drafts::{self, Defaults, Format},
    empty, json,
    params::known,
    problem::{Kind, Problem},
    record::Traced,
};
use crate::{
    broker::in_kib,
    budget::Share,
    channel::Channel,
    log::{AppendOutcome, Receipt},
    metrics::ChannelMetrics,
    sockets::Connection,
    spans::{Parent, SendSpan},
};

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a pause within a body may be.
const BODY_PAUSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a body waits for the budget of bodies, each time that it grows.
const BODY_BUDGET_TIMEOUT: Duration = Duration::from_secs(2);
/// How long, and how many bytes, the rest of a body that is too large is read, so that the client receives the response.
const DISCARD_BODY_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_DISCARDED_BODY_BYTES: usize = 32 << 20;

/// The cursor of the stored event, for clients that do not read the body.
const CURSOR_HEADER: HeaderName = HeaderName::from_static("eventcast-cursor");

#[derive(Serialize)]
struct Stored {
    cursor: Option<String>,
    duplicate: bool,
}

impl From<&Receipt> for Stored {
    fn from(r: &Receipt) -> Self {
        Self { cursor: r.cursor.map(|c| c.to_string()), duplicate: r.duplicate }
    }
}

/// A stored event of a partly failed batch.
#[derive(Serialize)]
struct StoredLine {
    line: usize,
    #[serde(flatten)]
    stored: Stored,
}

#[derive(Serialize)]
struct StoredBatch {
    events: Vec<Stored>,
}

pub(super) async fn handle(
    request: ChannelRequest<'_>,
    body: RequestBody,
) -> Result<Response<Answer>, Problem> {
    let channel = request.channel;
    let replies = wants_event_in_reply(&request.head.headers);
    // A request counts as one event until its events are known.
    let mut counts = PublishCount { metrics: channel.metrics(), uncounted: 1 };
    match read(&request, body).await {
        Ok(mut batch) => {
            counts.uncounted = batch.drafts.len();
            take_quota(&request, batch.drafts.len()).inspect_err(|_| {
                counts.count("throttled", batch.drafts.len());
            })?;
            let span = begin_span(&request, &mut batch);
            let traced = span.as_ref().map(|span| Traced(span.context()));
            let stored = store(channel, batch, &mut counts, span).await;
            let mut response = match stored {
                Ok(stored) if replies => without_body(stored),
                Ok(stored) => stored,
                Err(problem) => problem.into_response(),
            };
            if let Some(traced) = traced {
                response.extensions_mut().insert(traced);
            }
            Ok(response)
        }
        Err(problem) => {
            let busy = problem.status() == StatusCode::SERVICE_UNAVAILABLE;
            counts.count(if busy { "busy" } else { "refused" }, 1);
            Err(problem)
        }
    }
}

/// Begins the span of a request. Events without their own trace context get that of the request.
fn begin_span(request: &ChannelRequest<'_>, batch: &mut Batch) -> Option<SendSpan> {
    let parent = request.trace.as_ref();
    let span = SendSpan::begin(request.channel.key(), parent, &batch.drafts);
    let trace = span.as_ref().map(SendSpan::context);
    let trace = trace.or_else(|| parent.map(|Parent { context, .. }| *context));
    for draft in &mut batch.drafts {
        draft.trace = draft.trace.or(trace);
    }
    span
}

/// Counts `events` in the quota of the client, if it has one.
fn take_quota(request: &ChannelRequest<'_>, events: usize) -> Result<(), Problem> {
    let Some((identity, quota)) = request.quota() else { return Ok(()) };
    let quotas = &request.channel.cluster().quotas;
    quotas.publish(&identity, &quota, events, Instant::now()).map_err(|exceeded| {
        let detail =
            "The quota of this client is used up (access.quotas). Retry after Retry-After.";
        let wait = exceeded.wait + Duration::from_millis(fastrand::u64(0..1000));
        Problem::new(Kind::QUOTA, detail).with("limit", exceeded.limit).retry_after(wait)
    })
}

/// Counts each event of a request once. Events that are not counted when this is dropped were abandoned: the publisher
/// disconnected, and hyper dropped the request.
struct PublishCount {
    metrics: Arc<ChannelMetrics>,
    uncounted: usize,
}

impl PublishCount {
    fn count(&mut self, outcome: &'static str, events: usize) {
        self.metrics.published(outcome, events);
        self.uncounted = self.uncounted.saturating_sub(events);
    }
}

impl Drop for PublishCount {
    fn drop(&mut self) {
        if self.uncounted > 0 {
            self.metrics.published("abandoned", self.uncounted);
        }
    }
}

/// Whether the sender would parse the body of a successful response as an event in reply. Channels and brokers of Knative do, and announce
/// it with `Prefer: reply` (Knative Eventing, data plane contract). They treat any other body as an error and send the event again.
fn wants_event_in_reply(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|preference| {
        let name = preference.split([';', '=']).next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("reply")
    })
}

/// `202`, which means "accepted, without an event in reply" in that contract. The cursor is in a header.
fn without_body(stored: Response<Answer>) -> Response<Answer> {
    let (mut head, _) = stored.into_parts();
    head.status = StatusCode::ACCEPTED;
    head.headers.remove(header::CONTENT_TYPE);
    Response::from_parts(head, empty())
}

/// The events of a request, ready to be stored.
struct Batch {
    drafts: Vec<Draft>,
    /// The request's idempotency key.
    key: String,
    /// Whether the response is a list.
    is_list: bool,
    deadline: Duration,
    /// The share of the budget of bodies, held until the events are acknowledged.
    share: Share,
}

async fn read(request: &ChannelRequest<'_>, body: RequestBody) -> Result<Batch, Problem> {
    let config = request.channel.config();
    let headers = &request.head.headers;
    let rules = &config.publishing;
    if !rules.enabled {
        let detail = "Publishing over HTTP is disabled for this channel. Publish to NATS.";
        return Err(Problem::publishing_disabled(detail).close());
    }
    let params = request.params(&known::PUBLISH)?;
    accept::refuse_stream(headers)?;
    let format = Format::of(headers)?;
    let fresh_key = ulid::Ulid::generate().to_string();
    let defaults = Defaults::of(&params, headers, fresh_key)?;
    let mut share = request.broker.bodies.open(request.client());
    let expects = headers.contains_key(header::EXPECT);
    let body =
        read_body(body, format.limit(rules), expects, &mut share, &request.context.connection)
            .await?;
    let mut drafts = drafts::read(format, headers, body, &defaults, rules)?;
    drafts::grant::apply(&mut drafts, &request.grant, format.is_batch())?;
    let deadline = Duration::from_secs(rules.deadline_seconds);
    Ok(Batch { drafts, key: defaults.key, is_list: format.is_batch(), deadline, share })
}

async fn store(
    channel: &Channel,
    batch: Batch,
    counts: &mut PublishCount,
    span: Option<SendSpan>,
) -> Result<Response<Answer>, Problem> {
    let Batch { drafts, key, is_list, deadline, share: _share } = batch;
    let count = drafts.len();
    if let Err(wait) = channel.rate_limit().take(count) {
        counts.count("throttled", count);
        if let Some(span) = span {
            span.end("throttled", true, None);
        }
        return Err(rate_limited(wait));
    }
    let began = Instant::now();
    let appends = span.as_ref().map(SendSpan::appends);
    let AppendOutcome { receipts, error } =
        Box::pin(channel.log().append(drafts, deadline, appends)).await;
    let (metrics, seconds) = (channel.metrics(), began.elapsed().as_secs_f64());
    metrics.publish_seconds.observe(seconds);
    if let Some(span) = &span {
        metrics.publish_exemplars.record(seconds, &span.context());
    }
    let stored = receipts.iter().flatten().count();
    let duplicates = receipts.iter().flatten().filter(|r| r.duplicate).count();
    counts.count("duplicate", duplicates);
    counts.count("stored", stored - duplicates);
    if let Some(span) = span {
        let last = receipts.iter().flatten().last().and_then(|receipt| receipt.cursor);
        let outcome = match &error {
            Some((_, error)) => error.label(),
            None if duplicates == count => "duplicate",
            None => "stored",
        };
        span.end(outcome, error.is_some(), last.map(|cursor| cursor.sequence));
    }
    let Some((failed, error)) = error else {
        let mut events: Vec<Stored> = receipts.iter().flatten().map(Into::into).collect();
        let mut response = match events.pop() {
            Some(one) if !is_list => json(StatusCode::CREATED, &one),
            last => {
                events.extend(last);
                json(StatusCode::CREATED, &StoredBatch { events })
            }
        };
        // Of a batch, the last cursor: it covers all events of the batch.
        if let Some(cursor) = receipts.iter().flatten().last().and_then(|receipt| receipt.cursor)
            && let Ok(cursor) = HeaderValue::try_from(cursor.to_string())
        {
            response.headers_mut().insert(CURSOR_HEADER, cursor);
        }
        return Ok(response);
    };
    counts.count(error.label(), count - stored);
    let problem = Problem::from(&error).with("idempotency_key", &key);
    if !is_list {
        return Err(problem);
    }
    let line = |(i, receipt): (usize, &Option<Receipt>)| {
        receipt.as_ref().map(|r| StoredLine { line: i + 1, stored: r.into() })
    };
    let events: Vec<_> = receipts.iter().enumerate().filter_map(line).collect();
    let problem = problem.with("events", events);
    Err(if problem.status().is_client_error() { problem.with("line", failed + 1) } else { problem })
}

/// Reads the whole body, bounded in size and time. Takes as many bytes of the budget as the body has.
async fn read_body(
    mut body: RequestBody,
    limit: usize,
    expects: bool,
    share: &mut Share,
    connection: &Arc<Connection>,
) -> Result<Bytes, Problem> {
    let refusal = || {
        Problem::too_large("The body is larger than this channel allows. Send less.", Some(limit))
            .close()
    };
    if body.size_hint().lower() > limit as u64 {
        // A client that waits for "100 Continue" sends nothing. Reading would make hyper ask it to.
        if !expects {
            discard_body(body).await;
        }
        return Err(refusal());
    }
    let most = body.size_hint().exact().map_or(limit, |n| usize::try_from(n).unwrap_or(limit));
    let reads = connection.read_body();
    let read = async {
        let mut out = BytesMut::new();
        while let Some(frame) =
            timeout(BODY_PAUSE_TIMEOUT, body.frame()).await.map_err(|_| body_timeout())?
        {
            let frame = frame.map_err(|_| Problem::incomplete_body())?;
            let Ok(data) = frame.into_data() else { continue };
            let length = out.len() + data.len();
            if length > limit {
                return Ok::<_, Problem>(None);
            }
            // The share grows with the buffer, not with Content-Length, so that a client cannot take the budget by announcing a large body.
            let buffer = length.next_power_of_two().min(most);
            timeout(BODY_BUDGET_TIMEOUT, share.grow_to(in_kib(buffer)))
                .await
                .map_err(|_| over_budget())?;
            out.extend_from_slice(&data);
        }
        Ok::<_, Problem>(Some(out.freeze()))
    };
    let read = tokio::select! {
        read = timeout(BODY_TIMEOUT, read) => read.map_err(|_| body_timeout())??,
        () = connection.evicted() => return Err(over_budget()),
    };
    drop(reads);
    match read {
        Some(whole) => Ok(whole),
        None => {
            discard_body(body).await;
            Err(refusal())
        }
    }
}

/// Reads the rest of a body for a while and discards it. Closing a connection with unread bytes resets it, and the client may lose
/// the response (RFC 9112, section 9.6).
async fn discard_body(mut body: RequestBody) {
    let read = async {
        let mut left = MAX_DISCARDED_BODY_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    if timeout(DISCARD_BODY_TIMEOUT, read).await.is_err() {
        tracing::debug!("stopped reading a body that is too large");
    }
}

fn over_budget() -> Problem {
    let detail = "The event was not stored: the broker has no memory for more requests at the moment (limits.bodyBytes). Retry \
         after Retry-After.";
    let wait = Duration::from_millis(fastrand::u64(1000..3000));
    Problem::new(Kind::BUSY, detail).retry_after(wait).close()
}

fn body_timeout() -> Problem {
    let detail = "The body did not arrive in time. Send it within 30 seconds, without pauses longer than 10.";
    Problem::new(Kind::BODY_TIMEOUT, detail).close()
}

fn rate_limited(wait: Duration) -> Problem {
    let detail = "The channel has reached its rate limit (publishing.maxEventsPerSecond). Retry after Retry-After.";
    // Rounded up, with jitter, because all clients that were refused together would retry together.
    let wait = wait + Duration::from_millis(fastrand::u64(1000..2000));
    Problem::new(Kind::TOO_FAST, detail).retry_after(wait)
}

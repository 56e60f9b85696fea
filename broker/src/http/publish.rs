//! `POST …/events`: reads, checks, appends; answers 201 only for what the log has acknowledged.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use eventcast_wire::event::Draft;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use serde::Serialize;
use tokio::time::{Instant, timeout};

use super::{
    Answer, accept, client,
    drafts::{self, Defaults, Format, too_large},
    empty, json,
    params::{Params, known},
    problem::Problem,
};
use crate::{
    broker::{Broker, in_kib},
    budget::Share,
    channel::Channel,
    log::{Outcome, PublishError, Receipt},
    metrics::ChannelMetrics,
    sockets::{Connection, Remote},
};

/// A body must arrive within this, and no pause in it may be longer than the next.
const BODY: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(10);
/// How long a body waits for room in the budget, each time.
const ROOM: Duration = Duration::from_secs(2);
/// What is read of a body that is too large, so that its sender sees the answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 32 << 20;

/// The cursor of what was stored, for those who do not read the body.
const CURSOR: HeaderName = HeaderName::from_static("eventcast-cursor");

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

/// One event of a batch that was not stored as a whole.
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
    broker: &Broker,
    channel: &Channel,
    remote: &Remote,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Problem> {
    let replies = wants_event_in_reply(request.headers());
    // Before its events are known a request counts as one.
    let mut tally = Tally { metrics: channel.metrics(), left: 1 };
    match read(broker, channel, remote, request).await {
        Ok(batch) => {
            tally.left = batch.drafts.len();
            let stored = store(channel, batch, &mut tally).await?;
            Ok(if replies { without_body(stored) } else { stored })
        }
        Err(problem) => {
            let busy = problem.status() == StatusCode::SERVICE_UNAVAILABLE;
            tally.count(if busy { "busy" } else { "refused" }, 1);
            Err(problem)
        }
    }
}

/// Counts each event of a request once. What nobody has counted when the request ends was abandoned: the publisher went away, and the
/// request was dropped with its connection.
struct Tally<'a> {
    metrics: &'a ChannelMetrics,
    left: usize,
}

impl Tally<'_> {
    fn count(&mut self, outcome: &'static str, events: usize) {
        self.metrics.published(outcome, events);
        self.left = self.left.saturating_sub(events);
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        if self.left > 0 {
            self.metrics.published("abandoned", self.left);
        }
    }
}

/// Whether the sender takes the body of a success for an event in reply, as Knative's channels and brokers do and say
/// (`Prefer: reply`, Knative Eventing's data plane contract). Any other body is an error to them, and they send the event again.
fn wants_event_in_reply(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|preference| {
        let name = preference.split([';', '=']).next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("reply")
    })
}

/// `202`, by which that contract means "stored, and no event in reply"; the cursor is in a header.
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
    /// Whether the answer is a list.
    is_list: bool,
    deadline: Duration,
    /// KiB in the budget of bodies, until the events are acknowledged.
    room: Share,
}

async fn read(
    broker: &Broker,
    channel: &Channel,
    remote: &Remote,
    request: Request<Incoming>,
) -> Result<Batch, Problem> {
    let config = channel.config();
    let rules = &config.publishing;
    if !rules.enabled {
        let detail = "Publishing over HTTP is switched off for this channel: publish to NATS.";
        return Err(
            Problem::new(StatusCode::FORBIDDEN, "publishing-disabled", "Not here", detail).close()
        );
    }
    let params = Params::of(request.uri(), request.headers(), &known::PUBLISH)?;
    accept::refuse_stream(request.headers())?;
    let format = Format::of(request.headers())?;
    let fresh_key = ulid::Ulid::generate().to_string();
    let defaults = Defaults::of(&params, request.headers(), fresh_key)?;
    let (head, body) = request.into_parts();
    let mut room = broker.bodies.open(client(broker, remote, &head.headers));
    let expects = head.headers.contains_key(header::EXPECT);
    let body = whole(body, format.limit(rules), expects, &mut room, &remote.connection).await?;
    let drafts = drafts::read(format, &head.headers, body, &defaults, rules)?;
    let deadline = Duration::from_secs(rules.deadline_seconds);
    Ok(Batch { drafts, key: defaults.key, is_list: format.is_batch(), deadline, room })
}

async fn store(
    channel: &Channel,
    batch: Batch,
    tally: &mut Tally<'_>,
) -> Result<Response<Answer>, Problem> {
    let Batch { drafts, key, is_list, deadline, room: _room } = batch;
    let count = drafts.len();
    if let Err(wait) = channel.pace().take(count) {
        tally.count("throttled", count);
        return Err(too_fast(wait));
    }
    let began = Instant::now();
    let Outcome { receipts, error } = Box::pin(channel.log().append(drafts, deadline)).await;
    channel.metrics().publish_seconds.observe(began.elapsed().as_secs_f64());
    let stored = receipts.iter().flatten().count();
    let duplicates = receipts.iter().flatten().filter(|r| r.duplicate).count();
    tally.count("duplicate", duplicates);
    tally.count("stored", stored - duplicates);
    let Some((failed, error)) = error else {
        let mut events: Vec<Stored> = receipts.iter().flatten().map(Into::into).collect();
        let mut response = match events.pop() {
            Some(one) if !is_list => json(StatusCode::CREATED, &one),
            last => {
                events.extend(last);
                json(StatusCode::CREATED, &StoredBatch { events })
            }
        };
        // Of a batch the last: who has seen it has seen all.
        if let Some(cursor) = receipts.iter().flatten().last().and_then(|receipt| receipt.cursor)
            && let Ok(cursor) = HeaderValue::try_from(cursor.to_string())
        {
            response.headers_mut().insert(CURSOR, cursor);
        }
        return Ok(response);
    };
    tally.count(label(&error), count - stored);
    let problem = refusal(&error).with("idempotency_key", &key);
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

/// The body, bounded in size and time, with as much of the budget as it has bytes.
async fn whole(
    mut body: Incoming,
    limit: usize,
    expects: bool,
    room: &mut Share,
    connection: &Arc<Connection>,
) -> Result<Bytes, Problem> {
    let refusal =
        || too_large("The body is larger than this channel takes: send less.", Some(limit)).close();
    if body.size_hint().lower() > limit as u64 {
        // A client that waits for "100 Continue" sends nothing; reading would ask it to.
        if !expects {
            linger(body).await;
        }
        return Err(refusal());
    }
    let most = body.size_hint().exact().map_or(limit, |n| usize::try_from(n).unwrap_or(limit));
    let reads = connection.read_body();
    let read = async {
        let mut out = BytesMut::new();
        while let Some(frame) = timeout(PAUSE, body.frame()).await.map_err(|_| slow())? {
            let frame = frame.map_err(|_| {
                Problem::field("body", "The body ended before its announced length.").close()
            })?;
            let Ok(data) = frame.into_data() else { continue };
            let length = out.len() + data.len();
            if length > limit {
                return Ok(None);
            }
            // As the bytes come, and as the buffer grows: what is only announced takes nothing from others.
            let buffer = length.next_power_of_two().min(most);
            timeout(ROOM, room.grow_to(in_kib(buffer))).await.map_err(|_| no_room())?;
            out.extend_from_slice(&data);
        }
        Ok(Some(out.freeze()))
    };
    let read = tokio::select! {
        read = timeout(BODY, read) => read.map_err(|_| slow())??,
        () = connection.told_to_leave() => return Err(no_room()),
    };
    drop(reads);
    match read {
        Some(whole) => Ok(whole),
        None => {
            linger(body).await;
            Err(refusal())
        }
    }
}

/// Reads on for a while, and forgets it: a connection that is closed with bytes unread is reset, and the reset may destroy the
/// answer before the client has seen it (RFC 9112, section 9.6).
async fn linger(mut body: Incoming) {
    let read = async {
        let mut left = LINGER_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    if timeout(LINGER, read).await.is_err() {
        tracing::debug!("a body that is too large goes on");
    }
}

fn no_room() -> Problem {
    let detail = "The event was not stored: the broker has no room for more requests now (limits.bodyBytes). Repeat it after Retry-After.";
    let wait = Duration::from_millis(fastrand::u64(1000..3000));
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Not stored", detail)
        .retry_after(wait)
        .close()
}

fn slow() -> Problem {
    let detail =
        "The body did not arrive in time: send it within 30 seconds, without pauses over 10.";
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", "The body is too slow", detail)
        .close()
}

fn too_fast(wait: Duration) -> Problem {
    let detail = "The channel takes no more events in a second (publishing.maxEventsPerSecond). Repeat after Retry-After.";
    // Rounded up, and not in step: all who were refused together would come together again.
    let wait = wait + Duration::from_millis(fastrand::u64(1000..2000));
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-fast", "Not stored", detail).retry_after(wait)
}

fn label(error: &PublishError) -> &'static str {
    match error {
        PublishError::Unavailable => "unavailable",
        PublishError::NoStream => "no-stream",
        PublishError::Busy => "busy",
        PublishError::Throttled => "throttled",
        PublishError::Unknown => "unknown",
        PublishError::Full(_) => "full",
        PublishError::TooLarge | PublishError::NoTtl | PublishError::Refused(_) => "refused",
    }
}

fn refusal(error: &PublishError) -> Problem {
    let wait = |s| Duration::from_secs(fastrand::u64(s..=2 * s));
    match error {
        PublishError::Unavailable | PublishError::NoStream | PublishError::Busy => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            label(error),
            "Not stored",
            format!("The event was not stored: {error}. Repeat it after Retry-After."),
        )
        .retry_after(wait(1)),
        PublishError::Throttled => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "throttled",
            "Not stored",
            "NATS takes no more events for now. Repeat after Retry-After.",
        )
        .retry_after(wait(1)),
        PublishError::Unknown => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "outcome-unknown",
            "Perhaps stored",
            "NATS did not answer in time, so the event may be stored or not. Repeat the request with the \
             Idempotency-Key of idempotency_key: then it is stored once.",
        ),
        PublishError::Full(why) => Problem::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "storage-full",
            "Not stored",
            format!("The storage of the channel or of NATS is full ({why}). Raise the limit or free space."),
        ),
        PublishError::TooLarge => too_large("The event is larger than the stream of the channel takes.", None),
        PublishError::NoTtl => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "no-ttl",
            "Not stored",
            "The stream of this channel takes no time to live: publish without, or set allow_msg_ttl on it.",
        )
        .with("field", "ttl"),
        PublishError::Refused(why) => Problem::new(
            StatusCode::BAD_GATEWAY,
            "refused",
            "Not stored",
            format!("NATS refuses the event: {why}."),
        ),
    }
}

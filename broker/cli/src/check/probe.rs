//! What a client sees of a channel: its description, what its credential grants, and a stream that is read for a while.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::{
    answers::Closing,
    channel::{Channel, Query, RequestError},
    client::Incoming,
    output,
    problem::Problem,
    stream::{Item, Parser},
};

/// How long the head and the first byte of a stream may take before they are held back.
pub(crate) const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);
/// What a browser accepts.
const ENCODINGS: &str = "gzip, deflate, br, zstd";
/// The interval of heartbeats of a channel that does not say otherwise, for brokers that do not tell it.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(15);
/// Time for the way through proxies.
const WAIT_MARGIN: Duration = Duration::from_secs(5);
/// The longest time for which a stream is read: more than the longest interval demands.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(600);
/// Bytes that come so soon after the first ones belong to the start of the stream.
const START_PERIOD: Duration = Duration::from_millis(500);

/// All that was seen.
#[derive(Debug, Default)]
pub(crate) struct Observation {
    /// Time until the description was there, and what it says of the log.
    pub(crate) described: Option<(Duration, String)>,
    /// The interval of heartbeats, if the broker or the cluster says.
    pub(crate) interval: Option<Duration>,
    /// What the credential grants, as the broker says.
    pub(crate) access: Option<Value>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) headers: HeaderMap,
    /// Time until the head and the first byte of the stream.
    pub(crate) head: Option<Duration>,
    pub(crate) first_byte: Option<Duration>,
    /// The longest silence after the start of the stream that ended with a heartbeat or an event.
    pub(crate) survived: Option<Duration>,
    /// How long the stream was read.
    pub(crate) waited: Duration,
    /// The reason that the broker gave for closing the stream.
    pub(crate) closing: Option<String>,
    /// Age of the stream when it was ended, and how long it was silent before.
    pub(crate) ended: Option<(Duration, Duration)>,
    /// Why there is no description, or no stream.
    pub(crate) refused: Option<Refusal>,
}

/// Why something was not answered.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// There was no answer.
    NoAnswer(String),
    Problem(Box<Problem>),
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused(problem) => Self::Problem(problem),
            error => Self::NoAnswer(error.to_string()),
        }
    }
}

/// Looks at a channel. The stream is read for `wait`; without it until a heartbeat arrives, at most as long as its interval demands.
pub(crate) async fn observe(channel: &Channel, wait: Option<Duration>) -> Observation {
    let mut seen = Observation::default();
    let began = Instant::now();
    match channel.get::<Value>("", &Query::default()).await {
        Ok(description) => {
            let state = description["state"].as_str().unwrap_or("unknown");
            seen.described = Some((began.elapsed(), state.to_owned()));
            seen.interval = description["heartbeat_seconds"].as_u64().map(Duration::from_secs);
        }
        Err(error) => {
            seen.refused = Some(error.into());
            return seen;
        }
    }
    seen.access = channel.get::<Value>("/access", &Query::default()).await.ok();
    let url = channel.url.shown();
    let limit = match wait {
        Some(wait) => {
            output::note(&format!("# reading {url} for {} s", wait.as_secs()));
            ReadLimit { longest: wait, until_heartbeat: false }
        }
        None => {
            let longest = longest_silence(seen.interval.unwrap_or(DEFAULT_INTERVAL)) + WAIT_MARGIN;
            let longest = longest.min(MAX_WAIT);
            let seconds = longest.as_secs();
            output::note(&format!(
                "# reading {url} until a heartbeat arrives, at most {seconds} s"
            ));
            ReadLimit { longest, until_heartbeat: true }
        }
    };
    stream(channel, limit, &mut seen).await;
    seen
}

/// How long a stream is read.
#[derive(Clone, Copy)]
struct ReadLimit {
    longest: Duration,
    until_heartbeat: bool,
}

/// How long a stream may be silent: heartbeats are randomised by a fifth.
pub(crate) fn longest_silence(interval: Duration) -> Duration {
    interval * 6 / 5
}

async fn stream(channel: &Channel, limit: ReadLimit, seen: &mut Observation) {
    let began = Instant::now();
    let mut query = Query::default();
    query.add("from", "latest");
    let encodings = (header::ACCEPT_ENCODING, HeaderValue::from_static(ENCODINGS));
    let opened =
        timeout(FIRST_BYTE_TIMEOUT, channel.open(&query, HeaderMap::from_iter([encodings]))).await;
    let response = match opened {
        Err(_) => return,
        Ok(Err(error)) => {
            seen.refused = Some(Refusal::NoAnswer(error.to_string()));
            return;
        }
        Ok(Ok(response)) => response,
    };
    seen.head = Some(began.elapsed());
    seen.status = Some(response.status());
    seen.headers = response.headers().clone();
    if !is_stream(&response) {
        if response.status() != StatusCode::OK {
            seen.refused = channel.refused(response).await.ok().map(Into::into);
        }
        return;
    }
    read(response.into_body(), began, limit, seen).await;
}

fn is_stream(response: &Response<Incoming>) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    response.status() == StatusCode::OK
        && kind.is_some_and(|kind| kind.starts_with(b"text/event-stream"))
}

/// The coding of a stream whose text cannot be read.
pub(crate) fn compression(headers: &HeaderMap) -> Option<&str> {
    let coding = headers.get(header::CONTENT_ENCODING)?.to_str().unwrap_or("unknown");
    (coding != "identity").then_some(coding)
}

async fn read(mut body: Incoming, began: Instant, limit: ReadLimit, seen: &mut Observation) {
    // Bytes that are compressed say when they come, not what they are.
    let mut parser = compression(&seen.headers).is_none().then(Parser::new);
    let mut items = Vec::new();
    let mut last_byte = began;
    loop {
        let until = began + seen.first_byte.unwrap_or_default() + limit.longest;
        let next = timeout(until.saturating_duration_since(Instant::now()), body.frame()).await;
        let now = Instant::now();
        match next {
            Err(_) => break,
            Ok(Some(Ok(frame))) => {
                let Some(bytes) = frame.data_ref().filter(|bytes| !bytes.is_empty()) else {
                    continue;
                };
                let silence = now - std::mem::replace(&mut last_byte, now);
                let first = *seen.first_byte.get_or_insert(now - began);
                if let Some(parser) = &mut parser {
                    if parser.feed(bytes, &mut items).is_err() {
                        break;
                    }
                    seen.closing = items.drain(..).find_map(closing);
                }
                if now - began > first + START_PERIOD {
                    seen.survived = seen.survived.max(Some(silence));
                    if limit.until_heartbeat {
                        break;
                    }
                }
            }
            Ok(None | Some(Err(_))) => {
                seen.ended = Some((now - began, now - last_byte));
                break;
            }
        }
        if seen.closing.is_some() {
            break;
        }
    }
    seen.waited = began.elapsed();
}

fn closing(item: Item) -> Option<String> {
    let Item::Event(event) = item else { return None };
    let data = (event.event_type == "eventcast.closing").then_some(event.data)?;
    let reason = serde_json::from_str::<Closing>(&data).map(|closing| closing.reason);
    Some(reason.unwrap_or_else(|_| "unknown".into()))
}

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
const SLACK: Duration = Duration::from_secs(5);
/// More than the longest interval demands.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// Bytes that come so soon after the first ones belong to the start of the stream.
const START: Duration = Duration::from_millis(500);

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
    /// Time until something came after the start of the stream.
    pub(crate) heartbeat: Option<Duration>,
    /// How long a heartbeat was awaited.
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

/// Looks at a channel. The stream is read until a heartbeat arrives, at most `wait`, or else as long as its interval demands.
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
    let wait = wait.unwrap_or_else(|| heartbeat_wait(seen.interval));
    let (url, seconds) = (channel.url.shown(), wait.as_secs());
    output::note(&format!("# reading {url} until a heartbeat arrives, at most {seconds} s"));
    stream(channel, wait, &mut seen).await;
    seen
}

/// How long a heartbeat may take to arrive, and [`SLACK`] more. Heartbeats are randomised by a fifth.
fn heartbeat_wait(interval: Option<Duration>) -> Duration {
    (interval.unwrap_or(DEFAULT_INTERVAL) * 6 / 5 + SLACK).min(LONGEST_WAIT)
}

async fn stream(channel: &Channel, wait: Duration, seen: &mut Observation) {
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
    if !is_readable(&response) {
        if response.status() != StatusCode::OK {
            seen.refused = channel.refused(response).await.ok().map(Into::into);
        }
        return;
    }
    read(response.into_body(), began, wait, seen).await;
}

/// Whether it is a stream whose text can be read.
fn is_readable(response: &Response<Incoming>) -> bool {
    let value = |name| response.headers().get(name).map(HeaderValue::as_bytes);
    response.status() == StatusCode::OK
        && value(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with(b"text/event-stream"))
        && value(header::CONTENT_ENCODING).is_none_or(|coding| coding == b"identity")
}

async fn read(mut body: Incoming, began: Instant, wait: Duration, seen: &mut Observation) {
    let (mut parser, mut items) = (Parser::new(), Vec::new());
    let mut last_byte = began;
    loop {
        let until = match seen.first_byte {
            None => began + FIRST_BYTE_TIMEOUT,
            Some(first) => began + first + wait,
        };
        let next = timeout(until.saturating_duration_since(Instant::now()), body.frame()).await;
        let now = Instant::now();
        match next {
            Err(_) => break,
            Ok(Some(Ok(frame))) => {
                let Some(bytes) = frame.data_ref().filter(|bytes| !bytes.is_empty()) else {
                    continue;
                };
                last_byte = now;
                let first = *seen.first_byte.get_or_insert(now - began);
                if parser.feed(bytes, &mut items).is_err() {
                    break;
                }
                seen.closing = items.drain(..).find_map(closing);
                if now - began > first + START {
                    seen.heartbeat = Some(now - began);
                    break;
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

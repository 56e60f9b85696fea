//! One probe: opens the stream, sends events to it, waits for a heartbeat, and keeps the stream open for its time. Records what happened;
//! [`super::judge`] concludes what that means.

use std::time::Duration;

use http::{HeaderMap, Method, Response, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Settings,
    certificate::{CertificateStatus, Offer},
    client::{Connection, Failure},
    stream_text::{Item, StreamText},
};
use crate::{
    cluster::{ProbeDelivery, Probes},
    identity::RandomId,
};

/// How long the connection and the head of the response may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the first byte of the stream, and each event, may take.
const BYTE_TIMEOUT: Duration = Duration::from_secs(3);
/// Events that are sent, for the shortest delay among them.
const EVENTS: u32 = 3;
/// Attempts to reach the broker that serves the stream: another NATS server may not know of it yet.
const ATTEMPTS: u32 = 5;
/// Pause between two events, and between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// How late a heartbeat may be.
const HEARTBEAT_MARGIN: Duration = Duration::from_secs(5);
/// How long a large body may take until it is rejected.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What a probe has observed.
#[derive(Debug, Default)]
pub(super) struct Observation {
    pub(super) http_version: Option<&'static str>,
    pub(super) certificate: Option<CertificateStatus>,
    /// The headers of the response: they identify proxies.
    pub(super) headers: HeaderMap,
    /// From the request to the first byte of the stream.
    pub(super) first_byte: Option<Duration>,
    /// The shortest time from the publication of an event to its arrival.
    pub(super) delay: Option<Duration>,
    /// Whether a body of the largest size was rejected; `None`: not tried.
    pub(super) body_rejected: Option<bool>,
    pub(super) end: End,
}

/// How a probe ended.
#[derive(Debug, Default)]
pub(super) enum End {
    /// After its time.
    #[default]
    Complete,
    /// The broker closed the stream before a heartbeat: it is busy or shuts down, or it refused the stream with status 200 and a reconnect
    /// delay.
    Closed,
    /// Nothing can be concluded, and why.
    Inconclusive(&'static str),
    /// There is no connection, or no answer.
    Unreachable(String),
    /// The answer is not a stream.
    Unexpected(Answer),
    /// A stream that no broker serves.
    Foreign,
    /// The answer has a content coding.
    Compressed(String),
    /// Something that the broker has sent did not arrive.
    HeldBack(Awaited),
    /// Something between the broker and the client ended the stream.
    Cut {
        /// From the request to the end.
        age: Duration,
        /// From the last byte to the end.
        silence: Duration,
        /// The longest silence before, which did not end it.
        survived: Duration,
    },
}

/// The head of an answer that is not a stream.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: Option<String>,
    pub(super) location: Option<String>,
}

/// What a probe waits for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    Head,
    FirstByte,
    Event,
    Heartbeat,
}

/// A probe.
pub(super) struct Run<'a> {
    pub(super) url: &'a Uri,
    pub(super) ticket: &'a str,
    /// The id of the ticket.
    pub(super) id: RandomId,
    pub(super) probes: &'a Probes,
    pub(super) settings: &'a Settings,
    pub(super) offer: Offer,
}

impl Run<'_> {
    /// Runs the probe to its end. `tries_body`: it also checks that the largest body is accepted.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn observe(&self, tries_body: bool) -> Observation {
        let mut seen = Observation::default();
        seen.end = match self.stream(&mut seen, tries_body).await {
            Ok(end) | Err(end) => end,
        };
        seen
    }

    async fn stream(&self, seen: &mut Observation, tries_body: bool) -> Result<End, End> {
        let mut connection = open(self.url, self.offer).await?;
        seen.http_version = Some(connection.version());
        seen.certificate.clone_from(&connection.certificate);
        let began = Instant::now();
        let request = connection.request(Method::GET, self.url, self.ticket, 0);
        let response = match timeout(ANSWER_TIMEOUT, request).await {
            Ok(response) => response.map_err(|failure| End::Unreachable(failure.to_string()))?,
            Err(_) => return Err(self.not_arrived(Awaited::Head).await),
        };
        seen.headers.clone_from(response.headers());
        check_head(&response)?;
        let mut stream = Stream::new(response.into_body(), began);
        match timeout(BYTE_TIMEOUT, stream.next()).await {
            Ok(next) => next?,
            Err(_) => return Err(self.not_arrived(Awaited::FirstByte).await),
        }
        seen.first_byte = Some(began.elapsed());
        for number in 1..=EVENTS {
            let delay = self.event(&mut stream, number).await?;
            seen.delay = Some(seen.delay.map_or(delay, |shortest| shortest.min(delay)));
        }
        if let Some(largest) = self.settings.largest_body.filter(|_| tries_body) {
            seen.body_rejected = Some(self.is_rejected(largest).await);
        }
        self.stay(&mut stream).await
    }

    /// Sends an event to the stream, and returns the time until it arrives.
    async fn event(&self, stream: &mut Stream, number: u32) -> Result<Duration, End> {
        let mut is_foreign = false;
        for _ in 0..ATTEMPTS {
            let began = Instant::now();
            let arrival = timeout(BYTE_TIMEOUT, stream.wait_for(Item::Event(number)));
            let (sent, arrived) = tokio::join!(self.probes.send(self.id, number), arrival);
            match (sent, arrived) {
                (_, Ok(arrived)) => {
                    let at = arrived?;
                    sleep(PAUSE).await;
                    return Ok(at - began);
                }
                (ProbeDelivery::Delivered, Err(_)) => return Err(End::HeldBack(Awaited::Event)),
                (ProbeDelivery::NoStream, Err(_)) => is_foreign = true,
                (ProbeDelivery::Unknown, Err(_)) => is_foreign = false,
            }
            sleep(PAUSE).await;
        }
        if is_foreign {
            return Err(End::Foreign);
        }
        Err(End::Inconclusive("NATS cannot be reached"))
    }

    /// Waits for a heartbeat, and then until the time of the stream is over.
    async fn stay(&self, stream: &mut Stream) -> Result<End, End> {
        let until = stream.began + self.settings.stream_time();
        let mut has_heartbeat = false;
        while !has_heartbeat || Instant::now() < until {
            let mut wait = self.settings.max_silence() + HEARTBEAT_MARGIN;
            if has_heartbeat {
                wait = wait.min(until - Instant::now());
            }
            match timeout(wait, stream.next()).await {
                Ok(Err(End::Closed)) if has_heartbeat => break,
                Ok(next) => next?,
                Err(_) if has_heartbeat && Instant::now() >= until => {}
                Err(_) => return Err(End::HeldBack(Awaited::Heartbeat)),
            }
            has_heartbeat = true;
        }
        Ok(End::Complete)
    }

    /// Why `what` has not arrived: sending an event to the stream shows whether a broker serves it.
    async fn not_arrived(&self, what: Awaited) -> End {
        match self.probes.send(self.id, 0).await {
            ProbeDelivery::Delivered => End::HeldBack(what),
            ProbeDelivery::NoStream => {
                End::Unreachable(format!("no answer within {ANSWER_TIMEOUT:?}"))
            }
            ProbeDelivery::Unknown => End::Inconclusive("NATS cannot be reached"),
        }
    }

    /// Whether a body of `bytes` is rejected. Some proxies check Content-Length, others the bytes that have arrived. What passes is refused
    /// by the broker, because the ticket does not allow publishing.
    async fn is_rejected(&self, bytes: usize) -> bool {
        let request = async {
            let mut connection = Connection::open(self.url, self.offer).await.ok()?;
            let bytes = u64::try_from(bytes).ok()?;
            let request = connection.request(Method::POST, self.url, self.ticket, bytes);
            request.await.ok()
        };
        let answer = timeout(BODY_TIMEOUT, request).await;
        matches!(answer, Ok(Some(response)) if response.status() == http::StatusCode::PAYLOAD_TOO_LARGE)
    }
}

async fn open(url: &Uri, offer: Offer) -> Result<Connection, End> {
    let opened = timeout(ANSWER_TIMEOUT, Connection::open(url, offer)).await;
    let late = |_| End::Unreachable(format!("no connection within {ANSWER_TIMEOUT:?}"));
    opened.map_err(late)?.map_err(|failure: Failure| End::Unreachable(failure.to_string()))
}

/// Whether the response is a stream that can be read.
fn check_head(response: &Response<Incoming>) -> Result<(), End> {
    let text = |name| {
        let value = response.headers().get(name)?;
        Some(value.to_str().unwrap_or("?").chars().take(200).collect::<String>())
    };
    let (status, content_type) = (response.status().as_u16(), text(header::CONTENT_TYPE));
    let is_stream = content_type.as_deref().is_some_and(|t| t.starts_with("text/event-stream"));
    let is_problem = content_type.as_deref() == Some("application/problem+json");
    let is_unknown_ticket = status == 401
        && text(header::WWW_AUTHENTICATE)
            .is_some_and(|challenge| challenge.contains("invalid_token"));
    if is_problem && (status == 503 || is_unknown_ticket) {
        // It is busy, or has not read yet that the channel is probed.
        return Err(End::Inconclusive("a broker refused the stream for now"));
    }
    if status != 200 || !is_stream {
        let location = text(header::LOCATION);
        return Err(End::Unexpected(Answer { status, content_type, location }));
    }
    match text(header::CONTENT_ENCODING) {
        Some(coding) if coding != "identity" => Err(End::Compressed(coding)),
        _ => Ok(()),
    }
}

/// A stream that is being read.
struct Stream {
    body: Incoming,
    began: Instant,
    last_byte: Instant,
    /// The longest time between two pieces.
    survived: Duration,
    text: StreamText,
    items: Vec<Item>,
}

impl Stream {
    fn new(body: Incoming, began: Instant) -> Self {
        Self {
            body,
            began,
            last_byte: Instant::now(),
            survived: Duration::ZERO,
            text: StreamText::default(),
            items: Vec::new(),
        }
    }

    /// Reads the next piece.
    async fn next(&mut self) -> Result<(), End> {
        loop {
            let frame = self.body.frame().await;
            let Some(Ok(frame)) = frame else {
                let now = Instant::now();
                let (age, silence) = (now - self.began, now - self.last_byte);
                return Err(End::Cut { age, silence, survived: self.survived });
            };
            let Some(piece) = frame.data_ref().filter(|piece| !piece.is_empty()) else { continue };
            let now = Instant::now();
            self.survived = self.survived.max(now - self.last_byte);
            self.last_byte = now;
            self.text.read(piece, &mut self.items);
            if self.items.contains(&Item::Closing) {
                return Err(End::Closed);
            }
            return Ok(());
        }
    }

    /// Reads until `item` has come, and returns when it did.
    async fn wait_for(&mut self, item: Item) -> Result<Instant, End> {
        while !self.items.contains(&item) {
            self.next().await?;
        }
        self.items.clear();
        Ok(self.last_byte)
    }
}

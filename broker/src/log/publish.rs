//! Appending: with a message id on every try, so that a retry of ours or of the publisher stores once.
//!
//! A try that timed out may have been stored. So the outcome after the deadline is unknown if any try got no answer, and
//! only "not stored" if every try was refused. What was sent is waited for, also after another event of the request has
//! failed: every event that was stored is reported.

use std::{sync::Arc, time::Duration};

use async_nats::{HeaderMap, HeaderName, HeaderValue, Request, client::RequestErrorKind};
use bytes::Bytes;
use eventcast_crds::stream::epoch_of;
use eventcast_wire::{
    cursor::{Check, Cursor, Epoch},
    event::Draft,
};
use futures_util::{FutureExt, StreamExt, stream::FuturesOrdered};
use serde::Deserialize;
use tokio::{
    sync::TryAcquireError,
    task::unconstrained,
    time::{Instant, sleep_until, timeout},
};

use super::{Incarnation, Log, Names, message};

/// Appends of one request under way at once.
const WINDOW: usize = 64;
/// How long a publish waits for its turn.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the leader may take to tell the epoch of a log that the tail does not know.
const EPOCH_TIMEOUT: Duration = Duration::from_secs(2);

/// Where an event was stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt {
    /// Its cursor, unless the log is another one than the tail's and its leader did not tell its epoch.
    pub(crate) cursor: Option<Cursor>,
    /// It was there already, by its idempotency key.
    pub(crate) duplicate: bool,
}

/// Why an event was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PublishError {
    #[error("NATS is not reachable")]
    Unavailable,
    #[error("the channel has no stream")]
    NoStream,
    #[error("too many publishes are under way")]
    Busy,
    #[error("NATS takes no more events for now")]
    Throttled,
    #[error("NATS did not answer in time")]
    Unknown,
    #[error("the channel's storage is full: {0}")]
    Full(String),
    #[error("the event is larger than the stream takes")]
    TooLarge,
    #[error("the stream does not take a time to live")]
    NoTtl,
    #[error("NATS refuses: {0}")]
    Refused(String),
}

/// What became of a request's events.
pub(crate) struct Outcome {
    /// For each event, in order: where it was stored, or nothing.
    pub(crate) receipts: Vec<Option<Receipt>>,
    /// The first event that was not stored, by its index, and why.
    pub(crate) error: Option<(usize, PublishError)>,
}

/// An acknowledgement.
#[derive(Clone, Copy)]
struct Ack {
    sequence: u64,
    duplicate: bool,
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<ReplyError>,
}

#[derive(Deserialize)]
struct ReplyError {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

/// A draft as it is sent, at every try the same.
struct Message {
    subject: String,
    headers: HeaderMap,
    data: Bytes,
    /// The check of its cursor.
    check: Check,
}

/// What one try came to.
enum Try {
    Stored(Ack),
    /// Not stored; another try may succeed.
    Later(PublishError),
    /// No answer: perhaps stored.
    Silent,
    Never(PublishError),
}

impl Log {
    /// Appends `drafts` in order and answers once each is acknowledged. After the first that fails no further one is sent.
    ///
    /// # Cancel safety
    /// What was sent may be stored after a cancellation; the drafts' keys make a repetition harmless.
    pub(crate) async fn append(
        self: &Arc<Self>,
        drafts: Vec<Draft>,
        deadline: Duration,
    ) -> Outcome {
        let count = drafts.len();
        let refuse =
            |index, error| Outcome { receipts: vec![None; count], error: Some((index, error)) };
        if !self.nats.can_publish() {
            return refuse(0, PublishError::Unavailable);
        }
        let messages: Vec<_> = drafts.into_iter().map(|d| Message::of(d, &self.names)).collect();
        let largest = self.max_message_bytes();
        if let Some(index) = messages.iter().position(|m| m.bytes() > largest) {
            return refuse(index, PublishError::TooLarge);
        }
        let until = Instant::now() + deadline;
        let turns = u32::try_from(count.min(WINDOW)).unwrap_or(1);
        let permits = Arc::clone(&self.nats.publishes);
        let _permits = match permits.try_acquire_many(turns) {
            Ok(p) => p,
            Err(TryAcquireError::Closed) => return refuse(0, PublishError::Unavailable),
            Err(TryAcquireError::NoPermits) => {
                match timeout(PERMIT_TIMEOUT, permits.acquire_many(turns)).await {
                    Ok(Ok(p)) => p,
                    _ => return refuse(0, PublishError::Busy),
                }
            }
        };
        let before = (self.attachment(), self.tail.bounds().1);
        let acks = self.append_all(messages, until).await;
        let stored: Vec<_> =
            acks.iter().filter_map(|(_, ack)| ack.as_ref().ok()).copied().collect();
        let epoch = self.epoch_of_acks(&stored, before, until).await;
        let mut outcome = Outcome { receipts: Vec::with_capacity(count), error: None };
        for (check, ack) in acks {
            outcome.receipts.push(match ack {
                Ok(Ack { sequence, duplicate }) => {
                    let cursor = epoch.map(|epoch| Cursor { epoch, sequence, check });
                    Some(Receipt { cursor, duplicate })
                }
                Err(error) => {
                    outcome.error.get_or_insert((outcome.receipts.len(), error));
                    None
                }
            });
        }
        outcome.receipts.resize(count, None);
        outcome
    }

    /// Sends `messages` in order, a window of them at once. Gives what came of those that were sent, with the checks of their
    /// cursors.
    async fn append_all(
        &self,
        messages: Vec<Message>,
        until: Instant,
    ) -> Vec<(Check, Result<Ack, PublishError>)> {
        let (mut waiting, mut acks) = (messages.into_iter(), Vec::new());
        let (mut under_way, mut failed) = (FuturesOrdered::new(), false);
        loop {
            while !failed
                && under_way.len() < WINDOW
                && let Some(message) = waiting.next()
            {
                let check = message.check;
                under_way.push_back(self.append_one(message, until).map(move |ack| (check, ack)));
            }
            // Outside of tokio's budget, which would let one append miss its turn and send it after its successors.
            let Some((check, ack)) = unconstrained(under_way.next()).await else {
                return acks;
            };
            failed |= ack.is_err();
            acks.push((check, ack));
        }
    }

    /// The epoch of the log that has acknowledged `stored`. It is the tail's, if the tail was attached all the time, `before` and
    /// now, and nothing new was stored at a sequence that the tail had passed; else the leader tells. Nothing is waited for in
    /// the first case, and the check of a cursor is the publisher's own (docs/adr/0015).
    async fn epoch_of_acks(
        &self,
        stored: &[Ack],
        (attachment, head): (Option<u64>, u64),
        until: Instant,
    ) -> Option<Epoch> {
        let last = stored.iter().map(|ack| ack.sequence).max()?;
        let known = self.tail.served();
        let reused = stored.iter().any(|ack| !ack.duplicate && ack.sequence <= head);
        if attachment.is_some()
            && attachment == self.attachment()
            && !reused
            && let Some(incarnation) = known
        {
            let mut newest = self.acknowledged.lock();
            *newest = (*newest).max((incarnation.number, last));
            return Some(incarnation.epoch);
        }
        let left = until.saturating_duration_since(Instant::now());
        let info = self.ask_info(left.min(EPOCH_TIMEOUT)).await.ok()?;
        (info.state.last_sequence >= last).then(|| epoch_of(&info))
    }

    /// Bytes of a message with its headers that NATS and the stream take.
    fn max_message_bytes(&self) -> usize {
        let stream = self.retained.lock().max_message_bytes.unwrap_or(usize::MAX);
        stream.min(self.nats.max_payload())
    }

    async fn append_one(&self, message: Message, until: Instant) -> Result<Ack, PublishError> {
        let (mut silent, mut unanswered) = (false, 0);
        let mut last = PublishError::Unknown;
        let mut pause = 50;
        while Instant::now() < until {
            match self.try_once(&message).await {
                Try::Stored(ack) => return Ok(ack),
                Try::Never(error) => return Err(error),
                Try::Later(error) => {
                    last = error;
                    let again =
                        Instant::now() + Duration::from_millis(fastrand::u64(pause / 2..=pause));
                    sleep_until(again.min(until)).await;
                    pause = (pause * 2).min(500);
                }
                Try::Silent => {
                    silent = true;
                    unanswered += 1;
                    if unanswered % 3 == 0 {
                        self.nats.leave(&[&self.nats.publish]).await;
                    }
                }
            }
        }
        Err(if silent { PublishError::Unknown } else { last })
    }

    async fn try_once(&self, message: &Message) -> Try {
        let request = Request::new()
            .headers(message.headers.clone())
            .payload(message.data.clone())
            .timeout(Some(self.nats.ack_timeout));
        let answer = match self.nats.publish.send_request(message.subject.clone(), request).await {
            Ok(m) => m,
            Err(e) => {
                return match e.kind() {
                    RequestErrorKind::NoResponders => Try::Later(PublishError::NoStream),
                    RequestErrorKind::MaxPayloadExceeded => Try::Never(PublishError::TooLarge),
                    RequestErrorKind::InvalidSubject => {
                        Try::Never(PublishError::Refused(e.to_string()))
                    }
                    RequestErrorKind::TimedOut | RequestErrorKind::Other => Try::Silent,
                };
            }
        };
        match serde_json::from_slice::<Reply>(&answer.payload) {
            Ok(Reply { error: Some(error), .. }) => refusal(error),
            Ok(Reply { seq, duplicate, .. }) if seq > 0 => {
                Try::Stored(Ack { sequence: seq, duplicate })
            }
            _ => Try::Silent,
        }
    }

    /// The cursor of `sequence`, which is at most the head's.
    pub(crate) async fn cursor_at(
        self: &Arc<Self>,
        incarnation: Incarnation,
        sequence: u64,
    ) -> Option<Cursor> {
        let check = match self.tail.check_at(sequence) {
            Some(check) => check,
            None => self.page(incarnation.number, sequence).await.ok()?.check_at(sequence),
        };
        // An event with a short life may be gone already: then its place is what the cursor names.
        Some(Cursor { epoch: incarnation.epoch, sequence, check: check.unwrap_or(Check::ABSENT) })
    }
}

impl Message {
    fn of(draft: Draft, names: &Names) -> Self {
        let subject = match &draft.topic {
            Some(topic) => format!("{}.t.{topic}", names.prefix),
            None => format!("{}.all", names.prefix),
        };
        let (headers, check) = (headers(&draft, &names.stream), Check::of_id(&draft.key));
        Self { subject, headers, data: draft.data, check }
    }

    /// Its size as NATS counts it: the block of headers and the data.
    fn bytes(&self) -> usize {
        let lines =
            self.headers.iter().flat_map(|(name, values)| values.iter().map(move |v| (name, v)));
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            AsRef::<str>::as_ref(name).len() + value.as_str().len() + ": \r\n".len()
        };
        "NATS/1.0\r\n\r\n".len() + lines.map(line).sum::<usize>() + self.data.len()
    }
}

fn headers(draft: &Draft, stream: &str) -> HeaderMap {
    let mut h = HeaderMap::new();
    h.insert(message::MESSAGE_ID, draft.key.as_str());
    // Catches a stream of others that is bound to our subject.
    h.insert("Nats-Expected-Stream", stream);
    let names = [
        (message::TYPE, &draft.event_type),
        (message::SOURCE, &draft.source),
        (message::ID, &draft.id),
    ];
    for (name, value) in names {
        if let Some(value) = value {
            h.insert(name, value.as_str());
        }
    }
    if draft.cloudevent {
        h.insert(message::CONTENT_TYPE, message::CLOUDEVENT);
    }
    if let Some(seconds) = draft.ttl {
        h.insert(message::TTL, format!("{seconds}s"));
    }
    h
}

/// What an error of JetStream means for the publisher (server/errors.json of nats-server).
fn refusal(e: ReplyError) -> Try {
    match e.err_code {
        10_167 => Try::Later(PublishError::Throttled),
        // No leader, temporarily offline, a duplicate of this message is in flight.
        10_008 | 10_009 | 10_118 | 10_158 => Try::Later(PublishError::Unavailable),
        10_077 | 10_047 | 10_002 | 10_028 => Try::Never(PublishError::Full(e.description)),
        10_023 => Try::Later(PublishError::Full(e.description)),
        10_054 | 10_097 => Try::Never(PublishError::TooLarge),
        10_165 | 10_166 => Try::Never(PublishError::NoTtl),
        _ if e.code == 429 => Try::Later(PublishError::Throttled),
        _ if e.code == 503 => Try::Later(PublishError::Unavailable),
        _ => Try::Never(PublishError::Refused(e.description)),
    }
}

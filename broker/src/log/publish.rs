//! Appends events to the log. Every attempt carries the same message id, so that a retry, by the broker or by the publisher, stores
//! the event once.
//!
//! An attempt that timed out may have been stored. So the outcome is unknown if any attempt got no answer, and "not stored" only if
//! every attempt was refused. After one event of a request has failed, the ones already sent are still awaited, so that every
//! stored event is reported.

mod outgoing;
mod permits;

use std::{sync::Arc, time::Duration};

use async_nats::{Request, client::RequestErrorKind};
use eventcast_crds::stream::epoch_of;
use eventcast_wire::{
    cursor::{Check, Cursor, Epoch},
    event::Draft,
};
use futures_util::{FutureExt, StreamExt, stream::FuturesOrdered};
use serde::Deserialize;
use tokio::{
    task::unconstrained,
    time::{Instant, sleep_until},
};

use super::{Incarnation, Log, internal::InternalEvent};
use crate::spans::Appends;

pub(super) use outgoing::OutgoingMessage;
pub(super) use permits::Permits;
use permits::take;

/// Events of one request that are sent before the first is acknowledged.
const MAX_UNACKNOWLEDGED: usize = 64;
/// How long the leader may take to report the epoch of a stream that the tail does not know.
const EPOCH_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause after the first refused attempt, in milliseconds. It doubles up to the maximum.
const FIRST_RETRY_PAUSE_MS: u64 = 50;
const MAX_RETRY_PAUSE_MS: u64 = 500;
/// Unanswered attempts after which the connection is replaced.
const MAX_UNANSWERED_ATTEMPTS: u32 = 3;

/// Where an event was stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt {
    /// The cursor of the event. `None` if the stream is not the tail's and the leader did not report its epoch in time.
    pub(crate) cursor: Option<Cursor>,
    /// Whether an event with the same idempotency key was stored before.
    pub(crate) duplicate: bool,
}

/// Why an event was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PublishError {
    #[error("NATS is unreachable")]
    Unavailable,
    #[error("the channel has no stream")]
    NoStream,
    #[error("too many publishes are in progress")]
    Busy,
    #[error("NATS accepts no more events at the moment")]
    Throttled,
    #[error("NATS did not answer in time")]
    Unknown,
    #[error("the channel's storage is full: {0}")]
    Full(String),
    #[error("the event is larger than the stream allows")]
    TooLarge,
    #[error("the stream does not allow a time to live")]
    NoTtl,
    #[error("NATS refused the event: {0}")]
    Refused(String),
}

impl PublishError {
    /// The label of a metric.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::NoStream => "no-stream",
            Self::Busy => "busy",
            Self::Throttled => "throttled",
            Self::Unknown => "unknown",
            Self::Full(_) => "full",
            Self::TooLarge | Self::NoTtl | Self::Refused(_) => "refused",
        }
    }
}

/// The outcome for the events of one request.
pub(crate) struct AppendOutcome {
    /// For each event, in order: where it was stored, or `None`.
    pub(crate) receipts: Vec<Option<Receipt>>,
    /// The index of the first event that was not stored, and why.
    pub(crate) error: Option<(usize, PublishError)>,
}

/// JetStream's acknowledgement of an event.
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

/// The outcome of one attempt.
enum Attempt {
    Stored(Ack),
    /// Not stored. Another attempt may succeed.
    Retry(PublishError),
    /// No answer: the event may be stored.
    Unanswered,
    /// Not stored. Every other attempt would fail, too.
    Refused(PublishError),
}

impl Log {
    /// Appends `drafts` in order and waits for their acknowledgements. After the first failure, no further event is sent. `spans` is the
    /// parent of the spans of attempts.
    ///
    /// # Cancel safety
    /// Events that were sent before a cancellation may be stored. The drafts' keys make it safe to repeat the call.
    pub(crate) async fn append(
        self: &Arc<Self>,
        drafts: Vec<Draft>,
        deadline: Duration,
        spans: Option<&Appends>,
    ) -> AppendOutcome {
        let message = |draft| OutgoingMessage::of_draft(draft, &self.settings);
        self.append_messages(drafts.into_iter().map(message).collect(), deadline, spans).await
    }

    pub(super) async fn append_messages(
        self: &Arc<Self>,
        messages: Vec<OutgoingMessage>,
        deadline: Duration,
        spans: Option<&Appends>,
    ) -> AppendOutcome {
        let count = messages.len();
        let refuse = |index, error| AppendOutcome {
            receipts: vec![None; count],
            error: Some((index, error)),
        };
        if !self.nats.can_publish() {
            return refuse(0, PublishError::Unavailable);
        }
        let largest = self.max_message_bytes();
        if let Some(index) = messages.iter().position(|m| m.bytes() > largest) {
            return refuse(index, PublishError::TooLarge);
        }
        let until = Instant::now() + deadline;
        let wanted = u32::try_from(count.min(MAX_UNACKNOWLEDGED)).unwrap_or(1);
        // The permits of the log first: a channel at its limit must not block the queue for others.
        let own = match &self.publishes {
            Some(own) => own.take(wanted).await.map(Some),
            None => Ok(None),
        };
        let _own = match own {
            Ok(permits) => permits,
            Err(error) => return refuse(0, error),
        };
        let _permits = match take(&self.nats.publishes, wanted).await {
            Ok(permits) => permits,
            Err(error) => return refuse(0, error),
        };
        let before = (self.attachment(), self.tail.bounds().1);
        let acks = self.append_all(messages, until, spans).await;
        let stored: Vec<_> =
            acks.iter().filter_map(|(_, ack)| ack.as_ref().ok()).copied().collect();
        let epoch = self.epoch_of_acks(&stored, before, until).await;
        let mut outcome = AppendOutcome { receipts: Vec::with_capacity(count), error: None };
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

    /// Sends `messages` in order, up to [`MAX_UNACKNOWLEDGED`] at once. Returns the check and the outcome of each one that was
    /// sent.
    async fn append_all(
        &self,
        messages: Vec<OutgoingMessage>,
        until: Instant,
        spans: Option<&Appends>,
    ) -> Vec<(Check, Result<Ack, PublishError>)> {
        let (mut waiting, mut acks) = (messages.into_iter(), Vec::new());
        let (mut under_way, mut failed) = (FuturesOrdered::new(), false);
        loop {
            while !failed
                && under_way.len() < MAX_UNACKNOWLEDGED
                && let Some(message) = waiting.next()
            {
                let check = message.check;
                under_way
                    .push_back(self.append_one(message, until, spans).map(move |ack| (check, ack)));
            }
            // Tokio's cooperative budget could make one append yield and send its message after the following ones.
            let Some((check, ack)) = unconstrained(under_way.next()).await else {
                return acks;
            };
            failed |= ack.is_err();
            acks.push((check, ack));
        }
    }

    /// The epoch of the stream that has acknowledged `stored`. It is the tail's if the tail stayed attached since `before` and no
    /// new event was stored at a sequence that the tail had passed. Otherwise the leader is asked. In the common case this waits
    /// for nothing, because the check of a cursor is a hash of the publisher's own message id (docs/adr/0015).
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
        let info = self.fetch_info(left.min(EPOCH_TIMEOUT)).await.ok()?;
        (info.state.last_sequence >= last).then(|| epoch_of(&info))
    }

    /// The largest message, with its headers, that NATS and the stream accept.
    fn max_message_bytes(&self) -> usize {
        let stream = self.retention.lock().max_message_bytes.unwrap_or(usize::MAX);
        stream.min(self.nats.max_payload())
    }

    async fn append_one(
        &self,
        message: OutgoingMessage,
        until: Instant,
        spans: Option<&Appends>,
    ) -> Result<Ack, PublishError> {
        let mut unanswered = 0;
        let mut last = PublishError::Unknown;
        let mut pause = FIRST_RETRY_PAUSE_MS;
        while Instant::now() < until {
            let span = spans.and_then(Appends::begin);
            let attempt = self.attempt(&message).await;
            if let Some(span) = span {
                match &attempt {
                    Attempt::Stored(ack) => span.stored(ack.sequence, ack.duplicate),
                    Attempt::Unanswered => span.failed("unanswered"),
                    Attempt::Retry(error) | Attempt::Refused(error) => span.failed(error.label()),
                }
            }
            match attempt {
                Attempt::Stored(ack) => return Ok(ack),
                Attempt::Refused(error) => return Err(error),
                Attempt::Retry(error) => {
                    last = error;
                    let again =
                        Instant::now() + Duration::from_millis(fastrand::u64(pause / 2..=pause));
                    sleep_until(again.min(until)).await;
                    pause = (pause * 2).min(MAX_RETRY_PAUSE_MS);
                }
                Attempt::Unanswered => {
                    unanswered += 1;
                    if unanswered % MAX_UNANSWERED_ATTEMPTS == 0 {
                        self.nats.reconnect(&[&self.nats.publish]).await;
                    }
                }
            }
        }
        Err(if unanswered > 0 { PublishError::Unknown } else { last })
    }

    async fn attempt(&self, message: &OutgoingMessage) -> Attempt {
        let request = Request::new()
            .headers(message.headers.clone())
            .payload(message.payload.clone())
            .timeout(Some(self.nats.ack_timeout));
        let answer = match self.nats.publish.send_request(message.subject.clone(), request).await {
            Ok(m) => m,
            Err(e) => {
                return match e.kind() {
                    RequestErrorKind::NoResponders => {
                        self.unpark(); // which creates the stream, if brokers create streams
                        Attempt::Retry(PublishError::NoStream)
                    }
                    RequestErrorKind::MaxPayloadExceeded => {
                        Attempt::Refused(PublishError::TooLarge)
                    }
                    RequestErrorKind::InvalidSubject => {
                        Attempt::Refused(PublishError::Refused(e.to_string()))
                    }
                    RequestErrorKind::TimedOut | RequestErrorKind::Other => Attempt::Unanswered,
                };
            }
        };
        match serde_json::from_slice::<Reply>(&answer.payload) {
            Ok(Reply { error: Some(error), .. }) => classify(error),
            Ok(Reply { seq, duplicate, .. }) if seq > 0 => {
                Attempt::Stored(Ack { sequence: seq, duplicate })
            }
            _ => Attempt::Unanswered,
        }
    }

    /// The cursor of `sequence`, which is at most the head's. `None` if the log cannot be read.
    pub(crate) async fn cursor_at(
        self: &Arc<Self>,
        incarnation: Incarnation,
        sequence: u64,
    ) -> Option<Cursor> {
        let check = match self.tail.check_at(sequence) {
            Some(check) => check,
            None => self.page(incarnation.number, sequence).await.ok()?.check_at(sequence),
        };
        // An event with a short time to live may be deleted already.
        Some(Cursor { epoch: incarnation.epoch, sequence, check: check.unwrap_or(Check::ABSENT) })
    }
}

/// Classifies an error of JetStream (server/errors.json of nats-server).
fn classify(e: ReplyError) -> Attempt {
    match e.err_code {
        10_167 => Attempt::Retry(PublishError::Throttled),
        // No leader, temporarily offline, or a duplicate of this message is in progress.
        10_008 | 10_009 | 10_118 | 10_158 => Attempt::Retry(PublishError::Unavailable),
        10_077 | 10_047 | 10_002 | 10_028 => Attempt::Refused(PublishError::Full(e.description)),
        10_023 => Attempt::Retry(PublishError::Full(e.description)),
        10_054 | 10_097 => Attempt::Refused(PublishError::TooLarge),
        10_165 | 10_166 => Attempt::Refused(PublishError::NoTtl),
        _ if e.code == 429 => Attempt::Retry(PublishError::Throttled),
        _ if e.code == 503 => Attempt::Retry(PublishError::Unavailable),
        _ => Attempt::Refused(PublishError::Refused(e.description)),
    }
}

#[expect(dead_code, reason = "the broker publishes no events yet")]
impl Log {
    /// Appends an event of the broker itself and waits for its acknowledgement.
    ///
    /// # Errors
    /// See [`PublishError`].
    ///
    /// # Cancel safety
    /// The event may be stored after a cancellation. Its key makes it safe to repeat the call.
    pub(crate) async fn append_internal(
        self: &Arc<Self>,
        event: InternalEvent,
        deadline: Duration,
    ) -> Result<Receipt, PublishError> {
        let message = OutgoingMessage::of_internal(event, &self.settings);
        let outcome = self.append_messages(vec![message], deadline, None).await;
        match (outcome.receipts.first().copied().flatten(), outcome.error) {
            (Some(receipt), _) => Ok(receipt),
            (None, Some((_, error))) => Err(error),
            (None, None) => Err(PublishError::Unknown),
        }
    }
}

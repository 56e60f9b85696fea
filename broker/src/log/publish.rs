//! Appending: with a message id on every try, so that a retry of ours or of the publisher stores once.
//!
//! A try that timed out may have been stored. So the outcome after the deadline is unknown if any try got no answer, and
//! only "not stored" if every try was refused.

use std::{sync::Arc, time::Duration};

use async_nats::{HeaderMap, Request, client::RequestErrorKind};
use eventcast_crds::stream::epoch_of;
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::{
    sync::TryAcquireError,
    task::unconstrained,
    time::{Instant, sleep_until, timeout},
};

use super::{Incarnation, Log, message};
use crate::{
    cursor::{Check, Cursor},
    event::Draft,
};

/// Appends of one request under way at once.
const WINDOW: usize = 64;
/// How long a publish waits for its turn.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the tail may take to show what was stored, for its timestamp.
const SHOW: Duration = Duration::from_secs(2);

/// Where an event was stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt {
    /// Its cursor, unless the log was lost again before it could be read.
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

/// What became of a request's events: those stored, in order, and why it ended early if it did.
pub(crate) struct Outcome {
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) error: Option<PublishError>,
}

#[derive(Deserialize)]
struct Ack {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<AckError>,
}

#[derive(Deserialize)]
struct AckError {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

/// What one try came to.
enum Try {
    Stored(u64, bool),
    /// Not stored; another try may succeed.
    Later(PublishError),
    /// No answer: perhaps stored.
    Silent,
    Never(PublishError),
}

impl Log {
    /// Appends `drafts` in order and answers once each is acknowledged or one has failed.
    ///
    /// # Cancel safety
    /// What was sent may be stored after a cancellation; the drafts' keys make a repetition harmless.
    pub(crate) async fn append(
        self: &Arc<Self>,
        drafts: Vec<Draft>,
        deadline: Duration,
    ) -> Outcome {
        let refuse = |error| Outcome { receipts: Vec::new(), error: Some(error) };
        if !self.nats.can_publish() {
            return refuse(PublishError::Unavailable);
        }
        let turns = u32::try_from(drafts.len().min(WINDOW)).unwrap_or(1);
        let permits = Arc::clone(&self.nats.publishes);
        let _permits = match permits.try_acquire_many(turns) {
            Ok(p) => p,
            Err(TryAcquireError::Closed) => return refuse(PublishError::Unavailable),
            Err(TryAcquireError::NoPermits) => {
                match timeout(PATIENCE, permits.acquire_many(turns)).await {
                    Ok(Ok(p)) => p,
                    _ => return refuse(PublishError::Busy),
                }
            }
        };
        let until = Instant::now() + deadline;
        let before = self.tail.bounds().1;
        let mut stored = Vec::with_capacity(drafts.len());
        let mut appends =
            futures_util::stream::iter(drafts).map(|d| self.append_one(d, until)).buffered(WINDOW);
        let mut error = None;
        // Outside of tokio's budget, which would let one append miss its turn and send it after its successors.
        while let Some(result) = unconstrained(appends.next()).await {
            match result {
                Ok(one) => stored.push(one),
                Err(e) => {
                    error = Some(e);
                    break;
                }
            }
        }
        drop(appends);
        let mut receipts = Vec::with_capacity(stored.len());
        for (sequence, duplicate) in stored {
            let cursor = self.cursor_of(sequence, before).await;
            receipts.push(Receipt { cursor, duplicate });
        }
        Outcome { receipts, error }
    }

    async fn append_one(&self, draft: Draft, until: Instant) -> Result<(u64, bool), PublishError> {
        let subject = match &draft.topic {
            Some(topic) => format!("{}.t.{topic}", self.names.prefix),
            None => format!("{}.all", self.names.prefix),
        };
        let headers = headers(&draft, &self.names.stream);
        let (mut silent, mut unanswered) = (false, 0);
        let mut last = PublishError::Unknown;
        let mut pause = 50;
        while Instant::now() < until {
            match self.try_once(&subject, &headers, &draft).await {
                Try::Stored(sequence, duplicate) => return Ok((sequence, duplicate)),
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

    async fn try_once(&self, subject: &str, headers: &HeaderMap, draft: &Draft) -> Try {
        let request = Request::new()
            .headers(headers.clone())
            .payload(draft.data.clone())
            .timeout(Some(self.nats.ack_timeout));
        let answer = match self.nats.publish.send_request(subject.to_owned(), request).await {
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
        match serde_json::from_slice::<Ack>(&answer.payload) {
            Ok(Ack { error: Some(error), .. }) => refusal(error),
            Ok(Ack { seq, duplicate, .. }) if seq > 0 => Try::Stored(seq, duplicate),
            _ => Try::Silent,
        }
    }

    /// The cursor of what was stored: its check is in the timestamp, which the tail shows in a moment. A sequence that the
    /// tail had passed `before` is of a duplicate, or of another log that the tail does not know yet: the leader tells.
    async fn cursor_of(self: &Arc<Self>, sequence: u64, before: u64) -> Option<Cursor> {
        let mut changes = self.tail.changes();
        let shown = async {
            loop {
                if let Some(head) = self.tail.head()
                    && head.sequence >= sequence
                {
                    return self.tail.incarnation();
                }
                if changes.changed().await.is_err() {
                    return None;
                }
            }
        };
        if sequence > before
            && let Ok(Some(incarnation)) = timeout(SHOW, shown).await
        {
            return self.cursor_at(incarnation, sequence).await;
        }
        let info = self.ask_info(SHOW).await.ok()?;
        let there = self.leader_get(sequence).await.ok()?;
        let there = there.filter(|m| m.sequence == sequence);
        let check = there.map_or(Check::ABSENT, |m| Check::of(m.nanos));
        Some(Cursor { epoch: epoch_of(&info), sequence, check })
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

fn headers(draft: &Draft, stream: &str) -> HeaderMap {
    let mut h = HeaderMap::new();
    h.insert("Nats-Msg-Id", draft.key.as_str());
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
fn refusal(e: AckError) -> Try {
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

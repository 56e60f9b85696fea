//! Reading stored messages: batch direct get (ADR-31), which any replica answers, and the leader's word.

use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber, jetstream::stream::RawMessageErrorKind};
use bytes::Bytes;
use eventcast_wire::cursor::Check;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::{Log, message};

const TIMEOUT: Duration = Duration::from_secs(1);
const LEADER_TIMEOUT: Duration = Duration::from_secs(2);
/// Of one answer: it is sent without flow control and must fit the subscription.
const MAX_BYTES: u32 = 1 << 20;

/// A message as it was read.
pub(super) struct Raw {
    pub(super) sequence: u64,
    pub(super) nanos: i64,
    pub(super) subject: String,
    pub(super) headers: Option<HeaderMap>,
    pub(super) payload: Bytes,
}

impl Raw {
    /// The check of its cursor.
    pub(super) fn check(&self) -> Check {
        message::check(self.headers.as_ref(), self.nanos)
    }
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// So many more messages follow at the one who answered.
    Pending(u64),
    /// The one who answered has nothing at or after what was asked for.
    NotFound,
}

/// Why a reading failed; every one may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReadError {
    #[error("no answer in time")]
    Timeout,
    #[error("a part of the answer was lost on its way")]
    Chain,
    #[error("NATS answered with status {0}")]
    Status(u16),
    #[error("the answer cannot be read")]
    Malformed,
    #[error("the stream's leader knows less than it should")]
    Outdated,
    #[error("the connection is gone")]
    Gone,
    #[error("the tail is not attached, or to another log")]
    Detached,
}

impl Log {
    /// Up to `batch` messages from `sequence` on, from any replica. Proves by the chain of `Nats-Last-Sequence` that no
    /// part of the answer was lost; does not prove that the replica had everything.
    pub(super) async fn batch_get(
        &self,
        sequence: u64,
        batch: u64,
    ) -> Result<(Vec<Raw>, Ending), ReadError> {
        let query = format!(r#"{{"seq":{sequence},"batch":{batch},"max_bytes":{MAX_BYTES}}}"#);
        let mut answer = self.direct_get(query).await?;
        let (mut messages, mut previous) = (Vec::new(), 0);
        loop {
            let m = next(&mut answer).await?;
            let last = || number(&m, "Nats-Last-Sequence");
            match m.status.map(|s| s.as_u16()) {
                None => {
                    if last()? != previous {
                        return Err(ReadError::Chain);
                    }
                    let raw = raw(m)?;
                    previous = raw.sequence;
                    messages.push(raw);
                }
                Some(204) if last()? != previous => return Err(ReadError::Chain),
                Some(204) => {
                    return Ok((messages, Ending::Pending(number(&m, "Nats-Num-Pending")?)));
                }
                Some(404) => return Ok((messages, Ending::NotFound)),
                Some(status) => return Err(ReadError::Status(status)),
            }
        }
    }

    /// The first message stored at `time` (RFC 3339) or later, as any replica knows it.
    pub(super) async fn first_since(&self, time: &str) -> Result<Option<u64>, ReadError> {
        let query = format!(r#"{{"start_time":"{time}","batch":1}}"#);
        let mut answer = self.direct_get(query).await?;
        let m = next(&mut answer).await?;
        match m.status.map(|s| s.as_u16()) {
            None => Ok(Some(raw(m)?.sequence)),
            Some(404 | 204) => Ok(None),
            Some(status) => Err(ReadError::Status(status)),
        }
    }

    async fn direct_get(&self, query: String) -> Result<Subscriber, ReadError> {
        if !self.nats.can_read() {
            return Err(ReadError::Gone);
        }
        let client = self.nats.history.client();
        let inbox = client.new_inbox();
        let answer = client.subscribe(inbox.clone()).await.map_err(|_| ReadError::Gone)?;
        let subject = format!("$JS.API.DIRECT.GET.{}", self.names.stream);
        let asked = client.publish_with_reply(subject, inbox, query.into());
        asked.await.map_err(|_| ReadError::Gone)?;
        Ok(answer)
    }

    /// The first message at or after `sequence`, by the leader's word.
    pub(super) async fn leader_get(&self, sequence: u64) -> Result<Option<Raw>, ReadError> {
        let stream = self.nats.history.get_stream_no_info(&self.names.stream).await;
        let stream = stream.map_err(|_| ReadError::Malformed)?;
        let asked = stream.get_first_raw_message_by_subject(">", sequence);
        match timeout(LEADER_TIMEOUT, asked).await.map_err(|_| ReadError::Timeout)? {
            Ok(m) => Ok(Some(Raw {
                sequence: m.sequence,
                nanos: nanos(m.time.unix_timestamp_nanos()),
                subject: m.subject.to_string(),
                headers: Some(m.headers),
                payload: m.payload,
            })),
            Err(e) if e.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(_) => Err(ReadError::Timeout),
        }
    }

    /// When the newest message that there is was stored, by the leader's word.
    pub(super) async fn leader_newest(&self) -> Result<Option<i64>, ReadError> {
        let stream = self.nats.history.get_stream_no_info(&self.names.stream).await;
        let stream = stream.map_err(|_| ReadError::Malformed)?;
        let asked = stream.get_last_raw_message_by_subject(">");
        match timeout(LEADER_TIMEOUT, asked).await.map_err(|_| ReadError::Timeout)? {
            Ok(m) => Ok(Some(nanos(m.time.unix_timestamp_nanos()))),
            Err(e) if e.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(_) => Err(ReadError::Timeout),
        }
    }

    /// Whether every sequence of `low..=high` is gone for good, by one answer of the leader.
    pub(super) async fn all_gone(&self, low: u64, high: u64) -> Result<bool, ReadError> {
        let info = self.ask_deleted().await.map_err(|_| ReadError::Timeout)?;
        let state = &info.state;
        let deleted = state.deleted.as_deref().unwrap_or_default();
        let gone =
            |q| q < state.first_sequence || (q <= state.last_sequence && deleted.contains(&q));
        Ok((low..=high).all(gone))
    }
}

async fn next(answer: &mut Subscriber) -> Result<Message, ReadError> {
    match timeout(TIMEOUT, answer.next()).await {
        Ok(Some(m)) => Ok(m),
        Ok(None) => Err(ReadError::Gone),
        Err(_) => Err(ReadError::Timeout),
    }
}

fn raw(m: Message) -> Result<Raw, ReadError> {
    let text = |name: &str| header(&m, name).map(str::to_owned).ok_or(ReadError::Malformed);
    let time: jiff::Timestamp =
        text("Nats-Time-Stamp")?.parse().map_err(|_| ReadError::Malformed)?;
    Ok(Raw {
        sequence: number(&m, "Nats-Sequence")?,
        nanos: nanos(time.as_nanosecond()),
        subject: text("Nats-Subject")?,
        headers: m.headers,
        payload: m.payload,
    })
}

/// The last value, never the first: the server appends its headers after those of the publisher, who may have forged them.
fn header<'a>(m: &'a Message, name: &str) -> Option<&'a str> {
    m.headers.as_ref()?.get_last(name).map(async_nats::HeaderValue::as_str)
}

fn number(m: &Message, name: &str) -> Result<u64, ReadError> {
    header(m, name).and_then(|v| v.parse().ok()).ok_or(ReadError::Malformed)
}

fn nanos(n: i128) -> i64 {
    i64::try_from(n).unwrap_or(0)
}

//! Reads stored messages: by batch direct get (NATS ADR-31), which any replica answers, or from the stream's leader.

use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber, jetstream::stream::RawMessageErrorKind};
use bytes::Bytes;
use eventcast_wire::cursor::Check;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::{Log, Nats, message};

/// How long a replica may take to send the next message of a reply.
const DIRECT_GET_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the leader may take to answer.
const LEADER_GET_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of one reply. It is sent without flow control and must fit the subscription's buffer.
const MAX_REPLY_BYTES: u32 = 1 << 20;

/// A stored message.
pub(crate) struct RawMessage {
    pub(crate) sequence: u64,
    /// When it was stored, in nanoseconds since 1970.
    pub(super) nanos: i64,
    pub(crate) subject: String,
    pub(super) headers: Option<HeaderMap>,
    pub(crate) payload: Bytes,
}

impl RawMessage {
    /// The check of the message's cursor.
    pub(super) fn check(&self) -> Check {
        message::check(self.headers.as_ref(), self.nanos)
    }
}

/// What a replica said at the end of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyEnd {
    /// The replica has this many more messages.
    Pending(u64),
    /// The replica has no message at or after the requested sequence.
    NotFound,
}

/// Why a read failed. Every failure may be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("NATS did not answer in time")]
    Timeout,
    #[error("a part of the reply was lost")]
    Chain,
    #[error("NATS answered with status {0}")]
    Status(u16),
    #[error("the reply is malformed")]
    Malformed,
    #[error("the stream's leader is behind")]
    Outdated,
    #[error("the connection is lost")]
    Disconnected,
    #[error("the tail is detached, or attached to another stream")]
    Detached,
}

impl Log {
    /// Reads up to `batch` messages from `sequence` on, from any replica. The chain of `Nats-Last-Sequence` headers proves that no
    /// part of the reply was lost. It does not prove that the replica has every message.
    pub(super) async fn batch_get(
        &self,
        sequence: u64,
        batch: u64,
    ) -> Result<(Vec<RawMessage>, ReplyEnd), ReadError> {
        let query =
            format!(r#"{{"seq":{sequence},"batch":{batch},"max_bytes":{MAX_REPLY_BYTES}}}"#);
        read_batch(&self.nats, &self.settings.stream, query).await
    }

    /// The sequence of the first message stored at `time` (RFC 3339) or later, from any replica.
    pub(super) async fn first_since(&self, time: &str) -> Result<Option<u64>, ReadError> {
        let query = format!(r#"{{"start_time":"{time}","batch":1}}"#);
        let mut reply = direct_get(&self.nats, &self.settings.stream, query).await?;
        let m = next(&mut reply).await?;
        match m.status.map(|s| s.as_u16()) {
            None => Ok(Some(raw(m)?.sequence)),
            Some(404 | 204) => Ok(None),
            Some(status) => Err(ReadError::Status(status)),
        }
    }

    /// The first message at or after `sequence`, from the leader.
    pub(super) async fn leader_get(&self, sequence: u64) -> Result<Option<RawMessage>, ReadError> {
        let stream = self.nats.history.get_stream_no_info(&self.settings.stream).await;
        let stream = stream.map_err(|_| ReadError::Malformed)?;
        let request = stream.get_first_raw_message_by_subject(">", sequence);
        match timeout(LEADER_GET_TIMEOUT, request).await.map_err(|_| ReadError::Timeout)? {
            Ok(m) => Ok(Some(RawMessage {
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

    /// When the newest message was stored, from the leader.
    pub(super) async fn leader_newest(&self) -> Result<Option<i64>, ReadError> {
        let stream = self.nats.history.get_stream_no_info(&self.settings.stream).await;
        let stream = stream.map_err(|_| ReadError::Malformed)?;
        let request = stream.get_last_raw_message_by_subject(">");
        match timeout(LEADER_GET_TIMEOUT, request).await.map_err(|_| ReadError::Timeout)? {
            Ok(m) => Ok(Some(nanos(m.time.unix_timestamp_nanos()))),
            Err(e) if e.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(_) => Err(ReadError::Timeout),
        }
    }

    /// Whether every sequence of `low..=high` is deleted, according to the leader.
    pub(super) async fn all_deleted(&self, low: u64, high: u64) -> Result<bool, ReadError> {
        let info = self.fetch_deleted().await.map_err(|_| ReadError::Timeout)?;
        let state = &info.state;
        let deleted = state.deleted.as_deref().unwrap_or_default();
        let is_deleted =
            |q| q < state.first_sequence || (q <= state.last_sequence && deleted.contains(&q));
        Ok((low..=high).all(is_deleted))
    }
}

/// Reads the messages that `query` asks for, from any replica of `stream`. The chain of `Nats-Last-Sequence` headers proves that no part
/// of the reply was lost. It does not prove that the replica has every message.
pub(crate) async fn read_batch(
    nats: &Nats,
    stream: &str,
    query: String,
) -> Result<(Vec<RawMessage>, ReplyEnd), ReadError> {
    let mut reply = direct_get(nats, stream, query).await?;
    let (mut messages, mut previous) = (Vec::new(), 0);
    loop {
        let m = next(&mut reply).await?;
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
                return Ok((messages, ReplyEnd::Pending(number(&m, "Nats-Num-Pending")?)));
            }
            Some(404) => return Ok((messages, ReplyEnd::NotFound)),
            Some(status) => return Err(ReadError::Status(status)),
        }
    }
}

async fn direct_get(nats: &Nats, stream: &str, query: String) -> Result<Subscriber, ReadError> {
    if !nats.can_read() {
        return Err(ReadError::Disconnected);
    }
    let client = nats.history.client();
    let inbox = client.new_inbox();
    let reply = client.subscribe(inbox.clone()).await.map_err(|_| ReadError::Disconnected)?;
    let subject = format!("{}.DIRECT.GET.{stream}", nats.api_prefix);
    let sent = client.publish_with_reply(subject, inbox, query.into()).await;
    sent.map_err(|_| ReadError::Disconnected)?;
    Ok(reply)
}

async fn next(reply: &mut Subscriber) -> Result<Message, ReadError> {
    match timeout(DIRECT_GET_TIMEOUT, reply.next()).await {
        Ok(Some(m)) => Ok(m),
        Ok(None) => Err(ReadError::Disconnected),
        Err(_) => Err(ReadError::Timeout),
    }
}

fn raw(m: Message) -> Result<RawMessage, ReadError> {
    let text = |name: &str| header(&m, name).map(str::to_owned).ok_or(ReadError::Malformed);
    let time: jiff::Timestamp =
        text("Nats-Time-Stamp")?.parse().map_err(|_| ReadError::Malformed)?;
    Ok(RawMessage {
        sequence: number(&m, "Nats-Sequence")?,
        nanos: nanos(time.as_nanosecond()),
        subject: text("Nats-Subject")?,
        headers: m.headers,
        payload: m.payload,
    })
}

/// The last value of a header. The server appends its headers after those of the publisher, which may be forged.
fn header<'a>(m: &'a Message, name: &str) -> Option<&'a str> {
    m.headers.as_ref()?.get_last(name).map(async_nats::HeaderValue::as_str)
}

fn number(m: &Message, name: &str) -> Result<u64, ReadError> {
    header(m, name).and_then(|v| v.parse().ok()).ok_or(ReadError::Malformed)
}

fn nanos(n: i128) -> i64 {
    i64::try_from(n).unwrap_or(0)
}

//! The stream of the records that brokers share: creates, writes and reads it.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{
    self, ErrorCode,
    context::{CreateStreamErrorKind, GetStreamErrorKind, PublishErrorKind},
    message::PublishMessage,
};
use eventcast_crds::stream::access::{self, CHANGED_PREFIX, CONTROL_PREFIX, STORED_PREFIX, STREAM};
use futures_util::StreamExt as _;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::time::timeout;

use super::records::{Record, TicketKey};
use crate::{
    clock::now_millis,
    log::{Nats, ReadError, ReplyEnd, read_batch},
};

/// How long the stream may take to acknowledge a record.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);
/// Records that one reply has.
const BATCH: u64 = 256;

/// A record was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotStored {
    #[error("another broker stored one first")]
    Exists,
    #[error("NATS did not confirm the record")]
    Unavailable,
}

/// Access to the records of one channel.
#[derive(Clone)]
pub(crate) struct Store {
    nats: Arc<Nats>,
    /// `<namespace>.<name>`.
    channel: String,
}

impl Store {
    pub(crate) fn new(nats: Arc<Nats>, namespace: &str, name: &str) -> Self {
        Self { nats, channel: format!("{namespace}.{name}") }
    }

    pub(super) fn client(&self) -> async_nats::Client {
        self.jetstream().client()
    }

    /// The prefix of the subjects of messages between the brokers of the channel.
    pub(super) fn control_prefix(&self) -> String {
        format!("{CONTROL_PREFIX}.{}", self.channel)
    }

    pub(super) fn nats(&self) -> &Nats {
        &self.nats
    }

    fn jetstream(&self) -> &jetstream::Context {
        self.nats.state()
    }

    /// Creates the stream, if the configuration asks for that. An existing one is left unchanged. Returns whether there is one.
    pub(super) async fn create(&self) -> Result<bool, NotStored> {
        if !self.nats.creates_streams() {
            return Ok(false);
        }
        let created = self.jetstream().create_stream(access::desired_config(1));
        match timeout(STORE_TIMEOUT, created).await {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(error)) => match error.kind() {
                CreateStreamErrorKind::JetStream(e)
                    if e.error_code() == ErrorCode::STREAM_NAME_EXIST =>
                {
                    Ok(true)
                }
                _ => {
                    tracing::warn!(%error, stream = STREAM, "failed to create the stream of access records");
                    Err(NotStored::Unavailable)
                }
            },
            Err(_) => Err(NotStored::Unavailable),
        }
    }

    /// Whether the stream does not exist.
    pub(super) async fn is_missing(&self) -> bool {
        let info = timeout(STORE_TIMEOUT, self.jetstream().get_stream(STREAM)).await;
        matches!(info, Ok(Err(error)) if matches!(
            error.kind(),
            GetStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND
        ))
    }

    /// Stores `record` in place of the last one with its subject.
    pub(crate) async fn put(&self, record: &Record) -> Result<(), NotStored> {
        self.send(record, None).await
    }

    /// Makes a key for `day`, unless another broker has.
    pub(super) async fn make_key(&self, day: u32) -> Result<(), NotStored> {
        let mut key = [0; 32];
        SystemRandom::new().fill(&mut key).map_err(|_| NotStored::Unavailable)?;
        self.send(&Record::Key(TicketKey { day, key }), Some(0)).await
    }

    async fn send(&self, record: &Record, expected: Option<u64>) -> Result<(), NotStored> {
        if !self.nats.can_read() {
            return Err(NotStored::Unavailable);
        }
        let payload = record.payload().map_err(|_| NotStored::Unavailable)?;
        let mut message = PublishMessage::build()
            .payload(payload.into())
            .ttl(record.life(now_millis() / 1000))
            .expected_stream(STREAM);
        if let Some(sequence) = expected {
            message = message.expected_last_subject_sequence(sequence);
        }
        let subject = format!("{STORED_PREFIX}.{}.{}", self.channel, record.subject());
        let stored = async { self.jetstream().send_publish(subject, message).await?.await };
        match timeout(STORE_TIMEOUT, stored).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.kind() == PublishErrorKind::WrongLastSequence => {
                Err(NotStored::Exists)
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "an access record was not stored");
                Err(NotStored::Unavailable)
            }
            Err(_) => Err(NotStored::Unavailable),
        }
    }

    /// Reads all records of the channel and passes each to `apply`. A stream that does not exist has none.
    pub(super) async fn read(&self, mut apply: impl FnMut(Record)) -> Result<(), ReadError> {
        let prefix = format!("{STORED_PREFIX}.{}.", self.channel);
        let mut sequence = 1;
        loop {
            let query = format!(
                r#"{{"seq":{sequence},"next_by_subj":"{prefix}>","batch":{BATCH},"max_bytes":1048576}}"#
            );
            let (messages, end) = read_batch(&self.nats, STREAM, query).await?;
            for message in &messages {
                sequence = message.sequence + 1;
                let record = message.subject.strip_prefix(&prefix);
                record.and_then(|s| Record::parse(s, &message.payload)).map(&mut apply);
            }
            match end {
                ReplyEnd::Pending(more) if more > 0 && !messages.is_empty() => {}
                ReplyEnd::Pending(_) | ReplyEnd::NotFound => return Ok(()),
            }
        }
    }

    /// Subscribes to the records that are stored from now on.
    pub(super) async fn subscribe(&self) -> Option<async_nats::Subscriber> {
        let subject = format!("{CHANGED_PREFIX}.{}.>", self.channel);
        self.jetstream().client().subscribe(subject).await.ok()
    }

    /// The next record of a subscription; `None` at its end.
    pub(super) async fn next(
        &self,
        changes: &mut async_nats::Subscriber,
    ) -> Option<Option<Record>> {
        let prefix = format!("{CHANGED_PREFIX}.{}.", self.channel);
        let message = changes.next().await?;
        let record = message.subject.strip_prefix(&prefix);
        Some(record.and_then(|subject| Record::parse(subject, &message.payload)))
    }
}

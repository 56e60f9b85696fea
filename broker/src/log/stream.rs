//! The JetStream stream itself: its state, its epoch, and its creation where the broker is asked for that.

use std::{collections::HashMap, hash::Hasher, sync::Arc, time::Duration};

use async_nats::jetstream::{
    ErrorCode,
    context::{CreateStreamErrorKind, GetStreamErrorKind},
    stream::{Config, DiscardPolicy, Info, StorageType},
};
use eventcast_crds::config::ChannelConfig;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::Log;
use crate::cursor::Epoch;

/// Metadata key of the epoch; whoever creates the stream mints it.
const EPOCH: &str = "sse.epoch";
/// How old an answer to many may be.
const FRESH: Duration = Duration::from_secs(2);

/// Why the stream is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("no stream of the channel")]
    Missing,
    #[error("no answer from NATS about the stream")]
    NoAnswer,
    #[error("NATS refuses to create the stream: {0}")]
    Refused(String),
}

/// The last answer about the stream, shared by all who ask within two seconds.
#[derive(Default)]
pub(super) struct InfoCache(Mutex<Option<(Instant, Arc<Info>)>>);

impl Log {
    /// Asks the leader for the state of the stream. One try of `patience`.
    pub(super) async fn ask_info(&self, patience: Duration) -> Result<Info, StreamError> {
        match timeout(patience, self.nats.tail.get_stream(&self.names.stream)).await {
            Ok(Ok(stream)) => Ok(stream.cached_info().clone()),
            Ok(Err(e)) => Err(match e.kind() {
                GetStreamErrorKind::JetStream(e)
                    if e.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    StreamError::Missing
                }
                _ => StreamError::NoAnswer,
            }),
            Err(_) => Err(StreamError::NoAnswer),
        }
    }

    /// The state of the stream, at most two seconds old.
    pub(crate) async fn info(&self) -> Result<Arc<Info>, StreamError> {
        let mut cache = self.info.0.lock().await;
        if let Some((at, info)) = &*cache
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(info));
        }
        let info = Arc::new(self.ask_info(Duration::from_secs(1)).await?);
        *cache = Some((Instant::now(), Arc::clone(&info)));
        Ok(info)
    }

    /// Creates the stream of `config`; one that exists is left as it is.
    pub(super) async fn create(&self, config: &ChannelConfig) -> Result<(), StreamError> {
        let epoch = Epoch::mint(fastrand::u64(..));
        let created = self.nats.tail.create_stream(stream_config(config, &epoch));
        match timeout(Duration::from_secs(5), created).await {
            Ok(Ok(_)) => {
                tracing::info!(
                    channel = self.names.channel,
                    stream = self.names.stream,
                    "created the stream"
                );
                Ok(())
            }
            Ok(Err(e)) => match e.kind() {
                // Someone else was quicker: theirs is as good.
                CreateStreamErrorKind::JetStream(e)
                    if e.error_code() == ErrorCode::STREAM_NAME_EXIST =>
                {
                    Ok(())
                }
                CreateStreamErrorKind::TimedOut => Err(StreamError::NoAnswer),
                _ => Err(StreamError::Refused(e.to_string())),
            },
            Err(_) => Err(StreamError::NoAnswer),
        }
    }
}

/// The stream that a channel wants.
fn stream_config(channel: &ChannelConfig, epoch: &Epoch) -> Config {
    let (prefix, retention) = (channel.prefix(), &channel.retention);
    let limit = |n: u64| {
        if n == 0 { -1 } else { i64::try_from(n).unwrap_or(i64::MAX) }
    };
    // Headers and subject come on top of the data; an event of many lines is not longer in the log.
    let largest = channel.publishing.max_event_bytes + (16 << 10);
    Config {
        name: channel.stream_name(),
        subjects: vec![format!("{prefix}.all"), format!("{prefix}.t.>")],
        max_age: Duration::from_secs(retention.max_age_seconds),
        max_bytes: limit(retention.max_bytes),
        max_messages: limit(retention.max_events),
        max_message_size: i32::try_from(largest).unwrap_or(i32::MAX),
        discard: DiscardPolicy::Old,
        storage: StorageType::File,
        num_replicas: retention.replicas,
        duplicate_window: Duration::from_secs(retention.duplicate_window_seconds),
        allow_direct: true,
        deny_delete: true,
        allow_message_ttl: true,
        metadata: HashMap::from([(EPOCH.to_owned(), epoch.as_str().to_owned())]),
        ..Config::default()
    }
}

/// The epoch of a stream: from its metadata, else, for one that others made, from the time of its creation.
pub(super) fn epoch(info: &Info) -> Epoch {
    let named = info.config.metadata.get(EPOCH).and_then(|e| e.parse().ok());
    named.unwrap_or_else(|| {
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        hash.write(&info.created.unix_timestamp_nanos().to_be_bytes());
        Epoch::mint(hash.finish())
    })
}

/// FNV-1a: the same on every replica and with every compiler, which is all that is asked of it here.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = (self.0 ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        // The upper bits are mixed best; an epoch takes the lower 40.
        self.0 ^ (self.0 >> 29)
    }
}

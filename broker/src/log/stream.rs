//! The JetStream stream: its state, and its creation if the configuration asks for that.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{
    ErrorCode,
    context::{CreateStreamErrorKind, GetStreamErrorKind},
    stream::{DiscardPolicy, Info},
};
use eventcast_crds::{config::ChannelConfig, epoch::Epoch, stream::desired_config};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::Log;
use crate::clock::now_nanos;

/// How old a cached state of the stream may be.
const INFO_MAX_AGE: Duration = Duration::from_secs(2);
/// How long the leader may take to report the state for the cache.
const CACHED_INFO_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the creation of the stream may take.
const CREATE_STREAM_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the state of the stream is not known, or the stream was not created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("the channel has no stream")]
    Missing,
    #[error("NATS did not answer a request about the stream")]
    NoAnswer,
    #[error("NATS refused to create the stream: {0}")]
    Refused(String),
}

/// The last known state of the stream and when it was fetched. Concurrent requests share one fetch.
#[derive(Default)]
pub(super) struct InfoCache(Mutex<Option<(Instant, Arc<Info>)>>);

impl Log {
    /// Fetches the state of the stream from its leader, once, within `limit`.
    pub(super) async fn fetch_info(&self, limit: Duration) -> Result<Info, StreamError> {
        match timeout(limit, self.nats.tail.get_stream(&self.settings.stream)).await {
            Ok(Ok(stream)) => {
                let info = stream.cached_info().clone();
                self.export_size(&info);
                Ok(info)
            }
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
        self.cached_info(INFO_MAX_AGE).await
    }

    /// The state of the stream, at most `max_age` old.
    pub(super) async fn cached_info(&self, max_age: Duration) -> Result<Arc<Info>, StreamError> {
        let mut cache = self.info.0.lock().await;
        if let Some((at, info)) = &*cache
            && at.elapsed() < max_age
        {
            return Ok(Arc::clone(info));
        }
        let info = Arc::new(self.fetch_info(CACHED_INFO_TIMEOUT).await?);
        *cache = Some((Instant::now(), Arc::clone(&info)));
        Ok(info)
    }

    /// Sets the metrics of what the stream holds.
    fn export_size(&self, info: &Info) {
        let metrics = self.metrics();
        let (state, config, gauges) = (&info.state, &info.config, &metrics.log);
        let amount = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let age = state.first_timestamp.unix_timestamp_nanos();
        let age = (i128::from(now_nanos()) - age).max(0) / 1_000_000_000;
        let age = if state.messages == 0 { 0 } else { i64::try_from(age).unwrap_or(i64::MAX) };
        gauges.bytes.set(amount(state.bytes));
        gauges.max_bytes.set(config.max_bytes.max(0));
        gauges.events.set(amount(state.messages));
        gauges.max_events.set(config.max_messages.max(0));
        gauges.oldest_seconds.set(age);
        gauges.max_age_seconds.set(amount(config.max_age.as_secs()));
        gauges.rejects_when_full.set((config.discard == DiscardPolicy::New).into());
    }

    /// Empties the cache, so that the next request fetches the state.
    pub(super) async fn invalidate_info(&self) {
        self.info.0.lock().await.take();
    }

    /// Creates the stream of `config`. An existing stream is left unchanged.
    pub(super) async fn create(&self, config: &ChannelConfig) -> Result<(), StreamError> {
        let epoch = Epoch::mint(fastrand::u64(..));
        let created = self.nats.tail.create_stream(desired_config(config, &epoch));
        match timeout(CREATE_STREAM_TIMEOUT, created).await {
            Ok(Ok(_)) => {
                tracing::info!(
                    channel = self.settings.channel,
                    stream = self.settings.stream,
                    "created the stream"
                );
                Ok(())
            }
            Ok(Err(e)) => match e.kind() {
                // Another broker created it first, from the same configuration.
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

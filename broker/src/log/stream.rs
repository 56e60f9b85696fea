//! The JetStream stream itself: its state, its epoch, and its creation where the broker is asked for that.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{
    ErrorCode,
    context::{CreateStreamErrorKind, GetStreamErrorKind},
    stream::Info,
};
use eventcast_crds::{config::ChannelConfig, epoch::Epoch, stream::wanted};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::Log;

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
        self.info_since(FRESH).await
    }

    /// The state of the stream, at most `age` old.
    pub(super) async fn info_since(&self, age: Duration) -> Result<Arc<Info>, StreamError> {
        let mut cache = self.info.0.lock().await;
        if let Some((at, info)) = &*cache
            && at.elapsed() < age
        {
            return Ok(Arc::clone(info));
        }
        let info = Arc::new(self.ask_info(Duration::from_secs(1)).await?);
        *cache = Some((Instant::now(), Arc::clone(&info)));
        Ok(info)
    }

    /// The next who asks gets a new answer.
    pub(super) async fn forget_info(&self) {
        self.info.0.lock().await.take();
    }

    /// Creates the stream of `config`; one that exists is left as it is.
    pub(super) async fn create(&self, config: &ChannelConfig) -> Result<(), StreamError> {
        let epoch = Epoch::mint(fastrand::u64(..));
        let created = self.nats.tail.create_stream(wanted(config, &epoch));
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

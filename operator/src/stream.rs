//! Creates, updates and deletes the stream of a channel. [`plan`] decides what to do.
//!
//! A stream is never deleted or recreated to make a change: if JetStream cannot change the stream, the condition says so, and
//! the data stays.

pub mod access;
pub mod plan;

use std::time::Duration;

use async_nats::jetstream::{
    ErrorCode,
    context::{
        CreateStreamErrorKind, DeleteStreamErrorKind, GetStreamErrorKind, UpdateStreamErrorKind,
    },
    stream::{Config, Info},
};
use eventcast_crds::{
    channel::{
        status::StreamStatus,
        stream::{AdoptionPolicy, DeletionPolicy},
    },
    epoch::Epoch,
    stream::{desired_config, epoch_of},
};
use tokio::time::timeout;

use crate::{
    channel::Channel, leader::Fence, nats::NatsLink, status::reasons, stream_error::StreamError,
};
use plan::{Plan, StreamOwner};

/// How long one request to JetStream may take, the wait for a connection included.
const JETSTREAM_TIMEOUT: Duration = Duration::from_secs(5);

/// A change that was made to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamChange {
    /// The stream did not exist.
    Created,
    /// The stream was missing although the channel had one: its events are lost.
    Recreated,
    /// The stream belonged to somebody else. The text lists the fields that changed.
    Adopted(String),
    /// The configuration differed. The text lists the fields that changed.
    Updated(String),
    /// The stream was deleted together with its channel.
    Deleted,
}

impl StreamChange {
    /// Value of the metric label `change`.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Recreated => "recreated",
            Self::Adopted(_) => "adopted",
            Self::Updated(_) => "updated",
            Self::Deleted => "deleted",
        }
    }
}

/// A stream that matches its channel.
#[derive(Clone, Debug)]
pub struct EnsuredStream {
    /// For `status.stream` of the channel.
    pub status: StreamStatus,
    /// The change that was made, if any.
    pub change: Option<StreamChange>,
    /// A permanent limitation of the stream, if it has one.
    pub limitation: Option<String>,
}

/// Creates the stream of `channel`, or updates it to match the channel.
///
/// `existed` is whether the channel had a stream before. `is_deleted` says of another channel, by namespace and name, whether it
/// certainly no longer exists.
///
/// # Errors
/// See [`StreamError`]. The stream is unchanged.
///
/// # Cancel safety
/// A request that was sent may still take effect. The next reconciliation finds the result.
pub async fn ensure(
    nats: &NatsLink,
    fence: &Fence,
    channel: &Channel,
    cluster: &str,
    existed: bool,
    is_deleted: impl Fn(&str, &str) -> bool,
) -> Result<EnsuredStream, StreamError> {
    let owner = StreamOwner::new(channel, cluster);
    let epoch = Epoch::mint(fastrand::u64(..));
    let mut desired = desired_config(&channel.config, &epoch);
    owner.write_to(&mut desired);
    let may_adopt = channel.spec.stream.adoption_policy == AdoptionPolicy::Adopt;
    let observed = read_info(nats, &desired.name).await?;
    let ensured = |info: &Info, change| EnsuredStream {
        status: stream_status(info),
        change,
        limitation: plan::limitation(&info.config),
    };
    let observed_config = observed.as_ref().map(|info| &info.config);
    match plan::plan(observed_config, &desired, &owner, may_adopt, is_deleted) {
        Plan::Keep => match observed {
            Some(info) => Ok(ensured(&info, None)),
            None => Err(StreamError::transient(reasons::NATS_REFUSED, "the stream disappeared")),
        },
        Plan::Create => {
            check_leader(fence)?;
            let info = create(nats, desired).await?;
            let change = if existed { StreamChange::Recreated } else { StreamChange::Created };
            Ok(ensured(&info, Some(change)))
        }
        Plan::Update { config, changes, adopts } => {
            check_leader(fence)?;
            let info = update(nats, *config).await?;
            // An update of the owner's metadata alone is not reported.
            let is_reported = adopts || !changes.is_empty();
            let change = if adopts {
                StreamChange::Adopted(changes)
            } else {
                StreamChange::Updated(changes)
            };
            Ok(ensured(&info, is_reported.then_some(change)))
        }
        Plan::Reject(reason, message) => Err(StreamError::permanent(reason, message)),
    }
}

/// Deletes the stream of `channel` if it belongs to this very object. Returns `None` if there is no such stream.
///
/// # Errors
/// NATS is unreachable, or rejects the request.
pub async fn delete(
    nats: &NatsLink,
    fence: &Fence,
    channel: &Channel,
    cluster: &str,
) -> Result<Option<StreamChange>, StreamError> {
    debug_assert_eq!(channel.spec.deletion_policy, DeletionPolicy::Delete);
    let name = channel.config.stream_name();
    let Some(info) = read_info(nats, &name).await? else {
        return Ok(None);
    };
    if !StreamOwner::new(channel, cluster).is_same_object(&info.config) {
        // Somebody else owns the stream by now. That must not block the deletion of the channel.
        return Ok(None);
    }
    check_leader(fence)?;
    match with_timeout(nats.jetstream().delete_stream(&name)).await? {
        Ok(_) => Ok(Some(StreamChange::Deleted)),
        Err(e) => match e.kind() {
            DeleteStreamErrorKind::JetStream(e)
                if e.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            DeleteStreamErrorKind::JetStream(e) => Err(rejected(&e)),
            _ => Err(unanswered(&e.to_string())),
        },
    }
}

async fn read_info(nats: &NatsLink, name: &str) -> Result<Option<Info>, StreamError> {
    nats.check_usable()?;
    match with_timeout(nats.jetstream().get_stream(name)).await? {
        Ok(stream) => Ok(Some(stream.cached_info().clone())),
        Err(e) => match e.kind() {
            GetStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                Ok(None)
            }
            GetStreamErrorKind::JetStream(e) => Err(rejected(&e)),
            _ => Err(unanswered(&e.to_string())),
        },
    }
}

async fn create(nats: &NatsLink, config: Config) -> Result<Info, StreamError> {
    match with_timeout(nats.jetstream().create_stream(config)).await? {
        Ok(stream) => Ok(stream.cached_info().clone()),
        Err(e) => Err(match e.kind() {
            CreateStreamErrorKind::JetStream(e) => rejected(&e),
            CreateStreamErrorKind::TimedOut | CreateStreamErrorKind::JetStreamUnavailable => {
                unanswered(&e.to_string())
            }
            _ => StreamError::permanent(reasons::NATS_REFUSED, e.to_string()),
        }),
    }
}

async fn update(nats: &NatsLink, config: Config) -> Result<Info, StreamError> {
    match with_timeout(nats.jetstream().update_stream(config)).await? {
        Ok(info) => Ok(info),
        Err(e) => Err(match e.kind() {
            UpdateStreamErrorKind::JetStream(e) => rejected(&e),
            UpdateStreamErrorKind::TimedOut => unanswered(&e.to_string()),
            _ => StreamError::permanent(reasons::NATS_REFUSED, e.to_string()),
        }),
    }
}

async fn with_timeout<T>(request: impl IntoFuture<Output = T>) -> Result<T, StreamError> {
    let answer = timeout(JETSTREAM_TIMEOUT, request.into_future()).await;
    answer.map_err(|_| unanswered("no answer in 5 s"))
}

fn check_leader(fence: &Fence) -> Result<(), StreamError> {
    fence.check().map_err(|e| StreamError::transient(reasons::BLOCKED, e.to_string()))
}

fn unanswered(cause: &str) -> StreamError {
    let message = format!("JetStream does not answer ({cause}): nothing was changed; retrying");
    StreamError::transient(reasons::NATS_UNREACHABLE, message)
}

/// Explains an error code of JetStream.
fn rejected(error: &async_nats::jetstream::Error) -> StreamError {
    let cause = error.to_string();
    match error.error_code().0 {
        // insufficient resources, storage exceeded, maximum streams, memory and disk
        10023 | 10026 | 10028 | 10047 | 10113 | 10122 => StreamError::transient(
            reasons::QUOTA_EXCEEDED,
            format!(
                "a JetStream limit is reached ({cause}): lower retention.maxBytes, which NATS reserves, or give NATS more storage"
            ),
        ),
        10065 => StreamError::permanent(
            reasons::SUBJECT_CONFLICT,
            format!(
                "another stream captures these subjects ({cause}): set another stream.subjectPrefix, or remove that stream"
            ),
        ),
        10005 | 10074 => StreamError::transient(
            reasons::TOO_FEW_SERVERS,
            format!("JetStream has fewer servers than retention.replicas needs ({cause})"),
        ),
        10052 => StreamError::permanent(
            reasons::IMMUTABLE,
            format!(
                "JetStream cannot make this change ({cause}), so the stream is unchanged: undo the change, or use another channel"
            ),
        ),
        // no leader, server shutting down, cluster not available
        10008 | 10039 | 10076 => unanswered(&cause),
        _ => StreamError::transient(reasons::NATS_REFUSED, format!("NATS server error: {cause}")),
    }
}

fn stream_status(info: &Info) -> StreamStatus {
    let nanos = info.created.unix_timestamp_nanos();
    StreamStatus {
        name: info.config.name.clone(),
        epoch: epoch_of(info).as_str().to_owned(),
        created: jiff::Timestamp::from_nanosecond(nanos).unwrap_or_default().to_string(),
    }
}

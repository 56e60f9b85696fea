//! The stream behind a channel: what is to be done ([`plan`], pure), and doing it.
//!
//! Nothing here deletes or recreates a stream to make a change: what JetStream cannot change is reported, and the data stays.

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
    stream::{epoch_of, wanted},
};
use tokio::time::timeout;

use crate::{
    channel::Channel,
    leader::Fence,
    nats::Jet,
    status::{Verdict, reasons},
};
use plan::{Mark, Plan};

/// How long one question to JetStream may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was done to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Created,
    /// It was not there any more: its events are lost, and clients are told.
    Recreated,
    /// It was made by somebody else, and is ours now.
    Adopted(String),
    /// It differed; what was changed.
    Updated(String),
    /// It was deleted with its channel.
    Deleted,
}

impl Change {
    /// For metrics.
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

/// Why a stream is not as it should be: one of [`reasons`], and words that say what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StreamError {
    /// For the condition.
    pub reason: &'static str,
    /// For the person.
    pub message: String,
    /// Whether it may pass by itself.
    pub passing: bool,
}

impl StreamError {
    /// As a condition.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        Verdict { passing: self.passing, ..Verdict::bad(self.reason, self.message) }
    }

    fn passing(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), passing: true }
    }

    fn lasting(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), passing: false }
    }
}

/// A stream that is as it should be.
#[derive(Clone, Debug)]
pub struct Ensured {
    /// What to report of it.
    pub status: StreamStatus,
    /// What was done, if anything.
    pub change: Option<Change>,
    /// What it cannot do, if anything, and never will.
    pub note: Option<String>,
}

/// Makes the stream of `channel` what it should be. `known`: whether it was there before; `is_gone` tells of another channel, by
/// namespace and name, whether it is certainly not there any more.
///
/// # Errors
/// See [`StreamError`]; the stream is then as it was.
///
/// # Cancel safety
/// What JetStream was told may happen; the next visit finds out.
pub async fn ensure(
    jet: &Jet,
    fence: &Fence,
    channel: &Channel,
    cluster: &str,
    known: bool,
    is_gone: impl Fn(&str, &str) -> bool,
) -> Result<Ensured, StreamError> {
    let mark = Mark::of(channel, cluster);
    let epoch = Epoch::mint(fastrand::u64(..));
    let mut wanted = wanted(&channel.config, &epoch);
    mark.put(&mut wanted);
    let adopt = channel.spec.stream.adoption_policy == AdoptionPolicy::Adopt;
    let observed = info(jet, &wanted.name).await?;
    let of = |info: &Info, change| Ensured {
        status: report(info),
        change,
        note: plan::note(&info.config),
    };
    match plan::plan(observed.as_ref().map(|i| &i.config), &wanted, &mark, adopt, is_gone) {
        Plan::Keep => match observed {
            Some(info) => Ok(of(&info, None)),
            None => Err(StreamError::passing(reasons::NATS_REFUSED, "the stream went away")),
        },
        Plan::Create => {
            check(fence)?;
            let info = create(jet, wanted).await?;
            Ok(of(&info, Some(if known { Change::Recreated } else { Change::Created })))
        }
        Plan::Update { config, changes, adopts } => {
            check(fence)?;
            let info = update(jet, *config).await?;
            // A mark that is brought up to date is no change that anybody need hear of.
            let told = adopts || !changes.is_empty();
            let change = if adopts { Change::Adopted(changes) } else { Change::Updated(changes) };
            Ok(of(&info, told.then_some(change)))
        }
        Plan::Refuse(reason, message) => Err(StreamError::lasting(reason, message)),
    }
}

/// Deletes the stream of `channel`, if it is this very channel's; one that is not there is gone already.
///
/// # Errors
/// NATS does not answer, or refuses.
pub async fn delete(
    jet: &Jet,
    fence: &Fence,
    channel: &Channel,
    cluster: &str,
) -> Result<Option<Change>, StreamError> {
    debug_assert_eq!(channel.spec.deletion_policy, DeletionPolicy::Delete);
    let name = channel.config.stream_name();
    let Some(info) = info(jet, &name).await? else {
        return Ok(None);
    };
    if !Mark::of(channel, cluster).is_exactly_on(&info.config) {
        // Somebody else's by now: not ours to delete, and no reason to hold the channel.
        return Ok(None);
    }
    check(fence)?;
    match within(jet.context().delete_stream(&name)).await? {
        Ok(_) => Ok(Some(Change::Deleted)),
        Err(e) => match e.kind() {
            DeleteStreamErrorKind::JetStream(e)
                if e.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            DeleteStreamErrorKind::JetStream(e) => Err(refused(&e)),
            _ => Err(unanswered(&e.to_string())),
        },
    }
}

async fn info(jet: &Jet, name: &str) -> Result<Option<Info>, StreamError> {
    jet.usable()?;
    match within(jet.context().get_stream(name)).await? {
        Ok(stream) => Ok(Some(stream.cached_info().clone())),
        Err(e) => match e.kind() {
            GetStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                Ok(None)
            }
            GetStreamErrorKind::JetStream(e) => Err(refused(&e)),
            _ => Err(unanswered(&e.to_string())),
        },
    }
}

async fn create(jet: &Jet, config: Config) -> Result<Info, StreamError> {
    match within(jet.context().create_stream(config)).await? {
        Ok(stream) => Ok(stream.cached_info().clone()),
        Err(e) => Err(match e.kind() {
            CreateStreamErrorKind::JetStream(e) => refused(&e),
            CreateStreamErrorKind::TimedOut | CreateStreamErrorKind::JetStreamUnavailable => {
                unanswered(&e.to_string())
            }
            _ => StreamError::lasting(reasons::NATS_REFUSED, e.to_string()),
        }),
    }
}

async fn update(jet: &Jet, config: Config) -> Result<Info, StreamError> {
    match within(jet.context().update_stream(config)).await? {
        Ok(info) => Ok(info),
        Err(e) => Err(match e.kind() {
            UpdateStreamErrorKind::JetStream(e) => refused(&e),
            UpdateStreamErrorKind::TimedOut => unanswered(&e.to_string()),
            _ => StreamError::lasting(reasons::NATS_REFUSED, e.to_string()),
        }),
    }
}

async fn within<T>(asked: impl IntoFuture<Output = T>) -> Result<T, StreamError> {
    timeout(PATIENCE, asked.into_future()).await.map_err(|_| unanswered("no answer in 5 s"))
}

fn check(fence: &Fence) -> Result<(), StreamError> {
    fence.check().map_err(|e| StreamError::passing(reasons::BLOCKED, e.to_string()))
}

fn unanswered(why: &str) -> StreamError {
    let message =
        format!("JetStream does not answer ({why}): nothing was changed, and it is tried again");
    StreamError::passing(reasons::NATS_UNREACHABLE, message)
}

/// What JetStream's codes mean to a person.
fn refused(error: &async_nats::jetstream::Error) -> StreamError {
    let why = error.to_string();
    match error.error_code().0 {
        // insufficient resources, storage exceeded, maximum streams, memory and disk
        10023 | 10026 | 10028 | 10047 | 10113 | 10122 => StreamError::passing(
            reasons::QUOTA_EXCEEDED,
            format!(
                "a limit of JetStream is reached ({why}): lower retention.maxBytes, which is reserved, or give NATS more room"
            ),
        ),
        10065 => StreamError::lasting(
            reasons::SUBJECT_CONFLICT,
            format!(
                "another stream has these subjects ({why}): choose another stream.subjectPrefix, or remove that stream"
            ),
        ),
        10005 | 10074 => StreamError::passing(
            reasons::TOO_FEW_SERVERS,
            format!("JetStream has not enough servers for retention.replicas ({why})"),
        ),
        10052 => StreamError::lasting(
            reasons::IMMUTABLE,
            format!(
                "JetStream cannot make this change ({why}): the stream stays as it is; undo the change, or use another channel"
            ),
        ),
        // no leader, server shutting down, cluster not available
        10008 | 10039 | 10076 => unanswered(&why),
        _ => StreamError::passing(reasons::NATS_REFUSED, format!("NATS refuses: {why}")),
    }
}

fn report(info: &Info) -> StreamStatus {
    let nanos = info.created.unix_timestamp_nanos();
    StreamStatus {
        name: info.config.name.clone(),
        epoch: epoch_of(info).as_str().to_owned(),
        created: jiff::Timestamp::from_nanosecond(nanos).unwrap_or_default().to_string(),
    }
}

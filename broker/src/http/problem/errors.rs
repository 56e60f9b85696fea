//! The problems that clients see for the errors of the core.

use std::time::Duration;

use eventcast_wire::grants::NotGranted;

use super::{Challenge, Kind, Problem};
use crate::{
    broker::TooManyQueries,
    cluster::NotStored,
    log::{EraseError, PublishError, Unavailable},
};

/// How long a client should wait before it repeats a query or an erasure.
const QUERY_RETRY_AFTER: Duration = Duration::from_secs(2);

impl From<TooManyQueries> for Problem {
    fn from(_: TooManyQueries) -> Self {
        let detail = "Too many queries are in progress, from this client or from all, or their answers are not being read. \
             Retry after Retry-After.";
        Self::new(Kind::BUSY, detail).retry_after(QUERY_RETRY_AFTER)
    }
}

impl From<Unavailable> for Problem {
    fn from(_: Unavailable) -> Self {
        let detail = "The log cannot be read at the moment. Retry after Retry-After.";
        Self::new(Kind::UNAVAILABLE, detail).retry_after(QUERY_RETRY_AFTER)
    }
}

impl From<EraseError> for Problem {
    fn from(error: EraseError) -> Self {
        match error {
            EraseError::NoSuchEvent => Self::new(
                Kind::NO_SUCH_EVENT,
                "The log never had an event with this cursor. Send the cursor exactly as the broker gave it.",
            ),
            EraseError::Unavailable => Self::new(
                Kind::UNAVAILABLE,
                "NATS did not confirm the erasure. Retry after Retry-After: repeating an erasure is safe.",
            )
            .retry_after(QUERY_RETRY_AFTER),
            EraseError::NotGranted => Self::new(
                Kind::NOT_GRANTED,
                "The grant of this client does not cover the topic of this event.",
            )
            .challenge(Challenge::InsufficientScope),
            EraseError::Refused => Self::new(
                Kind::ERASURE_REFUSED,
                "The stream of the channel has deny_delete or deny_purge set, so its events stay until retention deletes them. \
                 JetStream cannot change these settings. Recreate the stream without them.",
            ),
        }
    }
}

impl From<&PublishError> for Problem {
    fn from(error: &PublishError) -> Self {
        // Jitter, because all clients that failed together would retry together.
        let wait = Duration::from_secs(fastrand::u64(1..=2));
        match error {
            PublishError::Unavailable | PublishError::NoStream | PublishError::Busy => {
                let detail = format!("The event was not stored: {error}. Retry after Retry-After.");
                let kind = match error {
                    PublishError::NoStream => Kind::NO_STREAM,
                    PublishError::Busy => Kind::BUSY,
                    _ => Kind::UNAVAILABLE,
                };
                Self::new(kind, detail).retry_after(wait)
            }
            PublishError::Throttled => Self::new(
                Kind::THROTTLED,
                "NATS accepts no more events at the moment. Retry after Retry-After.",
            )
            .retry_after(wait),
            PublishError::Unknown => Self::new(
                Kind::OUTCOME_UNKNOWN,
                "NATS did not answer in time, so the event may or may not be stored. Repeat the request with the value of \
                 idempotency_key as its Idempotency-Key: then the event is stored once.",
            ),
            PublishError::Full(why) => Self::new(
                Kind::STORAGE_FULL,
                format!("The storage of the channel or of NATS is full ({why}). Raise the limit or free space."),
            ),
            PublishError::TooLarge => {
                Self::too_large("The event is larger than the stream of the channel allows.", None)
            }
            PublishError::NoTtl => Self::new(
                Kind::NO_TTL,
                "The stream of this channel does not allow a time to live. Publish without ttl, or set allow_msg_ttl on the \
                 stream.",
            )
            .with("field", "ttl"),
            PublishError::Refused(_) => Self::new(Kind::REFUSED, format!("{error}.")),
        }
    }
}

impl From<NotStored> for Problem {
    fn from(_: NotStored) -> Self {
        let detail =
            "Nothing was changed, because NATS did not confirm it. Retry after Retry-After.";
        Self::new(Kind::UNAVAILABLE, detail).retry_after(QUERY_RETRY_AFTER)
    }
}

impl From<NotGranted> for Problem {
    fn from(refusal: NotGranted) -> Self {
        let detail = format!("The grant does not allow this request: {refusal}.");
        match refusal {
            NotGranted::Pattern(_) | NotGranted::Nothing => {
                Self::new(Kind::NOT_GRANTED, detail).challenge(Challenge::InsufficientScope)
            }
            NotGranted::TooManyPatterns => Self::field("topic", detail),
        }
    }
}

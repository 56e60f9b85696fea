//! The problems that clients see for the errors of the core.

use std::time::Duration;

use eventcast_wire::grants::NotGranted;
use http::StatusCode;

use super::{Challenge, Problem};
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
        Self::unavailable("busy", detail).retry_after(QUERY_RETRY_AFTER)
    }
}

impl From<Unavailable> for Problem {
    fn from(_: Unavailable) -> Self {
        let detail = "The log cannot be read at the moment. Retry after Retry-After.";
        Self::unavailable("unavailable", detail).retry_after(QUERY_RETRY_AFTER)
    }
}

impl From<EraseError> for Problem {
    fn from(error: EraseError) -> Self {
        match error {
            EraseError::NoSuchEvent => Self::new(
                StatusCode::NOT_FOUND,
                error.label(),
                "Event not found",
                "The log never had an event with this cursor. Send the cursor exactly as the broker gave it.",
            ),
            EraseError::Unavailable => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                error.label(),
                "Outcome unknown",
                "NATS did not confirm the erasure. Retry after Retry-After: repeating an erasure is safe.",
            )
            .retry_after(QUERY_RETRY_AFTER),
            EraseError::NotGranted => Self::new(
                StatusCode::FORBIDDEN,
                error.label(),
                "Not granted",
                "The grant of this client does not cover the topic of this event.",
            )
            .challenge(Challenge::InsufficientScope),
            EraseError::Refused => Self::new(
                StatusCode::CONFLICT,
                "erasure-refused",
                "Not erased",
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
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Self::new(status, error.label(), "Not stored", detail).retry_after(wait)
            }
            PublishError::Throttled => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                error.label(),
                "Not stored",
                "NATS accepts no more events at the moment. Retry after Retry-After.",
            )
            .retry_after(wait),
            PublishError::Unknown => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "outcome-unknown",
                "Outcome unknown",
                "NATS did not answer in time, so the event may or may not be stored. Repeat the request with the value of \
                 idempotency_key as its Idempotency-Key: then the event is stored once.",
            ),
            PublishError::Full(why) => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "storage-full",
                "Not stored",
                format!("The storage of the channel or of NATS is full ({why}). Raise the limit or free space."),
            ),
            PublishError::TooLarge => {
                Self::too_large("The event is larger than the stream of the channel allows.", None)
            }
            PublishError::NoTtl => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "no-ttl",
                "Not stored",
                "The stream of this channel does not allow a time to live. Publish without ttl, or set allow_msg_ttl on the \
                 stream.",
            )
            .with("field", "ttl"),
            PublishError::Refused(_) => {
                Self::new(StatusCode::BAD_GATEWAY, "refused", "Not stored", format!("{error}."))
            }
        }
    }
}

impl From<NotStored> for Problem {
    fn from(_: NotStored) -> Self {
        let detail =
            "Nothing was changed, because NATS did not confirm it. Retry after Retry-After.";
        Self::unavailable("unavailable", detail).retry_after(QUERY_RETRY_AFTER)
    }
}

impl From<NotGranted> for Problem {
    fn from(refusal: NotGranted) -> Self {
        let detail = format!("The grant does not allow this request: {refusal}.");
        match refusal {
            NotGranted::Pattern(_) | NotGranted::Nothing => {
                Self::new(StatusCode::FORBIDDEN, "not-granted", "Not granted", detail)
                    .challenge(Challenge::InsufficientScope)
            }
            NotGranted::TooManyPatterns => Self::field("topic", detail),
        }
    }
}

//! Erases events from the log: one event, or all events of a topic. When these functions return, the stream and the memory of this
//! broker hold them no more. Other brokers remove them within two seconds ([`retention`](super::retention)).

use std::time::Duration;

use async_nats::Request;
use eventcast_crds::stream::epoch_of;
use eventcast_wire::{cursor::Cursor, subject};
use serde::{Deserialize, Serialize};

use super::{Log, retention::Remove, stream::StreamError};

/// How long the leader may take to report the state of the stream before an erasure.
const ERASE_INFO_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the leader may take to erase. It purges a topic with many events in one step.
const ERASE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why an erasure failed. If NATS did not answer, events may be erased. Repeating the request is safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EraseError {
    #[error("the log has no event with this cursor")]
    NoSuchEvent,
    #[error("NATS is unreachable or did not answer in time")]
    Unavailable,
    #[error("the stream does not allow erasing events")]
    Refused,
    #[error("the grant of the client does not cover the topic of the event")]
    NotGranted,
}

impl EraseError {
    /// The label of a metric.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::NoSuchEvent => "no-such-event",
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
            Self::NotGranted => "not-granted",
        }
    }
}

#[derive(Serialize)]
struct DeleteOne {
    seq: u64,
}

#[derive(Serialize)]
struct Purge<'a> {
    filter: &'a str,
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    purged: u64,
    error: Option<ReplyError>,
}

#[derive(Deserialize)]
struct ReplyError {
    #[serde(default)]
    description: String,
}

impl Log {
    /// Erases the event of `cursor`; JetStream overwrites its bytes on disk. Returns the number of erased events: 0 if the event
    /// was deleted before. `may` says whether the client may erase events of a topic.
    ///
    /// # Errors
    /// See [`EraseError`].
    pub(crate) async fn erase_event(
        &self,
        cursor: &Cursor,
        may: impl Fn(Option<&str>) -> bool,
    ) -> Result<u64, EraseError> {
        let info = self.fetch_info(ERASE_INFO_TIMEOUT).await.map_err(unavailable)?;
        if info.config.deny_delete {
            return Err(EraseError::Refused);
        }
        let known = epoch_of(&info) == cursor.epoch && cursor.sequence <= info.state.last_sequence;
        if !known || cursor.sequence == 0 {
            return Err(EraseError::NoSuchEvent);
        }
        let found = self.leader_get(cursor.sequence).await.map_err(|_| EraseError::Unavailable)?;
        match found.filter(|m| m.sequence == cursor.sequence) {
            None => return Ok(0),
            Some(m) if m.check() != cursor.check => return Err(EraseError::NoSuchEvent),
            Some(m) if !self.topic_of(&m.subject).is_some_and(|topic| may(topic.as_deref())) => {
                return Err(EraseError::NotGranted);
            }
            Some(_) => {}
        }
        self.request_erasure("STREAM.MSG.DELETE", &DeleteOne { seq: cursor.sequence }).await?;
        Ok(1)
    }

    /// The topic of an event with `subject`; `None` if it is not a subject of the channel.
    fn topic_of(&self, subject: &str) -> Option<Option<String>> {
        subject::parse(&self.settings.prefix, subject).ok().map(|(_, topic)| topic)
    }

    /// Erases all events whose topic matches `tokens`, a topic pattern that is encoded as the tokens of a subject. Returns the
    /// number of erased events.
    ///
    /// # Errors
    /// See [`EraseError`].
    pub(crate) async fn erase_topic(&self, tokens: &str) -> Result<u64, EraseError> {
        let info = self.fetch_info(ERASE_INFO_TIMEOUT).await.map_err(unavailable)?;
        if info.config.deny_purge {
            return Err(EraseError::Refused);
        }
        let filter = format!("{}.t.{tokens}", self.settings.prefix);
        let reply = self.request_erasure("STREAM.PURGE", &Purge { filter: &filter }).await?;
        Ok(reply.purged)
    }

    async fn request_erasure(
        &self,
        api: &str,
        request: &impl Serialize,
    ) -> Result<Reply, EraseError> {
        if !self.nats.can_read() {
            return Err(EraseError::Unavailable);
        }
        let body = serde_json::to_vec(request).map_err(|_| EraseError::Unavailable)?;
        let request = Request::new().payload(body.into()).timeout(Some(ERASE_TIMEOUT));
        let subject = format!("{}.{api}.{}", self.nats.api_prefix, self.settings.stream);
        let answer = self.nats.history.client().send_request(subject, request).await;
        let answer = answer.map_err(|_| EraseError::Unavailable)?;
        let reply: Reply =
            serde_json::from_slice(&answer.payload).map_err(|_| EraseError::Unavailable)?;
        match reply.error {
            Some(error) => {
                let channel = &*self.settings.channel;
                tracing::warn!(channel, error = error.description, "NATS refused to erase events");
                Err(EraseError::Unavailable)
            }
            None => {
                // If this fails, the periodic poll removes the events, as on the other brokers.
                if let Err(error) = self.poll_deletions(Remove::AtOnce).await {
                    tracing::debug!(%error, "failed to poll deletions after an erasure");
                }
                self.invalidate_info().await;
                Ok(reply)
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unavailable(error: StreamError) -> EraseError {
    tracing::debug!(%error, "failed to fetch the state of the stream");
    EraseError::Unavailable
}

//! Erasing events from the log: one, or all of a topic. The leader has done it when these return, and this broker's memory
//! has followed; the other brokers follow within two seconds ([`retention`](super::retention)).

use std::time::Duration;

use async_nats::Request;
use eventcast_crds::stream::epoch_of;
use eventcast_wire::cursor::Cursor;
use serde::{Deserialize, Serialize};

use super::{Log, retention::Forget, stream::StreamError};

/// How long the leader may take to describe the stream.
const INFO_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the leader may take to erase: a topic of many events is purged in one step.
const ERASE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why nothing was erased, as far as is known. Erasing again does no harm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EraseError {
    #[error("the log has no such event")]
    NoSuchEvent,
    #[error("NATS is not reachable, or did not answer in time")]
    Unavailable,
    #[error("the stream does not let events be erased")]
    Refused,
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
    /// Erases the event of `cursor`; its bytes are overwritten on disk. Gives how many events that were: 0 where retention or
    /// somebody else was quicker.
    ///
    /// # Errors
    /// The log never had such an event, or NATS cannot or does not want to.
    pub(crate) async fn erase_event(&self, cursor: &Cursor) -> Result<u64, EraseError> {
        let info = self.ask_info(INFO_TIMEOUT).await.map_err(unavailable)?;
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
            Some(_) => {}
        }
        self.request_erasure("STREAM.MSG.DELETE", &DeleteOne { seq: cursor.sequence }).await?;
        Ok(1)
    }

    /// Erases all events whose topic, as the tokens of a subject, `tokens` selects: `*` stands for one segment, a last `>` for
    /// the rest. Gives how many.
    ///
    /// # Errors
    /// NATS cannot or does not want to.
    pub(crate) async fn erase_topic(&self, tokens: &str) -> Result<u64, EraseError> {
        let info = self.ask_info(INFO_TIMEOUT).await.map_err(unavailable)?;
        if info.config.deny_purge {
            return Err(EraseError::Refused);
        }
        let filter = format!("{}.t.{tokens}", self.names.prefix);
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
        let subject = format!("$JS.API.{api}.{}", self.names.stream);
        let answer = self.nats.history.client().send_request(subject, request).await;
        let answer = answer.map_err(|_| EraseError::Unavailable)?;
        let reply: Reply =
            serde_json::from_slice(&answer.payload).map_err(|_| EraseError::Unavailable)?;
        match reply.error {
            Some(error) => {
                let channel = &*self.names.channel;
                tracing::warn!(channel, error = error.description, "NATS did not erase events");
                Err(EraseError::Unavailable)
            }
            None => {
                // Where this fails, memory follows as that of the other brokers does.
                if let Err(error) = self.follow_once(Forget::AtOnce).await {
                    tracing::debug!(%error, "cannot tell yet what was erased");
                }
                self.forget_info().await;
                Ok(reply)
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unavailable(error: StreamError) -> EraseError {
    tracing::debug!(%error, "the stream cannot be asked");
    EraseError::Unavailable
}

//! Answers that stay in memory until their clients have read them: counted in a budget, and not for ever.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::Answer;
use crate::{broker::QueryTurn, budget::Share, server::kill_switch};

/// An answer must have been read within this.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// The bytes of an answer, with what is given back when hyper needs them no more.
struct Retained {
    bytes: Bytes,
    _room: Share,
    _deadline: AbortOnDropHandle<()>,
}

impl AsRef<[u8]> for Retained {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Ends the turn of a query; its answer keeps the room that it needs until it has been read, or cuts off a client that does not read.
pub(super) fn until_read(response: Response<Answer>, turn: QueryTurn) -> Response<Answer> {
    response.map(|answer| match answer {
        Answer::Full(bytes) => {
            let kill = kill_switch();
            let deadline = tokio::spawn(async move {
                sleep(READ_TIMEOUT).await;
                kill.cancel();
            });
            Answer::Full(Bytes::from_owner(Retained {
                _room: turn.end(bytes.len()),
                bytes,
                _deadline: AbortOnDropHandle::new(deadline),
            }))
        }
        other => other,
    })
}

//! Answers to queries, which stay in memory until their clients have read them. They count against a budget, and have a deadline.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::Answer;
use crate::{broker::QuerySlot, budget::Share};

/// How long a client may take to read an answer.
const ANSWER_READ_TIMEOUT: Duration = Duration::from_secs(120);

/// The bytes of an answer. Releases its share of the budget when hyper drops them.
struct BudgetedBytes {
    bytes: Bytes,
    _share: Share,
    _deadline: AbortOnDropHandle<()>,
}

impl AsRef<[u8]> for BudgetedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Releases the slot of a query. Its answer keeps a share of the answer budget until the client has read it; a client that does not
/// read it in time is disconnected.
pub(super) fn hold_until_read(
    response: Response<Answer>,
    slot: QuerySlot,
    kill: &CancellationToken,
) -> Response<Answer> {
    response.map(|answer| match answer {
        Answer::Full(bytes) => {
            let kill = kill.clone();
            let deadline = tokio::spawn(async move {
                sleep(ANSWER_READ_TIMEOUT).await;
                kill.cancel();
            });
            Answer::Full(Bytes::from_owner(BudgetedBytes {
                _share: slot.into_answer_share(bytes.len()),
                bytes,
                _deadline: AbortOnDropHandle::new(deadline),
            }))
        }
        other => other,
    })
}

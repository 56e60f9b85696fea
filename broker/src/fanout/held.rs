//! What an open connection holds for as long as its socket is open, whoever has the socket.

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::metrics::Counted;

/// An open connection, wherever its socket is: counted, within the limit, and waited for at the end.
pub(crate) struct Held {
    pub(crate) _permit: OwnedSemaphorePermit,
    pub(crate) _waited_for: TaskTrackerToken,
    pub(crate) _open: Counted,
}

//! What an open connection holds for as long as its socket is open, whoever has the socket.

use prometheus::IntGauge;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// An open connection, wherever its socket is: counted, within the limit, and waited for at the end.
pub(crate) struct Held {
    _permit: OwnedSemaphorePermit,
    _waited_for: TaskTrackerToken,
    open: IntGauge,
}

impl Held {
    pub(crate) fn new(
        permit: OwnedSemaphorePermit,
        waited_for: TaskTrackerToken,
        open: IntGauge,
    ) -> Self {
        open.inc();
        Self { _permit: permit, _waited_for: waited_for, open }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.open.dec();
    }
}

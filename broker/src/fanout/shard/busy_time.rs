//! Counts the time during which a shard is busy.

use prometheus::Counter;
use tokio::time::Instant;

/// The busy time of one shard, up to the last call of `note` or `skip`.
pub(super) struct BusyTime {
    seconds: Counter,
    noted_until: Instant,
}

impl BusyTime {
    pub(super) fn begin(seconds: &Counter) -> Self {
        Self { seconds: seconds.clone(), noted_until: Instant::now() }
    }

    /// The shard was busy until now.
    pub(super) fn note(&mut self) {
        let now = Instant::now();
        self.seconds.inc_by((now - self.noted_until).as_secs_f64());
        self.noted_until = now;
    }

    /// The shard has waited until now.
    pub(super) fn skip(&mut self) {
        self.noted_until = Instant::now();
    }
}

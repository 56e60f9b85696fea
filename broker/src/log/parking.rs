//! Parks logs without readers: a parked log has no consumer, sends no requests to NATS, and keeps no events in memory.
//!
//! Each attached log costs nats-server a consumer with its heartbeats and a poll of the stream every [0.6 s](super::retention). For
//! thousands of idle channels that adds up to whole cores. So a broker with many channels attaches a log when a [`LogLease`] is taken,
//! and parks it some time after the last lease is dropped (docs/adr/0022). Publishing needs no lease.

use std::{
    future::pending,
    ops::Deref,
    sync::{Arc, OnceLock},
    time::Duration,
};

use eventcast_crds::config::{BrokerConfig, ChannelConfig};
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::{Instant, timeout},
};

use super::{Log, attach, retention};
use crate::metrics::{ChannelMetrics, Metrics};

/// Logs that attach at the same time. JetStream drops all requests when it has too many to answer.
const MAX_ATTACHING: usize = 64;
/// Channels up to which a broker keeps all logs attached, unless it has a folder of channels or its configuration says otherwise.
const MAX_UNPARKED_CHANNELS: usize = 64;
/// Seconds after which a log is parked, unless the configuration says otherwise.
const DEFAULT_IDLE_SECONDS: u64 = 300;
/// The shortest and the longest interval of the heartbeats of consumers.
const HEARTBEATS: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(15)];
/// Heartbeats per second, from all consumers together, above which their interval grows.
const MAX_HEARTBEATS_PER_SECOND: u32 = 500;

/// The settings and counts for parking that all logs of a broker share.
pub(crate) struct Parking {
    /// How long a log must be idle before it is parked; `None`: logs are never parked.
    idle_limit: watch::Sender<Option<Duration>>,
    attached: watch::Sender<usize>,
    attaching: Semaphore,
    /// The metrics that all parked logs share, in a broker with a folder of channels.
    shared_metrics: OnceLock<Arc<ChannelMetrics>>,
}

impl Parking {
    pub(super) fn new() -> Self {
        Self {
            idle_limit: watch::Sender::new(None),
            attached: watch::Sender::new(0),
            attaching: Semaphore::new(MAX_ATTACHING),
            shared_metrics: OnceLock::new(),
        }
    }

    /// Applies `config`, with `channels` channels.
    pub(crate) fn configure(&self, config: &BrokerConfig, channels: usize, metrics: &Arc<Metrics>) {
        if config.channels_folder.is_some() {
            self.shared_metrics.get_or_init(|| metrics.for_parked_channels());
        }
        let many = channels > MAX_UNPARKED_CHANNELS || config.channels_folder.is_some();
        let default = if many { DEFAULT_IDLE_SECONDS } else { 0 };
        let seconds = config.memory.park_after_seconds.unwrap_or(default);
        self.idle_limit.send_replace((seconds > 0).then(|| Duration::from_secs(seconds)));
    }

    /// The metrics that parked logs share; `None` if each log has its own.
    pub(super) fn shared_metrics(&self) -> Option<&Arc<ChannelMetrics>> {
        self.shared_metrics.get()
    }

    /// How often a new consumer sends heartbeats.
    pub(super) fn heartbeat(&self) -> Duration {
        heartbeat(*self.attached.borrow())
    }

    /// How many logs are attached.
    pub(crate) fn attached(&self) -> watch::Receiver<usize> {
        self.attached.subscribe()
    }

    /// Waits until fewer than [`MAX_ATTACHING`] logs are attaching. `None` only if the semaphore is closed, which it never is.
    pub(super) async fn attaching(&self) -> Option<SemaphorePermit<'_>> {
        self.attaching.acquire().await.ok()
    }
}

/// The interval of heartbeats with `attached` logs.
fn heartbeat(attached: usize) -> Duration {
    let attached = u32::try_from(attached).unwrap_or(u32::MAX).min(1_000_000);
    let [shortest, longest] = HEARTBEATS;
    (Duration::from_secs(1) * attached / MAX_HEARTBEATS_PER_SECOND).clamp(shortest, longest)
}

/// The number of leases of a log, and whether it is parked.
pub(super) struct Demand(watch::Sender<DemandState>);

#[derive(Clone, Copy)]
struct DemandState {
    leases: usize,
    parked: bool,
    /// When the log was last unparked. [`Log::lease_attached`] waits for a limited time after that.
    unparked_at: Option<Instant>,
}

impl Demand {
    /// A log without leases. It is parked if logs are parked at all.
    pub(super) fn new(parking: &Parking) -> Self {
        let parked = parking.idle_limit.borrow().is_some();
        Self(watch::Sender::new(DemandState { leases: 0, parked, unparked_at: None }))
    }

    pub(super) fn is_parked(&self) -> bool {
        self.0.borrow().parked
    }
}

/// Keeps a log attached. Dereferences to the log.
pub(crate) struct LogLease(Arc<Log>);

impl Deref for LogLease {
    type Target = Arc<Log>;

    fn deref(&self) -> &Arc<Log> {
        &self.0
    }
}

impl Drop for LogLease {
    fn drop(&mut self) {
        self.0.demand.0.send_if_modified(|demand| {
            demand.leases -= 1;
            demand.leases == 0
        });
    }
}

impl Log {
    /// Keeps the log attached as long as the lease lives. A parked log starts to attach; see [`Log::ready`].
    pub(crate) fn lease(self: &Arc<Self>) -> LogLease {
        self.demand.0.send_if_modified(|demand| {
            demand.leases += 1;
            self.unpark_locked(demand);
            demand.leases == 1
        });
        LogLease(Arc::clone(self))
    }

    /// As [`Log::lease`]. If the log is parked, waits until it is ready, but no longer than `limit` since it began to attach.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn lease_attached(self: &Arc<Self>, limit: Duration) -> LogLease {
        let lease = self.lease();
        let waited = self.demand.0.borrow().unparked_at.map(|at| at.elapsed());
        if let Some(left) = waited.and_then(|waited| limit.checked_sub(waited)) {
            self.ready(left).await;
        }
        lease
    }

    /// Attaches the log if it is parked: its stream may be missing.
    pub(super) fn unpark(&self) {
        self.demand.0.send_if_modified(|demand| self.unpark_locked(demand));
    }

    /// Returns whether the log was parked. From now on it has its own metrics.
    fn unpark_locked(&self, demand: &mut DemandState) -> bool {
        let was_parked = std::mem::replace(&mut demand.parked, false);
        if was_parked {
            demand.unparked_at = Some(Instant::now());
            self.notify_parked(false);
        }
        if was_parked && self.nats.parking.shared_metrics().is_some() {
            self.use_metrics(self.nats.metrics.channel(&self.settings.channel));
        }
        was_parked
    }

    /// Whether the broker has a folder of channels, and so may have any number of logs.
    pub(crate) fn is_one_of_many(&self) -> bool {
        self.nats.parking.shared_metrics().is_some()
    }

    /// Calls `listener` with whether the log is parked, now and whenever that changes. There can be only one listener. It must not use the
    /// log.
    pub(crate) fn on_park(&self, listener: impl Fn(bool) + Send + Sync + 'static) {
        // Under the lock of the demand: no change is missed.
        self.demand.0.send_if_modified(|demand| {
            listener(demand.parked);
            drop(self.on_park.set(Box::new(listener)));
            false
        });
    }

    fn notify_parked(&self, is_parked: bool) {
        if let Some(listener) = self.on_park.get() {
            listener(is_parked);
        }
    }

    /// Whether the log is parked. It is attached as soon as a lease is taken.
    pub(crate) fn is_parked(&self) -> bool {
        self.demand.is_parked()
    }

    /// Parks the log unless there is a lease. Returns whether it is parked.
    fn try_park(&self) -> bool {
        // Under the lock of the demand: a lease that is taken later finds a log that is not ready.
        self.demand.0.send_if_modified(|demand| {
            if demand.leases == 0 {
                self.set_live(false);
                self.tail.park();
                if let Some(shared) = self.nats.parking.shared_metrics() {
                    self.use_metrics(Arc::clone(shared));
                }
                demand.parked = true;
                self.notify_parked(true);
            }
            demand.parked
        })
    }

    /// Clears memory: the deletions of the stream are no longer followed.
    fn forget(&self) {
        self.pages.remove_if(|_, _| true);
        self.count_drop();
    }
}

/// Keeps the log attached while it is needed. Never returns; cancel safe.
pub(super) async fn run(log: &Log, config: &ChannelConfig) {
    loop {
        log.metrics().parked.set(i64::from(log.is_parked()));
        wait_for_demand(log).await;
        log.metrics().parked.set(0);
        let attached = Attached::new(&log.nats.parking);
        // On the heap: a parked log needs little memory.
        tokio::select! {
            () = Box::pin(attach::run(log, config)) => {}
            () = Box::pin(retention::run(log)) => {}
            () = park_when_idle(log) => {}
        }
        drop(attached);
        log.forget();
        tracing::debug!(channel = log.settings.channel, "parked the log: it has no readers");
    }
}

/// Waits until the log is needed, or until parking is disabled.
async fn wait_for_demand(log: &Log) {
    let mut limit = log.nats.parking.idle_limit.subscribe();
    let mut demand = log.demand.0.subscribe();
    tokio::select! {
        _ = demand.wait_for(|demand| !demand.parked) => {}
        _ = limit.wait_for(Option::is_none) => log.unpark(),
    }
}

/// Returns when the log has been parked, after it was idle for the limit with 20 % jitter, so that logs that became idle together are not
/// all parked at the same moment.
async fn park_when_idle(log: &Log) {
    let mut limits = log.nats.parking.idle_limit.subscribe();
    let mut demand = log.demand.0.subscribe();
    loop {
        // The senders live as long as the log: these never fail.
        if demand.wait_for(|demand| demand.leases == 0).await.is_err() {
            return pending().await;
        }
        let limit = *limits.borrow_and_update();
        let Some(limit) = limit else {
            if limits.changed().await.is_err() {
                return pending().await;
            }
            continue;
        };
        let needed = async {
            tokio::select! {
                _ = demand.wait_for(|demand| demand.leases > 0) => {}
                _ = limits.changed() => {}
            }
        };
        let limit = limit.mul_f64(0.8 + 0.4 * fastrand::f64());
        if timeout(limit, needed).await.is_err() && log.try_park() {
            return;
        }
    }
}

/// Counts an attached log.
struct Attached<'a>(&'a Parking);

impl<'a> Attached<'a> {
    fn new(parking: &'a Parking) -> Self {
        parking.attached.send_modify(|attached| *attached += 1);
        Self(parking)
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.0.attached.send_modify(|attached| *attached -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_become_rarer_with_many_logs() {
        assert_eq!(heartbeat(1), Duration::from_millis(250));
        assert_eq!(heartbeat(125), Duration::from_millis(250));
        assert_eq!(heartbeat(1000), Duration::from_secs(2));
        assert_eq!(heartbeat(100_000), Duration::from_secs(15));
    }
}

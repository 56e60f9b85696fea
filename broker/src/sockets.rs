//! Limits the sockets of the public listeners and the sockets that streams may use, and evicts connections when sockets run short
//! (docs/adr/0010).
//!
//! A part of the sockets is reserved for requests, because streams stay open for long. A connection without a stream may use any
//! socket until another connection needs it. Connections without a request are evicted first, then those whose head or body does not
//! arrive and those that do not read their responses. A request that is being processed is never cut off; its time is bounded
//! elsewhere.

mod capacity;
mod connection;

pub(crate) use capacity::{Capacity, TooFewFiles};
pub(crate) use connection::{Connection, Phase, RequestGuard, StreamGuard};

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use slab::Slab;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::metrics::{GaugeGuard, Metrics};

/// How often a waiting connection tries to make room again.
const EVICTION_INTERVAL: Duration = Duration::from_millis(100);

/// All sockets of the public listeners.
pub(crate) struct Sockets {
    capacity: Capacity,
    open: Mutex<Slab<Arc<Connection>>>,
    /// Connections that carry streams.
    with_streams: Mutex<usize>,
    /// Connections that wait for a socket.
    waiting: AtomicUsize,
    freed: Notify,
    began: Instant,
    metrics: Arc<Metrics>,
}

/// Counts a connection that waits for a socket.
struct WaitingGuard<'a>(&'a AtomicUsize);

impl<'a> WaitingGuard<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Relaxed);
        Self(waiting)
    }
}

impl Drop for WaitingGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Keeps an open connection counted, wherever its socket is. A shutdown waits until it is dropped.
pub(crate) struct ConnectionGuard {
    connection: Arc<Connection>,
    key: usize,
    _tracked: TaskTrackerToken,
    _open: GaugeGuard,
}

impl Sockets {
    pub(crate) fn new(capacity: Capacity, metrics: Arc<Metrics>) -> Arc<Self> {
        let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        metrics.connections_max.set(gauge(capacity.sockets));
        metrics.stream_connections_max.set(gauge(capacity.for_streams));
        Arc::new(Self {
            capacity,
            open: Mutex::default(),
            with_streams: Mutex::new(0),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
            began: Instant::now(),
            metrics,
        })
    }

    /// Admits a connection if there is a socket for it.
    pub(crate) fn admit(
        self: &Arc<Self>,
        peer: IpAddr,
        is_tls: bool,
        tracked: TaskTrackerToken,
    ) -> Option<ConnectionGuard> {
        let mut open = self.open.lock();
        if open.len() >= self.capacity.sockets {
            return None;
        }
        let connection = Connection::new(peer, is_tls, self);
        let key = open.insert(Arc::clone(&connection));
        let _open = GaugeGuard::new(self.metrics.connections.of(is_tls));
        Some(ConnectionGuard { connection, key, _tracked: tracked, _open })
    }

    /// As [`admit`](Self::admit), but waits up to `limit` for a socket.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn admit_within(
        self: &Arc<Self>,
        limit: Duration,
        peer: IpAddr,
        is_tls: bool,
        tracked: TaskTrackerToken,
    ) -> Option<ConnectionGuard> {
        let _waiting = WaitingGuard::new(&self.waiting);
        let admitted = async {
            loop {
                let freed = self.freed.notified();
                if let Some(guard) = self.admit(peer, is_tls, tracked.clone()) {
                    return guard;
                }
                self.make_room();
                // Connections that are too new to be evicted now may be evicted a moment later.
                drop(timeout(EVICTION_INTERVAL, freed).await);
            }
        };
        timeout(limit, admitted).await.ok()
    }

    /// Evicts connections that wait for their clients, the longest waiting first, if too few sockets are free.
    pub(crate) fn make_room(&self) {
        let margin = self.capacity.margin() + self.waiting.load(Relaxed);
        let open = self.open.lock();
        let free = self.capacity.sockets - open.len();
        if free >= margin {
            return;
        }
        let evicted = open.iter().filter(|(_, c)| c.is_evicted()).count();
        // A few more than are needed now, so that not every new connection has to search all of them.
        let wanted = (margin + margin / 4).saturating_sub(free + evicted);
        let mut waiting: Vec<_> =
            open.iter().filter_map(|(_, c)| Some((c.rank()?, c.since(), c))).collect();
        if wanted < waiting.len() {
            waiting.select_nth_unstable_by_key(wanted, |(rank, since, _)| (*rank, *since));
            waiting.truncate(wanted);
        }
        for (_, _, connection) in waiting {
            self.metrics.connections_evicted(connection.phase().as_str());
            connection.evict();
        }
    }

    /// Milliseconds since the broker started.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The time of `millis`, as of [`now`](Self::now).
    fn instant(&self, millis: u64) -> Instant {
        self.began + Duration::from_millis(millis)
    }

    /// Counts one more connection that carries streams. Returns false if streams may not use another one.
    fn reserve_for_stream(&self, is_tls: bool) -> bool {
        let mut taken = self.with_streams.lock();
        let room = *taken < self.capacity.for_streams;
        if room {
            *taken += 1;
            self.metrics.stream_connections.of(is_tls).inc();
        }
        room
    }

    fn release_from_streams(&self, is_tls: bool) {
        *self.with_streams.lock() -= 1;
        self.metrics.stream_connections.of(is_tls).dec();
    }
}

impl ConnectionGuard {
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let sockets = self.connection.sockets();
        sockets.open.lock().remove(self.key);
        sockets.freed.notify_one();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use tokio_util::task::TaskTracker;

    use super::*;

    /// A connection without a socket.
    pub(crate) fn connection() -> Arc<Connection> {
        let capacity = Capacity { sockets: 1, for_streams: 1 };
        let sockets = Sockets::new(capacity, Metrics::new().expect("constant names"));
        let tracked = TaskTracker::new().token();
        let guard = sockets.admit(IpAddr::from([192, 0, 2, 1]), false, tracked);
        Arc::clone(guard.expect("there is room").connection())
    }

    #[tokio::test]
    async fn a_connection_is_asked_to_leave_before_or_after_it_waits_for_that() {
        let connection = connection();
        let waiting = timeout(Duration::from_secs(9), connection.asked_to_leave());
        let (asked, ()) = tokio::join!(waiting, async { connection.leave() });
        asked.expect("it was asked");
        assert!(connection.is_leaving());
        let again = super::tests::connection();
        again.leave();
        again.leave();
        timeout(Duration::from_secs(9), again.asked_to_leave()).await.expect("it was asked");
    }
}

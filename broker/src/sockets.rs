//! The sockets of the public listener: how many there may be, how many of them streams may take, and which are closed first when
//! they run short.
//!
//! Streams stay for as long as they like, so some sockets are never theirs: requests always find one. What is not a stream
//! may take every socket, but only for as long as nobody else wants one: connections without a request are closed first, then those
//! whose head or body does not come, or who do not read their answers. A request that is being answered is never cut off; its time is bounded elsewhere.

mod capacity;
mod connection;

pub(crate) use capacity::{Capacity, TooFewFiles};
pub(crate) use connection::{Connection, Phase, Remote, StreamPlace};

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

use crate::metrics::{Counted, Metrics};

/// How often a connection that waits for room looks for some.
const LOOK: Duration = Duration::from_millis(100);

/// All sockets of the public listener.
pub(crate) struct Sockets {
    capacity: Capacity,
    open: Mutex<Slab<Arc<Connection>>>,
    /// Connections that carry streams.
    with_streams: Mutex<usize>,
    /// Connections that wait for room.
    waiting: AtomicUsize,
    freed: Notify,
    began: Instant,
    metrics: Arc<Metrics>,
}

/// Counts one that waits.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// An open connection, wherever its socket is: counted, within the limit, and waited for at the end.
pub(crate) struct Held {
    connection: Arc<Connection>,
    key: usize,
    _waited_for: TaskTrackerToken,
    _open: Counted,
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

    /// Takes a connection, if there is room.
    pub(crate) fn admit(
        self: &Arc<Self>,
        peer: IpAddr,
        waited_for: TaskTrackerToken,
    ) -> Option<Held> {
        let mut open = self.open.lock();
        if open.len() >= self.capacity.sockets {
            return None;
        }
        let connection = Connection::new(peer, self);
        let key = open.insert(Arc::clone(&connection));
        let _open = Counted::new(&self.metrics.connections);
        Some(Held { connection, key, _waited_for: waited_for, _open })
    }

    /// As [`admit`](Self::admit), but waits for room.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn admit_within(
        self: &Arc<Self>,
        patience: Duration,
        peer: IpAddr,
        waited_for: TaskTrackerToken,
    ) -> Option<Held> {
        let _waits = Waits::new(&self.waiting);
        let admitted = async {
            loop {
                let freed = self.freed.notified();
                if let Some(held) = self.admit(peer, waited_for.clone()) {
                    return held;
                }
                self.make_room();
                // Those that had just come may be closed a moment later.
                drop(timeout(LOOK, freed).await);
            }
        };
        timeout(patience, admitted).await.ok()
    }

    /// Closes what waits for its client, the longest first, while fewer sockets are free than newcomers need.
    pub(crate) fn make_room(&self) {
        let margin = self.capacity.margin() + self.waiting.load(Relaxed);
        let open = self.open.lock();
        let free = self.capacity.sockets - open.len();
        if free >= margin {
            return;
        }
        let leaving = open.iter().filter(|(_, c)| c.is_leaving()).count();
        // A few more than are needed now, so that not every newcomer makes us look at all.
        let wanted = (margin + margin / 4).saturating_sub(free + leaving);
        let mut waiting: Vec<_> =
            open.iter().filter_map(|(_, c)| Some((c.rank()?, c.since(), c))).collect();
        if wanted < waiting.len() {
            waiting.select_nth_unstable_by_key(wanted, |(rank, since, _)| (*rank, *since));
            waiting.truncate(wanted);
        }
        for (_, _, connection) in waiting {
            self.metrics.connections_evicted(connection.phase().as_str());
            connection.leave();
        }
    }

    /// Milliseconds since the broker began.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When `millis` of [`now`](Self::now) was.
    fn instant(&self, millis: u64) -> Instant {
        self.began + Duration::from_millis(millis)
    }

    /// One connection more carries streams, if streams may take it.
    fn take_for_stream(&self) -> bool {
        let mut taken = self.with_streams.lock();
        let room = *taken < self.capacity.for_streams;
        if room {
            *taken += 1;
            self.metrics.stream_connections.inc();
        }
        room
    }

    fn free_of_streams(&self) {
        *self.with_streams.lock() -= 1;
        self.metrics.stream_connections.dec();
    }
}

impl Held {
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let sockets = self.connection.sockets();
        sockets.open.lock().remove(self.key);
        sockets.freed.notify_one();
    }
}

//! Closes streams for balance, so that their clients reconnect to other brokers: chooses them and their order.
//!
//! A client whose stream ends may open the next one over the same connection, and so return to this broker. Therefore a connection is told
//! to accept no further requests before one of its streams is closed, and its other streams follow before those of other connections. These
//! may stay if no more are due, or while they must not be closed: the connection still serves them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use eventcast_wire::closing::CloseReason;
use tokio::time::Instant;

use super::{Session, Sessions};

/// How long a selection of streams is used before a new one is made.
const SELECTION_INTERVAL: Duration = Duration::from_secs(1);

/// Closes randomly selected streams for balance.
pub(crate) struct Shedder {
    sessions: Arc<Sessions>,
    /// The streams that are closed next, in order.
    next: VecDeque<Weak<Session>>,
    /// When `next` was selected.
    selected_at: Option<Instant>,
}

impl Shedder {
    pub(crate) fn new(sessions: &Arc<Sessions>) -> Self {
        Self { sessions: Arc::clone(sessions), next: VecDeque::new(), selected_at: None }
    }

    /// Closes up to `count` streams that are at least `min_age` old. Returns how many it closed: not many more than `per_second` until the
    /// next selection.
    pub(crate) fn close(&mut self, count: usize, per_second: usize, min_age: Duration) -> usize {
        let is_recent = self.selected_at.is_some_and(|at| at.elapsed() < SELECTION_INTERVAL);
        if count > 0 && !is_recent {
            self.next = self.sessions.to_shed(per_second, min_age);
            self.selected_at = Some(Instant::now());
        }
        let mut closed = 0;
        while closed < count {
            let Some(session) = self.next.pop_front() else { break };
            let Some(session) = session.upgrade() else { continue };
            if !self.sessions.may_be_shed(&session, min_age) {
                continue;
            }
            session.connection().leave();
            if session.close(CloseReason::Rebalance) {
                closed += 1;
            }
        }
        self.sessions.shed.fetch_add(closed as u64, Relaxed);
        closed
    }

    /// Drops the selection, because no stream is due.
    pub(crate) fn reset(&mut self) {
        self.next = VecDeque::new();
        self.selected_at = None;
    }
}

impl Sessions {
    /// The streams of a channel in random order, but each followed by all others of its connection.
    pub(crate) fn of_channel_by_connection(&self, channel: &str) -> Vec<Arc<Session>> {
        let mut streams = self.select(channel, None);
        fastrand::shuffle(&mut streams);
        let key = |session: &Arc<Session>| Arc::as_ptr(session.connection()).addr();
        by_connection(&streams, streams.len(), key).cloned().collect()
    }

    /// At least `count` streams that may be closed for balance, if there are as many, in the order in which to close them.
    fn to_shed(&self, count: usize, min_age: Duration) -> VecDeque<Weak<Session>> {
        if self.registry.lock().draining {
            return VecDeque::new();
        }
        let mut streams = self.all();
        streams.retain(|session| self.may_be_shed(session, min_age));
        fastrand::shuffle(&mut streams);
        let key = |session: &Arc<Session>| Arc::as_ptr(session.connection()).addr();
        streams.sort_by_key(|session| !session.connection().is_leaving()); // stable
        by_connection(&streams, count, key).map(Arc::downgrade).collect()
    }

    /// Whether a stream may be closed for balance: it must have caught up, so that its client repeats no replay, and be old enough, so that
    /// its client is not moved again and again.
    fn may_be_shed(&self, session: &Session, min_age: Duration) -> bool {
        let age = Duration::from_millis(self.now().saturating_sub(session.admitted_at()));
        !session.is_probe()
            && session.close_reason().is_none()
            && session.is_at_head()
            && age >= min_age
    }
}

/// The first `count` of `streams`, each followed by all others of its connection. `key` identifies the connection of a stream.
fn by_connection<T>(
    streams: &[T],
    count: usize,
    key: impl Fn(&T) -> usize,
) -> impl Iterator<Item = &T> {
    let mut places: HashMap<usize, usize> = HashMap::new();
    for stream in streams.iter().take(count) {
        let place = places.len();
        places.entry(key(stream)).or_insert(place);
    }
    let mut connections = vec![Vec::new(); places.len()];
    for stream in streams {
        if let Some(place) = places.get(&key(stream)) {
            connections[*place].push(stream);
        }
    }
    connections.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_a_connection_follow_each_other() {
        let streams = [(7, "a1"), (8, "b1"), (9, "c1"), (7, "a2"), (9, "c2"), (8, "b2")];
        let first = |count| -> Vec<&str> {
            by_connection(&streams, count, |(key, _)| *key).map(|(_, name)| *name).collect()
        };
        assert_eq!(first(1), ["a1", "a2"]);
        assert_eq!(first(3), ["a1", "a2", "b1", "b2", "c1", "c2"]);
        assert_eq!(first(9), first(3));
        assert_eq!(first(0), [""; 0]);
    }
}

//! Closing streams for balance: which ones, and in which order.
//!
//! A client whose stream ends may open the next one over the same connection, and so come back to this broker. Therefore a connection is
//! told to take no further requests before a stream of it is closed, and its other streams follow before those of other connections. They
//! may stay if no more are due, or while they must not be closed: a connection that takes no further requests serves those under way.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use eventcast_wire::closing::CloseReason;
use tokio::time::Instant;

use super::{Session, Sessions};

/// How long the order of streams is used before it is made anew.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Closes streams for balance, chosen at random.
pub(crate) struct Shedder {
    sessions: Arc<Sessions>,
    /// The streams that are closed next, in order.
    next: VecDeque<Weak<Session>>,
    /// When `next` was made.
    looked: Option<Instant>,
}

impl Shedder {
    pub(crate) fn new(sessions: &Arc<Sessions>) -> Self {
        Self { sessions: Arc::clone(sessions), next: VecDeque::new(), looked: None }
    }

    /// Closes up to `count` streams that are at least `min_age` old. Returns how many it closed.
    pub(crate) fn close(&mut self, count: usize, min_age: Duration) -> usize {
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

    /// Tells the connections of the next `count` streams to take no further requests. Their clients then know it when the streams are
    /// closed.
    pub(crate) fn announce(&mut self, count: usize, min_age: Duration) {
        let is_recent = self.looked.is_some_and(|looked| looked.elapsed() < LOOK_INTERVAL);
        if count > 0 && !is_recent {
            self.next = self.sessions.to_shed(min_age);
            self.looked = Some(Instant::now());
        }
        for session in self.next.iter().take(count).filter_map(Weak::upgrade) {
            session.connection().leave();
        }
    }

    /// Forgets which streams are next: none is due.
    pub(crate) fn rest(&mut self) {
        self.next = VecDeque::new();
        self.looked = None;
    }
}

impl Sessions {
    /// The streams that may be closed for balance, in the order in which they are.
    fn to_shed(&self, min_age: Duration) -> VecDeque<Weak<Session>> {
        if self.registry.lock().draining {
            return VecDeque::new();
        }
        let mut streams = self.all();
        streams.retain(|session| self.may_be_shed(session, min_age));
        fastrand::shuffle(&mut streams);
        let weak = |session: Arc<Session>| {
            let connection = session.connection();
            let (key, is_leaving) = (Arc::as_ptr(connection).addr(), connection.is_leaving());
            (key, is_leaving, Arc::downgrade(&session))
        };
        by_connection(streams.into_iter().map(weak)).into()
    }

    /// Whether a stream may be closed for balance: it gets events as they come, so that its client reads nothing again, and it is old
    /// enough, so that its client is not moved again and again.
    fn may_be_shed(&self, session: &Session, min_age: Duration) -> bool {
        let age = Duration::from_millis(self.now().saturating_sub(session.admitted_at()));
        !session.is_probe()
            && session.close_reason().is_none()
            && session.is_at_head()
            && age >= min_age
    }
}

/// Brings together what belongs to one connection, in the order in which the connections occur, but those that are leaving first. `streams`
/// are pairs of the key of a connection, whether it is leaving, and a stream.
fn by_connection<T>(streams: impl Iterator<Item = (usize, bool, T)>) -> Vec<T> {
    let mut connections: Vec<(bool, Vec<T>)> = Vec::new();
    let mut places: HashMap<usize, usize> = HashMap::new();
    for (key, is_leaving, stream) in streams {
        let place = *places.entry(key).or_insert(connections.len());
        match connections.get_mut(place) {
            Some((_, streams)) => streams.push(stream),
            None => connections.push((is_leaving, vec![stream])),
        }
    }
    connections.sort_by_key(|(is_leaving, _)| !is_leaving); // stable
    connections.into_iter().flat_map(|(_, streams)| streams).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_a_connection_follow_each_other_and_those_of_leaving_ones_come_first() {
        let streams = [
            (7, false, "a1"),
            (8, false, "b1"),
            (9, true, "c1"),
            (7, false, "a2"),
            (9, true, "c2"),
        ];
        assert_eq!(by_connection(streams.into_iter()), ["c1", "c2", "a1", "a2", "b1"]);
        assert_eq!(by_connection(std::iter::empty::<(usize, bool, ())>()), []);
    }
}

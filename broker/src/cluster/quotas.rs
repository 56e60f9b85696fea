//! Quotas of subjects over all brokers of a channel. Time is an argument.
//!
//! Each broker counts its own streams and events and publishes the counts; the others add the last counts that they received. So a limit
//! may be exceeded for as long as a message takes, by what the others admit meanwhile. While NATS is unreachable, each broker enforces the
//! limit alone. The counts of a silent broker are dropped after [`PEER_TIMEOUT`], so nothing leaks when it crashes.

use std::{collections::HashMap, sync::Arc};

use eventcast_crds::config::Quota;
use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use crate::identity::{Identity, RandomId};

/// A broker that publishes nothing for this long is gone.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);
/// The window of new streams.
const CONNECTS_WINDOW: Duration = Duration::from_secs(60);
/// The window of published events.
const PUBLISHES_WINDOW: Duration = Duration::from_secs(1);

/// A hash of a subject, which stands for it in messages.
pub(super) type SubjectHash = u64;

/// What one broker counts of one subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Open streams.
    pub(super) streams: u32,
    /// New streams in the last minute.
    pub(super) connects: u32,
    /// Published events in the last second.
    pub(super) publishes: u32,
}

/// A quota is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// The key in the configuration.
    pub(crate) limit: &'static str,
    /// When to try again.
    pub(crate) wait: Duration,
}

/// Counts in a sliding window, from the present and the previous one.
#[derive(Clone, Copy, Debug)]
struct Window {
    length: Duration,
    began: Instant,
    count: u32,
    previous: u32,
}

impl Window {
    fn new(length: Duration, now: Instant) -> Self {
        Self { length, began: now, count: 0, previous: 0 }
    }

    fn advance(&mut self, now: Instant) {
        let passed = now.duration_since(self.began);
        if passed >= self.length {
            let adjacent = passed < 2 * self.length;
            (self.previous, self.count) = (if adjacent { self.count } else { 0 }, 0);
            self.began = if adjacent { self.began + self.length } else { now };
        }
    }

    fn sum(&mut self, now: Instant) -> u32 {
        self.advance(now);
        let left = 1.0 - now.duration_since(self.began).as_secs_f64() / self.length.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of a u32"
        )]
        let previous = (f64::from(self.previous) * left.clamp(0.0, 1.0)).round() as u32;
        self.count.saturating_add(previous)
    }
}

struct Usage {
    streams: u32,
    connects: Window,
    publishes: Window,
    /// The counts that were published last.
    published: Counts,
}

impl Usage {
    fn new(now: Instant) -> Self {
        Self {
            streams: 0,
            connects: Window::new(CONNECTS_WINDOW, now),
            publishes: Window::new(PUBLISHES_WINDOW, now),
            published: Counts::default(),
        }
    }

    fn counts(&mut self, now: Instant) -> Counts {
        let (connects, publishes) = (self.connects.sum(now), self.publishes.sum(now));
        Counts { streams: self.streams, connects, publishes }
    }
}

/// The last counts of another broker.
struct Peer {
    last_seen: Instant,
    counts: HashMap<SubjectHash, Counts>,
}

#[derive(Default)]
struct Inner {
    local: HashMap<SubjectHash, Usage>,
    peers: HashMap<RandomId, Peer>,
}

/// The quotas of one channel.
#[derive(Default)]
pub(crate) struct Quotas(Mutex<Inner>);

/// Counts a stream until it is dropped.
pub(crate) struct StreamPermit {
    quotas: Arc<Quotas>,
    subject: SubjectHash,
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        if let Some(usage) = self.quotas.0.lock().local.get_mut(&self.subject) {
            usage.streams = usage.streams.saturating_sub(1);
        }
    }
}

impl Inner {
    /// What the other brokers count of `subject`, and how many there are.
    fn remote(&mut self, subject: SubjectHash, now: Instant) -> (Counts, u32) {
        self.peers.retain(|_, peer| now.duration_since(peer.last_seen) < PEER_TIMEOUT);
        let mut sum = Counts::default();
        for counts in self.peers.values().filter_map(|peer| peer.counts.get(&subject)) {
            sum.streams = sum.streams.saturating_add(counts.streams);
            sum.connects = sum.connects.saturating_add(counts.connects);
            sum.publishes = sum.publishes.saturating_add(counts.publishes);
        }
        (sum, u32::try_from(self.peers.len()).unwrap_or(u32::MAX))
    }
}

/// How much of `limit` this broker may use while others use `remote`. At least half of an equal share: otherwise a broker that learns late
/// of the others' use would never get anything.
fn share(limit: u32, remote: u32, peers: u32) -> u32 {
    limit.saturating_sub(remote).max(limit / peers.saturating_add(1).saturating_mul(2)).max(1)
}

impl Quotas {
    /// Admits a stream of `identity` within `quota`.
    ///
    /// # Errors
    /// The quota is used up.
    pub(crate) fn admit(
        self: &Arc<Self>,
        identity: &Identity,
        quota: &Quota,
        now: Instant,
    ) -> Result<StreamPermit, Exceeded> {
        let subject = hash(identity);
        let mut inner = self.0.lock();
        let (remote, peers) = inner.remote(subject, now);
        let usage = inner.local.entry(subject).or_insert_with(|| Usage::new(now));
        if quota.streams > 0 && usage.streams.saturating_add(remote.streams) >= quota.streams {
            return Err(Exceeded { limit: "streams", wait: Duration::from_secs(30) });
        }
        let connects = share(quota.connects_per_minute, remote.connects, peers);
        if quota.connects_per_minute > 0 && usage.connects.sum(now) >= connects {
            return Err(Exceeded { limit: "connectsPerMinute", wait: Duration::from_secs(30) });
        }
        usage.streams += 1;
        usage.connects.count = usage.connects.count.saturating_add(1);
        drop(inner);
        Ok(StreamPermit { quotas: Arc::clone(self), subject })
    }

    /// Counts `events` that `identity` publishes: all of them or none.
    ///
    /// # Errors
    /// The quota is used up.
    pub(crate) fn publish(
        &self,
        identity: &Identity,
        quota: &Quota,
        events: usize,
        now: Instant,
    ) -> Result<(), Exceeded> {
        if quota.publishes_per_second == 0 {
            return Ok(());
        }
        let subject = hash(identity);
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        let mut inner = self.0.lock();
        let (remote, peers) = inner.remote(subject, now);
        let usage = inner.local.entry(subject).or_insert_with(|| Usage::new(now));
        let most = share(quota.publishes_per_second, remote.publishes, peers);
        let used = usage.publishes.sum(now);
        // A batch that is larger than the quota is admitted if nothing else was published in the window. Otherwise it never would be.
        if used > 0 && used.saturating_add(events) > most {
            return Err(Exceeded { limit: "publishesPerSecond", wait: PUBLISHES_WINDOW });
        }
        usage.publishes.count = usage.publishes.count.saturating_add(events);
        Ok(())
    }

    /// The counts that have changed since they were published last, or all of them.
    pub(super) fn changed_counts(&self, all: bool, now: Instant) -> Vec<(SubjectHash, Counts)> {
        let mut inner = self.0.lock();
        let mut changes = Vec::new();
        inner.local.retain(|subject, usage| {
            let counts = usage.counts(now);
            if counts != usage.published || (all && counts != Counts::default()) {
                changes.push((*subject, counts));
            }
            usage.published = counts;
            counts != Counts::default()
        });
        changes
    }

    /// Stores the counts of another broker. If `all`, they are complete: the counts of all other subjects are zero. Returns whether the
    /// broker is new.
    pub(super) fn update_peer(
        &self,
        broker: RandomId,
        all: bool,
        counts: &[(SubjectHash, Counts)],
        now: Instant,
    ) -> bool {
        let mut inner = self.0.lock();
        let is_new = !inner.peers.contains_key(&broker);
        let peer = inner
            .peers
            .entry(broker)
            .or_insert_with(|| Peer { last_seen: now, counts: HashMap::new() });
        peer.last_seen = now;
        if all {
            peer.counts.clear();
        }
        for (subject, counts) in counts {
            if *counts == Counts::default() {
                peer.counts.remove(subject);
            } else {
                peer.counts.insert(*subject, *counts);
            }
        }
        is_new
    }

    /// How many other brokers there are.
    pub(super) fn peers(&self, now: Instant) -> usize {
        let mut inner = self.0.lock();
        inner.peers.retain(|_, peer| now.duration_since(peer.last_seen) < PEER_TIMEOUT);
        inner.peers.len()
    }
}

fn hash(identity: &Identity) -> SubjectHash {
    identity.digest().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> Identity {
        Identity { issuer: "i".into(), subject: "ann".into() }
    }

    fn quota(streams: u32, connects: u32, publishes: u32) -> Quota {
        Quota {
            name: "users".into(),
            streams,
            connects_per_minute: connects,
            publishes_per_second: publishes,
        }
    }

    #[test]
    fn streams_of_all_brokers_count_until_one_falls_silent() {
        let (here, there) = (Arc::new(Quotas::default()), Arc::new(Quotas::default()));
        let now = Instant::now();
        let limit = quota(3, 0, 0);
        let _one = here.admit(&ann(), &limit, now).ok().unwrap();
        let two = there.admit(&ann(), &limit, now).ok().unwrap();
        let _three = there.admit(&ann(), &limit, now).ok().unwrap();
        let other = RandomId::generate();
        here.update_peer(other, true, &there.changed_counts(true, now), now);
        assert_eq!(here.admit(&ann(), &limit, now).err().map(|e| e.limit), Some("streams"));
        drop(two);
        here.update_peer(other, false, &there.changed_counts(false, now), now);
        let four = here.admit(&ann(), &limit, now).ok();
        assert!(four.is_some(), "one of them ended");
        assert!(here.admit(&ann(), &limit, now).is_err());
        let later = now + PEER_TIMEOUT;
        assert!(here.admit(&ann(), &limit, later).is_ok(), "the other broker is gone");
        assert_eq!(here.peers(later), 0);
    }

    #[test]
    fn what_ended_is_told_once_and_forgotten() {
        let quotas = Arc::new(Quotas::default());
        let now = Instant::now();
        let permit = quotas.admit(&ann(), &quota(1, 0, 0), now).ok().unwrap();
        assert_eq!(quotas.changed_counts(false, now).len(), 1);
        assert_eq!(quotas.changed_counts(false, now).len(), 0, "nothing changed");
        drop(permit);
        let much_later = now + CONNECTS_WINDOW * 3;
        assert_eq!(
            quotas.changed_counts(false, much_later).first().map(|(_, c)| *c),
            Some(Counts::default())
        );
        assert!(quotas.0.lock().local.is_empty());
    }

    #[test]
    fn rates_are_shared_and_never_zero() {
        let (here, now) = (Arc::new(Quotas::default()), Instant::now());
        let limit = quota(0, 0, 10);
        let theirs = Counts { publishes: 8, ..Counts::default() };
        here.update_peer(RandomId::generate(), true, &[(hash(&ann()), theirs)], now);
        assert_eq!((0..10).filter(|_| here.publish(&ann(), &limit, 1, now).is_ok()).count(), 2);
        let theirs = Counts { publishes: 10, ..Counts::default() };
        here.update_peer(RandomId::generate(), true, &[(hash(&ann()), theirs)], now);
        let later = now + PUBLISHES_WINDOW * 2;
        assert!(here.publish(&ann(), &limit, 1, later).is_ok(), "a part is left to everyone");
        assert!(here.publish(&ann(), &limit, 50, later + PUBLISHES_WINDOW * 2).is_ok(), "alone");
    }

    #[test]
    fn new_streams_of_a_minute_slide() {
        let (quotas, now) = (Arc::new(Quotas::default()), Instant::now());
        let limit = quota(0, 6, 0);
        let admitted = |at| (0..10).filter(|_| quotas.admit(&ann(), &limit, at).is_ok()).count();
        assert_eq!(admitted(now), 6);
        assert_eq!(admitted(now + CONNECTS_WINDOW / 2), 0);
        assert_eq!(
            admitted(now + CONNECTS_WINDOW * 3 / 2),
            3,
            "half of the last minute still counts"
        );
    }
}

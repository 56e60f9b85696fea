//! Which brokers serve a channel while it moves between its own brokers and a pool, or between two pools. Pure.
//!
//! The new brokers are prepared first. When all of them serve the channel, its Service is switched: new streams go to them. The old ones go on
//! for [`SETTLE`], because clients and proxies notice the switch with a delay, and then close their streams at an even pace. The clients come back to the
//! new brokers with their cursors, which belong to the stream and not to a broker.

use std::time::Duration;

use eventcast_crds::channel::{
    brokers::PoolReference,
    status::{EventChannelStatus, Moved},
};
use jiff::{SignedDuration, Timestamp};

use crate::owner::{ChannelKey, OwnerKey, OwnerKind};

/// For how long the old brokers go on after the switch.
pub const SETTLE: Duration = Duration::from_secs(10);
/// How much longer than its drain a pool keeps a channel that leaves: until the kubelet has updated the mounted files, and slow streams have ended.
const LEAVE_MARGIN: Duration = Duration::from_secs(60);

/// Which brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The channel's own.
    Own,
    /// Those of a pool.
    Pool(OwnerKey),
}

impl Place {
    /// The place that `pool` names for a channel in `namespace`.
    #[must_use]
    pub fn new(pool: Option<&PoolReference>, namespace: &str) -> Self {
        pool.map_or(Self::Own, |pool| {
            let namespace = pool.namespace.as_deref().unwrap_or(namespace).to_owned();
            Self::Pool(OwnerKey { kind: OwnerKind::Pool, namespace, name: pool.name.clone() })
        })
    }

    fn reference(&self) -> Option<PoolReference> {
        match self {
            Self::Own => None,
            Self::Pool(OwnerKey { namespace, name, .. }) => {
                Some(PoolReference { name: name.clone(), namespace: Some(namespace.clone()) })
            }
        }
    }

    /// The pool, if it is one.
    #[must_use]
    pub fn pool(&self) -> Option<&OwnerKey> {
        match self {
            Self::Own => None,
            Self::Pool(key) => Some(key),
        }
    }
}

/// Where a channel was when it was reconciled last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastPlacement {
    /// The brokers that serve it. `None`: nobody has served it yet.
    pub current: Option<Place>,
    /// The brokers that served it before, and since when they do not.
    pub previous: Option<(Place, Timestamp)>,
}

impl PastPlacement {
    /// From the status of a channel. `has_brokers`: it has a Deployment of its own.
    #[must_use]
    pub fn new(status: &EventChannelStatus, channel: &ChannelKey, has_brokers: bool) -> Self {
        let place = |pool: Option<&PoolReference>| Place::new(pool, &channel.0);
        let current = match &status.pool {
            Some(pool) => Some(place(Some(pool))),
            None => has_brokers.then_some(Place::Own),
        };
        let previous = status.moved.as_ref().and_then(|moved| {
            Some((place(moved.from.as_ref()), moved.at.parse::<Timestamp>().ok()?))
        });
        Self { current, previous }
    }
}

/// Where a channel is, and which brokers it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The brokers that new streams go to.
    pub serves: Place,
    /// The brokers that served it before, and since when they do not.
    pub previous: Option<(Place, Timestamp)>,
    /// Whether it has brokers of its own.
    pub has_brokers: bool,
    /// When the next step is due.
    pub next: Option<Duration>,
}

impl Placement {
    /// The fields `pool` and `moved` of the status.
    #[must_use]
    pub fn status(&self) -> (Option<PoolReference>, Option<Moved>) {
        let moved = self.previous.as_ref().map(|(from, at)| Moved {
            from: from.reference(),
            at: Timestamp::from_second(at.as_second()).unwrap_or(*at).to_string(),
        });
        (self.serves.reference(), moved)
    }
}

/// Decides where a channel is that wants to be at `wanted`. `is_ready`: all brokers there serve it. `drain`: how long the brokers of a pool
/// take to close their streams.
#[must_use]
pub fn place(
    past: &PastPlacement,
    wanted: &Place,
    is_ready: bool,
    drain: Duration,
    now: Timestamp,
) -> Placement {
    let current = past.current.as_ref().unwrap_or(wanted);
    let (serves, previous) = if current != wanted && is_ready {
        (wanted.clone(), Some((current.clone(), now)))
    } else {
        (current.clone(), past.previous.clone())
    };
    let previous =
        previous.filter(|(place, at)| *place != serves && since(*at, now) < end(place, drain));
    let keeps_own = matches!(&previous, Some((Place::Own, _)));
    let has_brokers = keeps_own || serves == Place::Own || *wanted == Place::Own;
    let next = previous.as_ref().map(|(place, at)| {
        let passed = since(*at, now);
        let due = if passed < SETTLE { SETTLE } else { end(place, drain) };
        due.saturating_sub(passed) + Duration::from_millis(100)
    });
    Placement { serves, previous, has_brokers, next }
}

/// What a pool does with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// The channel is not in its files.
    No,
    /// The pool serves the channel.
    Serves,
    /// The channel is served elsewhere; the pool closes the streams that it still has.
    Leaves,
}

/// What the pool `pool` does with a channel that wants to be at `wanted`, which the pool has admitted or not.
#[must_use]
pub fn membership(
    pool: &OwnerKey,
    past: &PastPlacement,
    wanted: &Place,
    is_admitted: bool,
    drain: Duration,
    now: Timestamp,
) -> Membership {
    let is_here = |place: &Place| place.pool() == Some(pool);
    if is_here(wanted) {
        return if is_admitted { Membership::Serves } else { Membership::No };
    }
    if past.current.as_ref().is_some_and(is_here) {
        return Membership::Serves;
    }
    match &past.previous {
        Some((place, at)) if is_here(place) => match since(*at, now) {
            passed if passed < SETTLE => Membership::Serves,
            passed if passed < end(place, drain) => Membership::Leaves,
            _ => Membership::No,
        },
        _ => Membership::No,
    }
}

/// After which time the old brokers are done.
fn end(place: &Place, drain: Duration) -> Duration {
    match place {
        // Kubernetes ends the brokers, which close their streams then.
        Place::Own => SETTLE,
        Place::Pool(_) => SETTLE + drain + LEAVE_MARGIN,
    }
}

fn since(at: Timestamp, now: Timestamp) -> Duration {
    let passed = now.duration_since(at).max(SignedDuration::ZERO);
    Duration::try_from(passed).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Duration = Duration::from_secs(15);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1000 + second).unwrap()
    }

    fn pool(name: &str) -> Place {
        Place::new(Some(&PoolReference { name: name.into(), namespace: None }), "ns")
    }

    /// The past that a placement leaves in the status.
    fn after(placement: &Placement) -> PastPlacement {
        let (pool, moved) = placement.status();
        let status = EventChannelStatus { pool, moved, ..EventChannelStatus::default() };
        PastPlacement::new(&status, &("ns".into(), "a".into()), placement.has_brokers)
    }

    fn member(name: &str, past: &PastPlacement, wanted: &Place, second: i64) -> Membership {
        let pool = pool(name).pool().unwrap().clone();
        membership(&pool, past, wanted, true, DRAIN, at(second))
    }

    #[test]
    fn a_channel_moves_into_a_pool_when_its_brokers_serve_it() {
        let past = PastPlacement { current: Some(Place::Own), previous: None };
        let wanted = pool("p");
        let waiting = place(&past, &wanted, false, DRAIN, at(0));
        assert_eq!((&waiting.serves, waiting.has_brokers), (&Place::Own, true));
        assert_eq!(member("p", &past, &wanted, 0), Membership::Serves, "it is being prepared");
        let switched = place(&after(&waiting), &wanted, true, DRAIN, at(5));
        assert_eq!((&switched.serves, switched.has_brokers), (&wanted, true));
        assert_eq!(switched.next.unwrap().as_secs(), 10);
        let settled = place(&after(&switched), &wanted, false, DRAIN, at(14));
        assert!(settled.has_brokers, "clients may not have noticed");
        let done = place(&after(&settled), &wanted, true, DRAIN, at(15));
        assert!(!done.has_brokers && done.previous.is_none() && done.next.is_none());
        assert_eq!(done.serves, wanted);
    }

    #[test]
    fn a_channel_leaves_a_pool_at_an_even_pace() {
        let past = PastPlacement { current: Some(pool("p")), previous: None };
        let waiting = place(&past, &Place::Own, false, DRAIN, at(0));
        assert_eq!((&waiting.serves, waiting.has_brokers), (&pool("p"), true), "they start");
        let switched = place(&past, &Place::Own, true, DRAIN, at(0));
        assert_eq!(switched.serves, Place::Own);
        let past = after(&switched);
        let states = [0, 9, 10, 84, 85].map(|second| member("p", &past, &Place::Own, second));
        use Membership::{Leaves, No, Serves};
        assert_eq!(states, [Serves, Serves, Leaves, Leaves, No]);
        assert!(place(&past, &Place::Own, true, DRAIN, at(84)).previous.is_some());
        assert_eq!(place(&past, &Place::Own, true, DRAIN, at(85)).previous, None);
    }

    #[test]
    fn a_channel_that_moves_back_is_served_by_its_former_brokers() {
        let past = PastPlacement { current: Some(Place::Own), previous: None };
        let switched = place(&past, &pool("p"), true, DRAIN, at(0));
        let back = place(&after(&switched), &Place::Own, true, DRAIN, at(3));
        assert_eq!((&back.serves, back.has_brokers), (&Place::Own, true));
        assert_eq!(back.previous, Some((pool("p"), at(3))));
        let again = place(&after(&back), &pool("p"), true, DRAIN, at(20));
        assert_eq!(member("p", &after(&again), &pool("p"), 20), Membership::Serves);
        assert_eq!(again.previous, Some((Place::Own, at(20))));
    }

    #[test]
    fn a_new_channel_is_where_it_wants_to_be() {
        let past = PastPlacement { current: None, previous: None };
        let new = place(&past, &pool("p"), false, DRAIN, at(0));
        assert_eq!((&new.serves, new.has_brokers, new.next), (&pool("p"), false, None));
        assert_eq!(new.status().0.unwrap().name, "p");
        assert!(place(&past, &Place::Own, false, DRAIN, at(0)).has_brokers);
    }

    #[test]
    fn a_pool_serves_what_it_has_admitted() {
        let pool_key = pool("p").pool().unwrap().clone();
        let member = |past: &PastPlacement, wanted: &Place, is_admitted| {
            membership(&pool_key, past, wanted, is_admitted, DRAIN, at(0))
        };
        let new = PastPlacement { current: None, previous: None };
        let served = PastPlacement { current: Some(pool("p")), previous: None };
        assert_eq!(member(&new, &pool("p"), false), Membership::No);
        assert_eq!(member(&served, &pool("p"), false), Membership::No, "no longer");
        assert_eq!(member(&new, &pool("p"), true), Membership::Serves);
        assert_eq!(member(&served, &Place::Own, false), Membership::Serves, "it is leaving");
        assert_eq!(member(&new, &pool("q"), true), Membership::No);
    }
}

//! An amount that all clients share, and of which one client has a part at most: bytes of requests and of answers, turns of queries.
//! Who finds nothing left waits in order; how long is for the caller to bound.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::client::Client;

/// Units of any kind.
pub(crate) struct Budget {
    all: Arc<Semaphore>,
    /// Units that one client has at most.
    each: u32,
    clients: Mutex<HashMap<Client, (Arc<Semaphore>, usize)>>,
    in_use: IntGauge,
}

/// Units in use; given back when dropped.
pub(crate) struct Share {
    units: u32,
    // The permits are given back before the client is forgotten.
    of_all: Option<OwnedSemaphorePermit>,
    of_client: Option<OwnedSemaphorePermit>,
    place: Place,
}

/// Keeps the units of a client in the map.
struct Place {
    budget: Arc<Budget>,
    client: Client,
    units: Arc<Semaphore>,
}

impl Budget {
    /// `all` units, of which one client has `each` at most.
    pub(crate) fn new(all: usize, each: usize, in_use: IntGauge) -> Arc<Self> {
        let all = all.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let each = u32::try_from(each.clamp(1, all)).unwrap_or(u32::MAX);
        let all = Arc::new(Semaphore::new(all));
        Arc::new(Self { all, each, clients: Mutex::default(), in_use })
    }

    /// A share of nothing, to grow.
    pub(crate) fn open(self: &Arc<Self>, client: Client) -> Share {
        let mut clients = self.clients.lock();
        let fresh = || (Arc::new(Semaphore::new(self.each as usize)), 0);
        let (units, shares) = clients.entry(client).or_insert_with(fresh);
        *shares += 1;
        let place = Place { budget: Arc::clone(self), client, units: Arc::clone(units) };
        Share { units: 0, of_all: None, of_client: None, place }
    }

    /// Waits for `units`, or for all that one client may have if they are more.
    ///
    /// # Cancel safety
    /// Safe; the place in the queue is lost.
    pub(crate) async fn take(self: &Arc<Self>, client: Client, units: usize) -> Share {
        let mut share = self.open(client);
        share.grow_to(units).await;
        share
    }
}

impl Share {
    /// Waits until the share has `units`, or all that one client may have if they are more.
    ///
    /// # Cancel safety
    /// Safe: the share stays as large as it was.
    pub(crate) async fn grow_to(&mut self, units: usize) {
        let budget = Arc::clone(&self.place.budget);
        let wanted = u32::try_from(units).unwrap_or(u32::MAX).min(budget.each);
        let Some(more) = wanted.checked_sub(self.units).filter(|more| *more > 0) else {
            return;
        };
        // Its own units first: a client that has used them up does not stand in the way of others.
        let own = Arc::clone(&self.place.units).acquire_many_owned(more).await;
        let all = Arc::clone(&budget.all).acquire_many_owned(more).await;
        // Never closed.
        if let (Ok(own), Ok(all)) = (own, all) {
            merge(&mut self.of_client, own);
            merge(&mut self.of_all, all);
            self.units = wanted;
            budget.in_use.add(more.into());
        }
    }

    /// Gives back what is above `units`.
    pub(crate) fn shrink_to(&mut self, units: usize) {
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let Some(less) = self.units.checked_sub(units).filter(|less| *less > 0) else {
            return;
        };
        for permit in [&mut self.of_all, &mut self.of_client] {
            drop(permit.as_mut().and_then(|p| p.split(less as usize)));
        }
        self.units = units;
        self.place.budget.in_use.sub(less.into());
    }
}

fn merge(into: &mut Option<OwnedSemaphorePermit>, more: OwnedSemaphorePermit) {
    match into {
        Some(permit) => permit.merge(more),
        None => *into = Some(more),
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut clients = self.budget.clients.lock();
        if let Some((_, shares)) = clients.get_mut(&self.client) {
            *shares -= 1;
            if *shares == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn client(n: u8) -> Client {
        Client::of([192, 0, 2, n].into())
    }

    fn budget(all: usize, each: usize) -> Arc<Budget> {
        Budget::new(all, each, IntGauge::new("in_use", "units").unwrap())
    }

    #[test]
    fn one_client_does_not_take_what_is_for_all() {
        let budget = budget(10, 6);
        let first = budget.take(client(1), 6).now_or_never().expect("there is room");
        assert!(budget.take(client(1), 1).now_or_never().is_none(), "it has its part");
        let second = budget.take(client(2), 4).now_or_never().expect("another has room");
        assert!(budget.take(client(3), 1).now_or_never().is_none(), "all is in use");
        assert_eq!(budget.in_use.get(), 10);
        drop(first);
        let third = budget.take(client(3), 6).now_or_never().expect("there is room again");
        drop((second, third));
        assert_eq!(budget.in_use.get(), 0);
        assert!(budget.clients.lock().is_empty(), "clients are forgotten");
    }

    #[test]
    fn a_share_grows_and_shrinks() {
        let budget = budget(10, 8);
        let mut share = budget.open(client(1));
        share.grow_to(5).now_or_never().expect("there is room");
        share.grow_to(3).now_or_never().expect("it has them");
        assert_eq!(budget.in_use.get(), 5);
        share.grow_to(1000).now_or_never().expect("as much as one client may have");
        assert_eq!(budget.in_use.get(), 8);
        let other = budget.take(client(2), 2).now_or_never().expect("the rest");
        share.shrink_to(1);
        assert_eq!(budget.in_use.get(), 3);
        drop(share);
        drop(other);
        assert_eq!((budget.in_use.get(), budget.all.available_permits()), (0, 10));
    }

    #[test]
    fn giving_up_waiting_leaves_nothing_behind() {
        let budget = budget(4, 4);
        let held = budget.take(client(1), 4).now_or_never().expect("there is room");
        let mut waits = budget.open(client(2));
        assert!(waits.grow_to(2).now_or_never().is_none());
        drop((held, waits));
        assert_eq!((budget.in_use.get(), budget.all.available_permits()), (0, 4));
        assert!(budget.clients.lock().is_empty());
    }
}

//! A budget that all clients share, with a limit per client: bytes of requests, bytes of answers, query slots.
//!
//! A client that finds nothing left waits in order. The caller limits how long.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::client::Client;

/// A number of units, of any kind.
pub(crate) struct Budget {
    total: Arc<Semaphore>,
    /// Units that one client may use.
    per_client: u32,
    /// The units of each client and the number of its shares.
    clients: Mutex<HashMap<Client, (Arc<Semaphore>, usize)>>,
    in_use: IntGauge,
}

/// Units that a client uses. They are released when it is dropped.
pub(crate) struct Share {
    units: u32,
    // Declared before `account`, so that the permits are released before the client is removed.
    of_total: Option<OwnedSemaphorePermit>,
    of_client: Option<OwnedSemaphorePermit>,
    account: Account,
}

/// Keeps the entry of a client in [`Budget::clients`].
struct Account {
    budget: Arc<Budget>,
    client: Client,
    units: Arc<Semaphore>,
}

impl Budget {
    /// A budget of `total` units, of which one client may use `per_client`.
    pub(crate) fn new(total: usize, per_client: usize, in_use: IntGauge) -> Arc<Self> {
        let total = total.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let per_client = u32::try_from(per_client.clamp(1, total)).unwrap_or(u32::MAX);
        let total = Arc::new(Semaphore::new(total));
        Arc::new(Self { total, per_client, clients: Mutex::default(), in_use })
    }

    /// An empty share, which can grow.
    pub(crate) fn open(self: &Arc<Self>, client: Client) -> Share {
        let mut clients = self.clients.lock();
        let fresh = || (Arc::new(Semaphore::new(self.per_client as usize)), 0);
        let (units, shares) = clients.entry(client).or_insert_with(fresh);
        *shares += 1;
        let account = Account { budget: Arc::clone(self), client, units: Arc::clone(units) };
        Share { units: 0, of_total: None, of_client: None, account }
    }

    /// Waits for a share of `units`, at most the limit of one client.
    ///
    /// # Cancel safety
    /// Safe. The place in the queue is lost.
    pub(crate) async fn take(self: &Arc<Self>, client: Client, units: usize) -> Share {
        let mut share = self.open(client);
        share.grow_to(units).await;
        share
    }
}

impl Share {
    /// Waits until the share has `units`, at most the limit of one client.
    ///
    /// # Cancel safety
    /// Safe: the share keeps its size.
    pub(crate) async fn grow_to(&mut self, units: usize) {
        let budget = Arc::clone(&self.account.budget);
        let wanted = u32::try_from(units).unwrap_or(u32::MAX).min(budget.per_client);
        let Some(more) = wanted.checked_sub(self.units).filter(|more| *more > 0) else {
            return;
        };
        // The units of the client first: a client at its limit must not block the queue for others.
        let own = Arc::clone(&self.account.units).acquire_many_owned(more).await;
        let total = Arc::clone(&budget.total).acquire_many_owned(more).await;
        // The semaphores are never closed.
        if let (Ok(own), Ok(total)) = (own, total) {
            merge(&mut self.of_client, own);
            merge(&mut self.of_total, total);
            self.units = wanted;
            budget.in_use.add(more.into());
        }
    }

    /// Releases the units above `units`.
    pub(crate) fn shrink_to(&mut self, units: usize) {
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let Some(less) = self.units.checked_sub(units).filter(|less| *less > 0) else {
            return;
        };
        for permit in [&mut self.of_total, &mut self.of_client] {
            drop(permit.as_mut().and_then(|p| p.split(less as usize)));
        }
        self.units = units;
        self.account.budget.in_use.sub(less.into());
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

impl Drop for Account {
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

    fn budget(total: usize, per_client: usize) -> Arc<Budget> {
        Budget::new(total, per_client, IntGauge::new("in_use", "units").unwrap())
    }

    #[test]
    fn one_client_cannot_use_the_whole_budget() {
        let budget = budget(10, 6);
        let first = budget.take(client(1), 6).now_or_never().expect("there is room");
        assert!(budget.take(client(1), 1).now_or_never().is_none(), "the client is at its limit");
        let second = budget.take(client(2), 4).now_or_never().expect("another client has room");
        assert!(budget.take(client(3), 1).now_or_never().is_none(), "the budget is used up");
        assert_eq!(budget.in_use.get(), 10);
        drop(first);
        let third = budget.take(client(3), 6).now_or_never().expect("there is room again");
        drop((second, third));
        assert_eq!(budget.in_use.get(), 0);
        assert!(budget.clients.lock().is_empty(), "clients without shares are removed");
    }

    #[test]
    fn a_share_grows_and_shrinks() {
        let budget = budget(10, 8);
        let mut share = budget.open(client(1));
        share.grow_to(5).now_or_never().expect("there is room");
        share.grow_to(3).now_or_never().expect("the share is large enough");
        assert_eq!(budget.in_use.get(), 5);
        share.grow_to(1000).now_or_never().expect("the limit of one client");
        assert_eq!(budget.in_use.get(), 8);
        let other = budget.take(client(2), 2).now_or_never().expect("the rest");
        share.shrink_to(1);
        assert_eq!(budget.in_use.get(), 3);
        drop(share);
        drop(other);
        assert_eq!((budget.in_use.get(), budget.total.available_permits()), (0, 10));
    }

    #[test]
    fn a_cancelled_wait_leaves_nothing_behind() {
        let budget = budget(4, 4);
        let held = budget.take(client(1), 4).now_or_never().expect("there is room");
        let mut waits = budget.open(client(2));
        assert!(waits.grow_to(2).now_or_never().is_none());
        drop((held, waits));
        assert_eq!((budget.in_use.get(), budget.total.available_permits()), (0, 4));
        assert!(budget.clients.lock().is_empty());
    }
}

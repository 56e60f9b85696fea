//! Limits how many refused credentials a client may send, by guessing or by repeating a bad one.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::client::Client;

/// Clients that are remembered.
const MAX_CLIENTS: usize = 16_384;
/// How many refusals may come at once.
const BURST: u64 = 20;
/// One more refusal is allowed after this time: 20 in a second.
const INTERVAL: Duration = Duration::from_millis(50);

/// The recent refusals of clients.
pub(super) struct Refusals {
    began: Instant,
    /// For each client the theoretical arrival time of its last refusal (GCRA), in milliseconds since `began`. Made with the first refusal.
    clients: OnceLock<Cache<Client, Arc<AtomicU64>>>,
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), clients: OnceLock::new() }
    }

    /// Whether `client` may present another credential at `now`.
    ///
    /// # Errors
    /// How long it must wait.
    pub(super) fn check(&self, client: Client, now: Instant) -> Result<(), Duration> {
        let last = self.clients.get().and_then(|clients| clients.get(&client));
        let Some(last) = last else { return Ok(()) };
        let now = self.millis(now);
        let full = last.load(Ordering::Relaxed).saturating_sub((BURST - 1) * interval());
        if full <= now { Ok(()) } else { Err(Duration::from_millis(full - now)) }
    }

    /// Counts a refusal of `client` at `now`.
    pub(super) fn count(&self, client: Client, now: Instant) {
        let now = self.millis(now);
        let clients = self.clients.get_or_init(|| Cache::new(MAX_CLIENTS));
        let last = clients.get(&client).unwrap_or_else(|| {
            let new = Arc::new(AtomicU64::new(0));
            clients.insert(client, Arc::clone(&new));
            new
        });
        let next = |last: u64| Some(last.max(now) + interval());
        let counted = last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        debug_assert!(counted.is_ok(), "the closure always returns a value");
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.began).as_millis()).unwrap_or(u64::MAX / 2)
    }
}

fn interval() -> u64 {
    u64::try_from(INTERVAL.as_millis()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_refusals_at_once_and_twenty_in_a_second() {
        let (refusals, began) = (Refusals::new(), Instant::now());
        let (one, other) = (Client::of([192, 0, 2, 1].into()), Client::of([192, 0, 2, 2].into()));
        let refused_at = |after: Duration| {
            let allowed = refusals.check(one, began + after).is_ok();
            if allowed {
                refusals.count(one, began + after);
            }
            allowed
        };
        let at_once = (0..100).filter(|_| refused_at(Duration::ZERO)).count();
        assert_eq!(at_once, 20);
        assert!(refusals.check(one, began).unwrap_err() <= INTERVAL);
        assert!(refusals.check(other, began).is_ok(), "another client");
        let in_ten_seconds = (1..=10_000).filter(|i| refused_at(Duration::from_millis(*i))).count();
        assert!((199..=201).contains(&in_ten_seconds), "{in_ten_seconds}");
        let later = Duration::from_secs(20);
        assert_eq!((0..100).filter(|_| refused_at(later)).count(), 20);
    }
}

//! Keeps the shared state of a channel up to date.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{
    records::{Record, Revocation, Revoked},
    state::SharedState,
    store::{NotStored, Store},
};
use crate::clock::now_millis;

/// How often everything is read again.
const READ_INTERVAL: Duration = Duration::from_secs(60);
/// How long to wait after a failure.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Failures in a row after which a warning is logged. A reconnect causes a few.
const FAILURES_TO_WARN: u32 = 10;

impl SharedState {
    /// Follows the stream until the future is dropped. `on_change` is called after each record was taken over.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn follow(self: Arc<Self>, store: Store, on_change: impl Fn(&Record)) {
        let mut connected = store.nats().connections();
        loop {
            self.wait_for_need(|needed| needed.records).await;
            connected.mark_unchanged();
            store.nats().wait_for_connection().await;
            // Subscribe before reading: a record that is stored in between arrives twice, which changes nothing.
            let Some(mut changes) = store.subscribe().await else {
                sleep(RETRY_DELAY).await;
                continue;
            };
            let mut tick = interval(READ_INTERVAL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = tick.tick() => {
                        if !self.needs_records() {
                            break;
                        }
                        Box::pin(self.read(&store, &on_change)).await;
                    }
                    () = self.wanted() => Box::pin(self.read(&store, &on_change)).await,
                    _ = connected.changed() => Box::pin(self.read(&store, &on_change)).await,
                    record = store.next(&mut changes) => match record {
                        Some(Some(record)) => {
                            self.apply(&record);
                            on_change(&record);
                        }
                        Some(None) => tracing::debug!("ignored an access record of an unknown form"),
                        None => break,
                    },
                    () = self.wait_for_need(|needed| !needed.records) => break,
                }
            }
            if !self.needs_records() {
                self.forget();
            }
        }
    }

    async fn read(&self, store: &Store, on_change: &impl Fn(&Record)) {
        for failures in 1_u32.. {
            let read = store.read(|record| {
                self.apply(&record);
                on_change(&record);
            });
            match read.await {
                Ok(()) => break,
                Err(error) => {
                    if failures == FAILURES_TO_WARN {
                        tracing::warn!(%error, "cannot read the records that brokers share; credentials cannot be verified until it \
                            succeeds: check the NATS permissions for EVENTCAST_ACCESS (docs/OPERATIONS.md)");
                    }
                    // Without the stream there are no records, and no key for tickets.
                    if store.is_missing().await && store.create().await == Ok(false) {
                        break;
                    }
                    sleep(RETRY_DELAY).await;
                }
            }
        }
        self.prune();
        self.ensure_key(store).await;
        self.mark_read();
    }

    /// Makes the key of today, if tickets may be issued.
    async fn ensure_key(&self, store: &Store) {
        let today = u32::try_from(now_millis() / 86_400_000).unwrap_or(0);
        if !self.wants_keys() || self.has_key(today) {
            return;
        }
        match store.make_key(today).await {
            // This key, or the one that another broker stored first, is used at once, without waiting for the republished message.
            Ok(()) | Err(NotStored::Exists) => {
                let read = store.read(|record| self.apply(&record));
                if let Err(error) = read.await {
                    tracing::debug!(%error, "the new key of tickets was not read");
                }
            }
            Err(error) => tracing::debug!(%error, "the key of tickets of today was not made"),
        }
    }
}

impl Revocation {
    /// Revokes what began before now.
    pub(crate) fn now(what: Revoked) -> Self {
        Self { what, before: now_millis() }
    }
}

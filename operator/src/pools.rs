//! Reconciles BrokerPools: which channels a pool serves, its files and objects, its status.
//!
//! One loop reconciles all pools, because there are few. It runs when something has changed about a pool or a channel that names one; changes within two
//! seconds are written together. After a write the brokers are asked until they all serve what was written. What is found goes to
//! [`pool_views`](crate::pool_views), and the channels that it concerns are reconciled.

mod admission;
mod ask;
mod members;
mod reconcile;
mod status;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use eventcast_runtime::Chain;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::ListParams};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use crate::{
    broker_client::BrokerClient,
    names::POOL_LABEL,
    owner::{OwnerKey, OwnerKind},
    pod_marks::PodMarks,
    pool_changes::PoolChanges,
    reconcile::Context,
};
use members::Members;

/// Changes within this time are written together.
const BATCH: Duration = Duration::from_secs(2);
/// Changes that come together are written together, even after a quiet time.
const SETTLE: Duration = Duration::from_millis(200);
/// Pauses before brokers are asked again that do not serve what was written.
const ASK_AGAIN: [u64; 5] = [1, 2, 4, 8, 15];
/// Interval at which all pools are reconciled even if nothing has changed.
const INTERVAL: Duration = Duration::from_secs(60);

/// Reconciles the pools of all scopes.
pub struct Pools<'a> {
    /// What reconciliations share, for each scope.
    pub contexts: &'a [Arc<Context>],
    /// Tells what has changed.
    pub changes: &'a PoolChanges,
}

/// How often the brokers of each pool were asked since they should serve something else.
type Asked = HashMap<OwnerKey, usize>;

impl Pools<'_> {
    /// Reconciles until the future is dropped.
    pub async fn run(&self) {
        for ctx in self.contexts {
            ctx.scope.wait_channels_listed().await;
            ctx.scope.wait_pools_listed().await;
        }
        let client = BrokerClient::default();
        let mut changes = self.changes.subscribe();
        let (mut members, mut asked) = (Members::default(), Asked::new());
        for ctx in self.contexts {
            remember_files(ctx, &mut members).await;
        }
        loop {
            changes.mark_unchanged();
            let began = Instant::now();
            let next = self.reconcile_all(&client, &mut members, &mut asked).await;
            wait(&mut changes, began, next).await;
        }
    }

    /// Returns the time after which pools must be reconciled again.
    async fn reconcile_all(
        &self,
        client: &BrokerClient,
        members: &mut Members,
        asked: &mut Asked,
    ) -> Duration {
        let mut next = INTERVAL;
        let Some(first) = self.contexts.first() else { return next };
        if first.fence.check().is_err() {
            return BATCH;
        }
        let (mut existing, mut fills) = (HashSet::new(), BTreeMap::new());
        for ctx in self.contexts {
            let marks = PodMarks::new(&ctx.client, &ctx.fence, &ctx.metrics);
            for raw in ctx.scope.pools.state() {
                let key = OwnerKey::of(OwnerKind::Pool, &raw);
                let reconciler = reconcile::PoolReconciler {
                    ctx,
                    contexts: self.contexts,
                    marks: &marks,
                    client,
                };
                let outcome = Box::pin(reconciler.reconcile(&raw, members)).await;
                if !outcome.exists {
                    continue;
                }
                let name = format!("{}/{}", key.namespace, key.name);
                fills.extend(outcome.fill.map(|fill| (name, fill)));
                existing.insert(key.clone());
                self.request(outcome.changed_channels).await;
                let asked = asked.entry(key).or_default();
                if outcome.is_complete {
                    *asked = 0;
                } else {
                    let pause = ASK_AGAIN[(*asked).min(ASK_AGAIN.len() - 1)];
                    next = next.min(Duration::from_secs(pause));
                    *asked += 1;
                }
            }
        }
        first.metrics.set_pools(&fills);
        asked.retain(|key, _| existing.contains(key));
        members.forget_others(self.contexts);
        let gone = first.pool_views.complete(&existing);
        self.request(gone).await;
        next
    }

    /// Requests reconciliations of channels.
    async fn request(&self, channels: HashSet<(String, String)>) {
        for channel in channels {
            let owner = OwnerKey::channel(channel);
            for ctx in self.contexts.iter().filter(|ctx| ctx.scope.covers(&owner.namespace)) {
                ctx.scope.request(&owner).await;
            }
        }
    }
}

/// Reads the files that an earlier operator has written. The cache has only hashes of them.
async fn remember_files(ctx: &Context, members: &mut Members) {
    if ctx.scope.pools.state().is_empty() {
        return;
    }
    let params = ListParams::default().labels(POOL_LABEL);
    let maps: Api<ConfigMap> = match &ctx.scope.namespace {
        Some(namespace) => Api::namespaced(ctx.client.clone(), namespace),
        None => Api::all(ctx.client.clone()),
    };
    match maps.list(&params).await {
        Ok(list) => {
            let files = list.iter().filter_map(|map| map.data.as_ref()).flat_map(BTreeMap::values);
            members.remember(files.map(String::as_str));
        }
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "cannot read the files of pools: channels whose spec is invalid are not served");
        }
    }
}

/// Waits until something has changed, or `next` has passed.
async fn wait(changes: &mut watch::Receiver<()>, began: Instant, next: Duration) {
    if let Ok(Ok(())) = timeout_at(Instant::now() + next, changes.changed()).await {
        sleep(SETTLE).await;
        sleep_until(began + BATCH).await;
    }
}

//! The control loop: watch events become reconcile requests, and requests become reconciliations.
//!
//! A channel is reconciled by one task at a time. When the cluster starts or stops to serve an optional API, the loop restarts
//! with new watches.

use std::{collections::HashSet, sync::Arc, time::Duration};

use eventcast_crds::channel::status::EventChannelStatus;
use eventcast_runtime::{
    Chain, fault,
    supervise::{Supervisor, panicked},
};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use kube::{
    Client, ResourceExt,
    core::DynamicObject,
    runtime::controller::{Action, Config, Error as ControllerError, applier},
};
use tokio::{sync::watch, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    apis,
    apply::Applier,
    backoff::Backoff,
    broker_polls,
    broker_reports::BrokerReports,
    claims::Claims,
    clock::Clock,
    decisions::Decisions,
    events::Events,
    fleet::Fleet,
    leader::Fence,
    looks::Looks,
    metrics::Metrics,
    nats::NatsLink,
    pool_changes::PoolChanges,
    pool_views::PoolViews,
    pools::Pools,
    reconcile::{self, Context, error_policy, reconcile},
    rollouts::RolloutSettings,
    schema::Schema,
    scope::{Requests, Scope},
    settings::{OptionalApis, Settings},
    token_reviewers,
};

/// Requests for one channel within this time become one reconciliation.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Interval at which optional APIs are discovered and the CRD is compared.
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(60);
/// Interval after a failed comparison: the API server publishes the schema of a new CRD with a delay.
const DISCOVERY_RETRY_INTERVAL: Duration = Duration::from_secs(6);
/// How long a reconciliation waits for the caches before it logs a warning.
const CACHE_SYNC_TIMEOUT: Duration = Duration::from_secs(120);
/// Interval at which the gauge of channels is updated.
const CHANNEL_COUNT_INTERVAL: Duration = Duration::from_secs(5);

/// Everything that the control loop needs.
#[derive(Clone)]
pub struct Operator {
    /// Client of the API server.
    pub client: Client,
    /// Settings that apply to all channels.
    pub settings: Arc<Settings>,
    /// Connection to NATS.
    pub nats: Arc<NatsLink>,
    /// Whether this process may write.
    pub fence: Fence,
    /// Metrics of the process.
    pub metrics: Arc<Metrics>,
    /// How the installed CRD and the operator's CRD differ.
    pub schema: Arc<Schema>,
    /// Name of this replica in Events.
    pub identity: String,
    /// Ends the process when a reconciliation panics.
    pub supervisor: Supervisor,
    /// The running reconciliations.
    pub reconciles: TaskTracker,
    /// The namespaces to watch; all if empty.
    pub namespaces: Vec<String>,
    /// Number of reconciliations at the same time.
    pub concurrency: u16,
    /// Interval at which every channel is reconciled even if nothing changed.
    pub resync: Duration,
    /// Interval at which the subscribers of brokers are counted, to scale and to balance them.
    pub look_interval: Duration,
    /// The claims of this operator and of others.
    pub claims: Arc<Claims>,
    /// Clock of the autopilot.
    pub clock: Clock,
    /// Limits of rollouts that the operator begins itself.
    pub rollouts: RolloutSettings,
}

/// What outlives the watches.
struct Shared {
    backoff: Arc<Backoff>,
    reports: Arc<BrokerReports>,
    decisions: Arc<Decisions>,
    fleet: Arc<Fleet>,
    pool_changes: PoolChanges,
    pool_views: Arc<PoolViews>,
}

impl Operator {
    /// Reconciles until `stop`. Running reconciliations continue in `reconciles`.
    pub async fn run(&self, stop: CancellationToken) {
        let shared = Shared {
            backoff: Arc::default(),
            reports: Arc::default(),
            decisions: Arc::default(),
            fleet: Arc::new(Fleet::new(&self.settings)),
            pool_changes: PoolChanges::default(),
            pool_views: Arc::default(),
        };
        while !stop.is_cancelled() {
            let apis = apis::discover(&self.client).await;
            let restart = stop.child_token();
            let namespaces: Vec<_> = match self.namespaces.as_slice() {
                [] => vec![None],
                names => names.iter().cloned().map(Some).collect(),
            };
            let schema_changes = watch::Sender::new(0_u64);
            let scopes =
                namespaces.into_iter().map(|namespace| self.scope(namespace, apis, &shared));
            let scopes: Vec<_> = scopes.collect();
            let contexts: Vec<_> = scopes.iter().map(|(ctx, _)| Arc::clone(ctx)).collect();
            let caches: Vec<_> = contexts.iter().map(|ctx| Arc::clone(&ctx.scope)).collect();
            let loops = scopes.into_iter().map(|(ctx, requests)| {
                self.reconcile_requests(ctx, requests, schema_changes.subscribe(), restart.clone())
            });
            let pools = Pools { contexts: &contexts, changes: &shared.pool_changes };
            let periodic = async {
                tokio::select! {
                    () = self.watch_definitions(apis, &schema_changes) => {}
                    () = self.count_channels(&contexts) => {}
                    () = broker_polls::run(&self.fence, &self.metrics, &caches, &shared.reports, &self.claims) => {}
                    () = self.look(&caches, &shared) => {}
                    () = Box::pin(pools.run()) => {}
                    () = shared.fleet.run(&caches, &self.rollouts, &self.metrics) => {}
                    () = token_reviewers::run(
                        &self.client,
                        self.settings.token_review_binding.as_deref(),
                        &self.fence,
                        &self.metrics,
                        &caches,
                        &shared.reports,
                        self.resync,
                    ) => {}
                    () = restart.cancelled() => {}
                }
                restart.cancel();
            };
            futures_util::join!(futures_util::future::join_all(loops), periodic);
        }
    }

    /// Looks at brokers for the autopilot.
    async fn look(&self, scopes: &[Arc<Scope>], shared: &Shared) {
        let looks = Looks {
            client: &self.client,
            fence: &self.fence,
            metrics: &self.metrics,
            events: Events::new(self.client.clone(), self.identity.clone()),
            settings: &self.settings,
            nats: &self.nats,
            claims: &self.claims,
            scopes,
            decisions: &shared.decisions,
            interval: self.look_interval,
            clock: self.clock,
        };
        looks.run().await;
    }

    fn scope(
        &self,
        namespace: Option<String>,
        apis: OptionalApis,
        shared: &Shared,
    ) -> (Arc<Context>, Requests) {
        let (client, settings) = (self.client.clone(), &*self.settings);
        let (scope, requests) = Scope::watch(
            client,
            namespace,
            apis,
            settings,
            shared.pool_changes.clone(),
            &self.metrics,
        );
        let context = Context {
            settings: Arc::clone(&self.settings),
            client: self.client.clone(),
            scope,
            nats: Arc::clone(&self.nats),
            applier: Arc::new(Applier::new(
                self.fence.clone(),
                Arc::clone(&self.metrics),
                self.resync,
            )),
            fence: self.fence.clone(),
            events: Events::new(self.client.clone(), self.identity.clone()),
            metrics: Arc::clone(&self.metrics),
            backoff: Arc::clone(&shared.backoff),
            broker_reports: Arc::clone(&shared.reports),
            decisions: Arc::clone(&shared.decisions),
            fleet: Arc::clone(&shared.fleet),
            pool_views: Arc::clone(&shared.pool_views),
            pool_changes: shared.pool_changes.clone(),
            schema: Arc::clone(&self.schema),
            claims: Arc::clone(&self.claims),
            other_operators: Arc::default(),
            resync: self.resync,
        };
        (Arc::new(context), requests)
    }

    /// Reconciles the requested channels of one scope, until `stop`.
    async fn reconcile_requests(
        &self,
        ctx: Arc<Context>,
        requests: Requests,
        schema_changes: watch::Receiver<u64>,
        stop: CancellationToken,
    ) {
        // Requests every channel after each change.
        let all_channels = |changes: watch::Receiver<u64>| {
            let scope = Arc::clone(&ctx.scope);
            let changes = stream::unfold(changes, |mut changes| async move {
                changes.changed().await.ok()?;
                sleep(DEBOUNCE).await;
                changes.mark_unchanged();
                Some(((), changes))
            });
            changes.flat_map(move |()| stream::iter(scope.requests_for_all()).map(Ok)).boxed()
        };
        let sources = [requests, all_channels(self.nats.changes()), all_channels(schema_changes)];
        let stopped = stop.clone();
        let queue = stream::select_all(sources).take_until(stop.cancelled_owned());
        let config = Config::default().concurrency(self.concurrency).debounce(DEBOUNCE);
        let store = ctx.scope.channels.clone();
        let channels = store.clone();
        let reconcile = |raw: Arc<_>, ctx: Arc<Context>| {
            Box::pin(async move {
                // The applier polls the queue, which fills the caches, while this waits.
                if !ctx.scope.wait_synced(CACHE_SYNC_TIMEOUT).await {
                    tracing::warn!(
                        "the caches are incomplete: the API server rejects a watch, or is unreachable"
                    );
                }
                reconcile(raw, ctx).await
            })
        };
        let reconciles = applier(
            self.in_own_task(reconcile),
            |raw, error, ctx| error_policy(&raw, error, &ctx),
            ctx,
            store,
            queue,
            config,
        );
        let stopped_before_sync = async {
            stopped.cancelled().await;
            // The applier waits for the cache of channels. If the queue ends before that is complete, it would wait forever.
            if channels.wait_until_ready().now_or_never().is_none() {
                return;
            }
            std::future::pending::<()>().await;
        };
        let reconciles = reconciles.for_each(|result| async move {
            match result {
                // The channel was deleted before its reconciliation, or `error_policy` has logged the failure.
                Ok(_)
                | Err(ControllerError::ObjectNotFound(_) | ControllerError::ReconcilerFailed(..)) =>
                    {}
                Err(error) => tracing::warn!(error = %Chain(&error), "reconcile queue error"),
            }
        });
        tokio::select! {
            () = reconciles => {}
            () = stopped_before_sync => {}
        }
        if !stopped.is_cancelled() {
            self.supervisor.fail("watches", "the streams of watch events ended");
            stopped.cancel();
        }
    }

    /// Returns when the cluster serves other optional APIs. Also compares the CRD; every channel reports a difference.
    async fn watch_definitions(&self, known: OptionalApis, schema_changes: &watch::Sender<u64>) {
        loop {
            let pause = match self.schema.refresh(&self.client, &self.metrics).await {
                Ok(changed) => {
                    if changed {
                        schema_changes.send_modify(|n| *n += 1);
                    }
                    // A cluster may get its CRDs one after the other.
                    if self.schema.serves_pools() {
                        DISCOVERY_INTERVAL
                    } else {
                        DISCOVERY_RETRY_INTERVAL
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "cannot compare the CRD; retrying");
                    DISCOVERY_RETRY_INTERVAL
                }
            };
            sleep(pause).await;
            if apis::discover_or(&self.client, known).await != known {
                tracing::info!("the optional APIs of the cluster changed; restarting the watches");
                return;
            }
        }
    }

    /// Updates the gauge of channels, and drops the state of deleted channels and pools.
    async fn count_channels(&self, contexts: &[Arc<Context>]) {
        loop {
            let (mut ready, mut all) = (0, HashSet::new());
            for raw in contexts.iter().flat_map(|ctx| ctx.scope.channels.state()) {
                let status: EventChannelStatus = raw
                    .data
                    .get("status")
                    .and_then(|s| serde_json::from_value(s.clone()).ok())
                    .unwrap_or_default();
                let is_ready =
                    status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
                ready += usize::from(is_ready);
                all.extend(raw.uid());
            }
            self.metrics.set_channels(ready, all.len() - ready);
            let pools = contexts.iter().flat_map(|ctx| ctx.scope.pools.state());
            all.extend(pools.filter_map(|raw| raw.uid()));
            for ctx in contexts {
                ctx.applier.retain(&all);
                ctx.backoff.retain(&all);
                ctx.other_operators.retain(&all);
            }
            sleep(CHANNEL_COUNT_INTERVAL).await;
        }
    }

    /// Runs each reconciliation in its own task, so that they use all processors. A panic ends the process: its state cannot be
    /// trusted, and the channel would never be reconciled again.
    fn in_own_task<F>(
        &self,
        reconcile: impl Fn(Arc<DynamicObject>, Arc<Context>) -> F,
    ) -> impl FnMut(
        Arc<DynamicObject>,
        Arc<Context>,
    ) -> BoxFuture<'static, Result<Action, reconcile::Error>>
    where
        F: Future<Output = Result<Action, reconcile::Error>> + Send + 'static,
    {
        let (supervisor, reconciles) = (self.supervisor.clone(), self.reconciles.clone());
        move |object, context| {
            let name = format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any());
            let reconcile = fault::inject("reconcile".into(), reconcile(object, context));
            let (task, supervisor) = (reconciles.spawn(reconcile), supervisor.clone());
            Box::pin(async move {
                let error = match task.await {
                    Ok(result) => return result,
                    Err(error) => error,
                };
                let cause = match error.try_into_panic() {
                    Ok(panic) => panicked(&*panic),
                    Err(aborted) => aborted.to_string(),
                };
                supervisor.fail(format!("reconcile of {name}"), &cause);
                Err(reconcile::Error::Panicked(cause))
            })
        }
    }
}

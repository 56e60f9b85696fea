//! The loop: watches and news become requests, requests become visits.
//!
//! Of each channel there is one visit at a time. Optional APIs that come or go end the loop, and it begins again with the watches
//! that there can be now.

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
    events::Events,
    leader::Fence,
    metrics::Metrics,
    nats::Jet,
    reconcile::{self, Context, reconcile, retry},
    schema::Schema,
    scope::Scope,
    settings::{Apis, Settings},
    subscribers,
};

/// Requests about one channel that come together are one visit.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// How often is looked for optional APIs, and at the CRD.
const LOOK: Duration = Duration::from_secs(60);
/// How long the caches may take to fill.
const FILL: Duration = Duration::from_secs(120);

/// What the loop is made of.
#[derive(Clone)]
pub struct Operator {
    /// To the API server.
    pub client: Client,
    /// What holds for all channels.
    pub settings: Arc<Settings>,
    /// NATS.
    pub jet: Arc<Jet>,
    /// Whether we may write.
    pub fence: Fence,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// How CRD and operator differ.
    pub schema: Arc<Schema>,
    /// In whose name Events are told.
    pub identity: String,
    /// Notices visits that panic.
    pub supervisor: Supervisor,
    /// Visits under way.
    pub visits: TaskTracker,
    /// The namespaces to watch; empty: all.
    pub namespaces: Vec<String>,
    /// Visits at once.
    pub concurrency: u16,
    /// A channel that nothing happens to is looked at this often.
    pub resync: Duration,
}

impl Operator {
    /// Works until `stop`; what is under way then is finished.
    pub async fn run(&self, stop: CancellationToken) {
        let backoff = Arc::new(Backoff::default());
        while !stop.is_cancelled() {
            let found = apis::find(&self.client).await;
            let until = stop.child_token();
            let namespaces: Vec<_> = match self.namespaces.as_slice() {
                [] => vec![None],
                some => some.iter().cloned().map(Some).collect(),
            };
            let news = watch::Sender::new(0_u64);
            let scopes =
                namespaces.into_iter().map(|namespace| self.scope(namespace, found, &backoff));
            let scopes: Vec<_> = scopes.collect();
            let contexts: Vec<_> = scopes.iter().map(|(ctx, _)| Arc::clone(ctx)).collect();
            let caches: Vec<_> = contexts.iter().map(|ctx| Arc::clone(&ctx.scope)).collect();
            let loops = scopes
                .into_iter()
                .map(|(ctx, requests)| self.follow(ctx, requests, news.subscribe(), until.clone()));
            let watchers = async {
                tokio::select! {
                    () = self.look(found, &news) => {}
                    () = self.count(&contexts) => {}
                    () = subscribers::follow(&self.fence, &self.metrics, &caches) => {}
                    () = until.cancelled() => {}
                }
                until.cancel();
            };
            futures_util::join!(futures_util::future::join_all(loops), watchers);
        }
    }

    fn scope(
        &self,
        namespace: Option<String>,
        apis: Apis,
        backoff: &Arc<Backoff>,
    ) -> (Arc<Context>, crate::scope::Requests) {
        let (scope, requests) = Scope::watch(self.client.clone(), namespace, apis, &self.metrics);
        let context = Context {
            settings: Arc::clone(&self.settings),
            scope,
            jet: Arc::clone(&self.jet),
            applier: Arc::new(Applier::new(
                self.fence.clone(),
                Arc::clone(&self.metrics),
                self.resync,
            )),
            fence: self.fence.clone(),
            events: Events::new(self.client.clone(), self.identity.clone()),
            metrics: Arc::clone(&self.metrics),
            backoff: Arc::clone(backoff),
            schema: Arc::clone(&self.schema),
            resync: self.resync,
        };
        (Arc::new(context), requests)
    }

    /// Visits what is requested, until `stop`.
    async fn follow(
        &self,
        ctx: Arc<Context>,
        requests: crate::scope::Requests,
        news: watch::Receiver<u64>,
        stop: CancellationToken,
    ) {
        let everyone = |news: watch::Receiver<u64>| {
            let scope = Arc::clone(&ctx.scope);
            let changes = stream::unfold(news, |mut news| async move {
                news.changed().await.ok()?;
                // A herd of reasons is one reason.
                sleep(DEBOUNCE).await;
                news.mark_unchanged();
                Some(((), news))
            });
            changes.flat_map(move |()| stream::iter(scope.all()).map(Ok)).boxed()
        };
        let all = [requests, everyone(self.jet.news()), everyone(news)];
        let until = stop.clone();
        let queue = stream::select_all(all).take_until(stop.cancelled_owned());
        let config = Config::default().concurrency(self.concurrency).debounce(DEBOUNCE);
        let store = ctx.scope.channels.clone();
        let channels = store.clone();
        let visit = |raw: Arc<_>, ctx: Arc<Context>| {
            Box::pin(async move {
                // The queue fills the caches while this waits: it is polled beside the visits.
                if !ctx.scope.ready(FILL).await {
                    tracing::warn!(
                        "a cache does not fill: a watch is refused, or the API server is away"
                    );
                }
                reconcile(raw, ctx).await
            })
        };
        let visits = applier(
            self.spawned(visit),
            |raw, error, ctx| retry(&raw, error, &ctx),
            ctx,
            store,
            queue,
            config,
        );
        let unfilled = async {
            until.cancelled().await;
            // A queue that ends before the cache is filled never fills it, and the applier would wait for that without end.
            if channels.wait_until_ready().now_or_never().is_none() {
                return;
            }
            std::future::pending::<()>().await;
        };
        let visits = visits.for_each(|done| async move {
            match done {
                // It went between request and visit; or it failed, and `retry` has said so.
                Ok(_)
                | Err(ControllerError::ObjectNotFound(_) | ControllerError::ReconcilerFailed(..)) =>
                    {}
                Err(error) => tracing::warn!(error = %Chain(&error), "the queue"),
            }
        });
        tokio::select! {
            () = visits => {}
            () = unfilled => {}
        }
        if !until.is_cancelled() {
            self.supervisor.fail("watches", "they ended");
            until.cancel();
        }
    }

    /// Returns when the optional APIs are others. Looks at the CRD, too: a change there is news for every channel.
    async fn look(&self, known: Apis, news: &watch::Sender<u64>) {
        loop {
            let pause = match self.schema.look(&self.client, &self.metrics).await {
                Ok(changed) => {
                    if changed {
                        news.send_modify(|n| *n += 1);
                    }
                    LOOK
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "cannot compare the CRD");
                    // The document of a CRD that was just applied is a moment late.
                    LOOK / 10
                }
            };
            sleep(pause).await;
            if apis::find_or(&self.client, known).await != known {
                tracing::info!("the optional APIs of the cluster have changed: watching anew");
                return;
            }
        }
    }

    /// Keeps the number of channels, which no visit knows, and forgets those that went without one.
    async fn count(&self, contexts: &[Arc<Context>]) {
        loop {
            let (mut ready, mut all) = (0, HashSet::new());
            for raw in contexts.iter().flat_map(|ctx| ctx.scope.channels.state()) {
                let status: EventChannelStatus = raw
                    .data
                    .get("status")
                    .and_then(|s| serde_json::from_value(s.clone()).ok())
                    .unwrap_or_default();
                let is = status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
                ready += usize::from(is);
                all.extend(raw.uid());
            }
            self.metrics.set_channels(ready, all.len() - ready);
            for ctx in contexts {
                ctx.applier.retain(&all);
                ctx.backoff.retain(&all);
            }
            sleep(Duration::from_secs(5)).await;
        }
    }

    /// Each visit as a task, so that visits use all processors. One that panics ends the process: there is no state to trust, and its
    /// channel would wait for ever.
    fn spawned<F>(
        &self,
        visit: impl Fn(Arc<DynamicObject>, Arc<Context>) -> F,
    ) -> impl FnMut(
        Arc<DynamicObject>,
        Arc<Context>,
    ) -> BoxFuture<'static, Result<Action, reconcile::Error>>
    where
        F: Future<Output = Result<Action, reconcile::Error>> + Send + 'static,
    {
        let (supervisor, visits) = (self.supervisor.clone(), self.visits.clone());
        move |object, context| {
            let name = format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any());
            let visit = fault::inject("visit".into(), visit(object, context));
            let (task, supervisor) = (visits.spawn(visit), supervisor.clone());
            Box::pin(async move {
                let error = match task.await {
                    Ok(result) => return result,
                    Err(error) => error,
                };
                let why = match error.try_into_panic() {
                    Ok(panic) => panicked(&*panic),
                    Err(aborted) => aborted.to_string(),
                };
                supervisor.fail(format!("visit to {name}"), &why);
                Err(reconcile::Error::Panicked(why))
            })
        }
    }
}

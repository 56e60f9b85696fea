//! Looks at the brokers of channels and pools that are scaled or balanced, every 15 seconds, and does what the [`autopilot`] plans.
//!
//! The number of brokers and the conditions go to [`Decisions`], from which a reconciliation writes them. Annotations of pods are written here:
//! the brokers that are to be removed first are marked before the number is lowered.

mod act;
mod autoscalers;
mod snapshot;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use eventcast_crds::{broker_status::BrokerStatus, channel::status::AutoscalingStatus};
use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt, core::DynamicObject};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    autopilot::{self, Memory},
    broker_client::{BrokerClient, status_url},
    channel::Channel,
    claims::Claims,
    clock::Clock,
    decisions::Decisions,
    events::Events,
    kind::Kind,
    leader::Fence,
    metrics::Metrics,
    nats::NatsLink,
    observe::scaling::is_balanced,
    owner::{OwnerKey, OwnerKind},
    pool::{self, Pool},
    reconcile::{Parsed, old_status, parse},
    scope::Scope,
    settings::Settings,
    workload::Workload,
};
use act::Actor;
use autoscalers::ForeignAutoscalers;
use snapshot::Snapshot;

/// Brokers that are asked at the same time.
const MAX_CONCURRENT_REQUESTS: usize = 32;

/// What looks need.
pub struct Looks<'a> {
    /// Writes annotations, and lists autoscalers.
    pub client: &'a Client,
    /// Whether this process may write.
    pub fence: &'a Fence,
    /// Metrics of the process.
    pub metrics: &'a Metrics,
    /// Publishes Events.
    pub events: Events,
    /// Settings of all channels.
    pub settings: &'a Settings,
    /// Connection to NATS.
    pub nats: &'a NatsLink,
    /// The claims of this operator and of others.
    pub claims: &'a Claims,
    /// Watches and caches.
    pub scopes: &'a [Arc<Scope>],
    /// Where decisions go.
    pub decisions: &'a Decisions,
    /// Interval of the looks.
    pub interval: Duration,
    /// Time passes for plans as it does here.
    pub clock: Clock,
}

/// A channel or pool that the autopilot looks at.
struct Watched {
    scope: Arc<Scope>,
    raw: Arc<DynamicObject>,
    workload: Workload,
    /// What the status says about the number of brokers.
    recorded: Option<AutoscalingStatus>,
    pods: Vec<Arc<Pod>>,
}

impl Watched {
    fn key(&self) -> &OwnerKey {
        &self.workload.owner.key
    }
}

impl Looks<'_> {
    /// Looks until the future is dropped.
    pub async fn run(&self) {
        let brokers = BrokerClient::default();
        let mut memories: HashMap<String, Memory> = HashMap::new();
        let mut autoscalers = ForeignAutoscalers::default();
        let mut actor = Actor::new(self);
        let mut tick = interval(self.clock.on_machine(self.interval));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for scope in self.scopes {
            scope.wait_channels_listed().await;
        }
        loop {
            tick.tick().await;
            if self.fence.check().is_err() {
                continue;
            }
            let watched = self.watched();
            self.forget_others(&watched, &mut memories, &mut actor);
            autoscalers.refresh(self.client, &watched, self.clock.elapsed()).await;
            let answers = ask(&brokers, &watched).await;
            for watched in &watched {
                let now = self.clock.now();
                let foreign = autoscalers.of(watched.key());
                let snapshot = Snapshot {
                    watched,
                    answers: &answers,
                    deployment: self.deployment(watched),
                    foreign_autoscaler: foreign,
                    nats_usable: self.nats.check_usable().is_ok(),
                    may_patch_pods: self.settings.autopilot && actor.may_patch_pods(),
                    wanted: self.wanted(watched),
                    now,
                };
                let memory = memories.entry(watched.workload.owner.uid.clone()).or_default();
                let (spec, state, pods) = snapshot.inputs();
                let plan = autopilot::plan(self.clock.elapsed(), &spec, &state, &pods, memory);
                self.count_look(&pods);
                actor.act(watched, plan, now).await;
            }
            actor.set_metrics(&watched);
        }
    }

    /// The channels and pools that are scaled by the operator, or can have several brokers whose streams are balanced.
    fn watched(&self) -> Vec<Watched> {
        let mut all = Vec::new();
        for scope in self.scopes {
            for (kind, raw) in scope.owners() {
                if let Some((workload, recorded)) = self.parse(kind, &raw) {
                    let pods = scope.pods_of(&workload.owner.key);
                    let scope = Arc::clone(scope);
                    all.push(Watched { scope, raw, workload, recorded, pods });
                }
            }
        }
        all
    }

    fn parse(
        &self,
        kind: OwnerKind,
        raw: &DynamicObject,
    ) -> Option<(Workload, Option<AutoscalingStatus>)> {
        // Most channels have one broker: they are not parsed at each look.
        let brokers = &raw.data["spec"]["brokers"];
        let may_have_several =
            brokers["autoscaling"].is_object() || brokers["replicas"].as_i64() > Some(1);
        if raw.metadata.deletion_timestamp.is_some() || !may_have_several {
            return None;
        }
        let (operator, recorded) = match kind {
            OwnerKind::Pool => {
                let status = pool::old_status(raw);
                (status.operator, status.autoscaling)
            }
            OwnerKind::Channel => {
                let status = old_status(raw);
                (status.operator, status.autoscaling)
            }
        };
        if self.claims.other(&raw.metadata, operator.as_ref()).is_some() {
            return None;
        }
        let workload = match kind {
            OwnerKind::Pool => Pool::parse(raw, self.settings).ok()?.workload,
            OwnerKind::Channel => {
                let Parsed::Channel { channel, .. } = parse(raw) else { return None };
                Channel::new(&channel, self.settings).ok()?.workload
            }
        };
        let is_watched = workload.autoscaling().is_some() || is_balanced(&workload);
        is_watched.then_some((workload, recorded))
    }

    fn deployment(&self, watched: &Watched) -> Option<Arc<DynamicObject>> {
        let key = watched.key();
        watched.scope.object(Kind::Deployment, &key.namespace, &key.object_name())
    }

    /// The number of brokers that the last look has chosen, or the status has.
    fn wanted(&self, watched: &Watched) -> Option<i32> {
        let recorded = watched.recorded.as_ref().map(|autoscaling| autoscaling.desired);
        self.decisions.of(watched.key()).replicas.or(recorded)
    }

    fn forget_others(
        &self,
        watched: &[Watched],
        memories: &mut HashMap<String, Memory>,
        actor: &mut Actor<'_>,
    ) {
        let keys: BTreeSet<_> = watched.iter().map(|watched| watched.key().clone()).collect();
        let uids: BTreeSet<_> =
            watched.iter().map(|watched| &*watched.workload.owner.uid).collect();
        self.decisions.retain(&keys);
        memories.retain(|uid, _| uids.contains(&**uid));
        actor.retain(watched);
    }

    fn count_look(&self, brokers: &[autopilot::Broker]) {
        self.metrics.looked(brokers.iter().all(|broker| broker.count.is_some()));
    }
}

/// What each broker that answers says, by the name of its pod.
type Answers = HashMap<(String, String), BrokerStatus>;

async fn ask(client: &BrokerClient, watched: &[Watched]) -> Answers {
    let pods = watched.iter().flat_map(|watched| &watched.pods);
    let asked = pods.filter_map(|pod| Some((pod_key(pod), status_url(pod)?)));
    let asked: Vec<_> = asked.collect();
    let requests = stream::iter(asked)
        .map(|(key, url)| async move { client.status(&url).await.map(|status| (key, status)) });
    let answers: Vec<_> = requests.buffer_unordered(MAX_CONCURRENT_REQUESTS).collect().await;
    answers.into_iter().flatten().collect()
}

fn pod_key(pod: &Pod) -> (String, String) {
    (pod.namespace().unwrap_or_default(), pod.name_any())
}

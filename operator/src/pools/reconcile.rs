//! One reconciliation of a pool.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use eventcast_crds::{
    channel::PAUSED_ANNOTATION,
    pool::{FromNamespaces, status::BrokerPoolStatus},
};
use eventcast_runtime::Chain;
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Pod},
};
use kube::{Api, ResourceExt, api::ListParams, core::DynamicObject};
use serde_json::json;

use super::{
    ask::ask,
    members::{Members, Selection},
    status::{Facts, status},
};
use crate::{
    broker_client::BrokerClient,
    kind::Kind,
    metrics::PoolFill,
    names::{POOL_CONFIG_ANNOTATION, short_hash},
    objects::{self, Backend},
    observe,
    owner::{ChannelKey, OwnerKey, OwnerKind},
    pod_marks::PodMarks,
    pool::{self, Pool},
    pool_files,
    pool_views::PoolView,
    reconcile::{
        Context, Objects, accepted, addresses, apply_objects, apply_status, not_applied,
        parse_object, up_to_date, wanted_replicas,
    },
    scope::is_annotated,
    status::{ConditionState, OptionalCondition, paused_conditions},
};

/// What the reconciliation of one pool needs.
#[derive(Clone, Copy)]
pub(super) struct PoolReconciler<'a> {
    /// What reconciliations of the pool's scope share.
    pub(super) ctx: &'a Context,
    /// Those of all scopes, whose channels the pool may serve.
    pub(super) contexts: &'a [Arc<Context>],
    pub(super) marks: &'a PodMarks<'a>,
    pub(super) client: &'a BrokerClient,
}

/// Namespaces that a pool accepts channels from.
enum Namespaces {
    All,
    These(BTreeSet<String>),
}

/// What a reconciliation has found.
#[derive(Default)]
pub(super) struct Outcome {
    /// Whether there is such a pool, which belongs to this operator.
    pub(super) exists: bool,
    /// Whether all ready brokers serve what they should.
    pub(super) is_complete: bool,
    /// The channels about which something has changed.
    pub(super) changed_channels: HashSet<ChannelKey>,
    /// How many channels it serves.
    pub(super) fill: Option<PoolFill>,
}

impl PoolReconciler<'_> {
    pub(super) async fn reconcile(self, raw: &DynamicObject, members: &mut Members) -> Outcome {
        let old = pool::old_status(raw);
        let now = Timestamp::now();
        if raw.metadata.deletion_timestamp.is_some()
            || self.ctx.claims.read_other(&raw.metadata, old.operator.as_ref()).await.is_some()
        {
            return Outcome::default();
        }
        self.ctx.fleet.reconciled(&OwnerKey::of(OwnerKind::Pool, raw));
        let known = Outcome { exists: true, is_complete: true, ..Outcome::default() };
        if is_annotated(raw, PAUSED_ANNOTATION, "true") {
            self.write_paused(raw, &old, now).await;
            return known;
        }
        let pool = match Pool::parse(raw, &self.ctx.settings) {
            Ok(pool) => pool,
            Err((reason, message)) => {
                let facts = self.rejected(&old, ConditionState::failed(reason, message));
                self.write_status(raw, &old, status(&old, raw.metadata.generation, &facts, now))
                    .await;
                return known;
            }
        };
        Box::pin(self.reconcile_valid(raw, &old, pool, members, now)).await
    }

    async fn reconcile_valid(
        self,
        raw: &DynamicObject,
        old: &BrokerPoolStatus,
        mut pool: Pool,
        members: &mut Members,
        now: Timestamp,
    ) -> Outcome {
        let key = pool.workload.owner.key.clone();
        let addresses = addresses(&pool.workload, &pool.workload.exposure, self.ctx);
        let namespaces = match self.namespaces(&pool).await {
            Ok(namespaces) => namespaces,
            Err(error) => {
                // The next reconciliation tries again. What is known stays.
                tracing::warn!(pool = %key, error = %Chain(&error), "cannot list namespaces");
                return Outcome { exists: true, ..Outcome::default() };
            }
        };
        let accepts = |namespace: &str| match &namespaces {
            Namespaces::All => true,
            Namespaces::These(names) => names.contains(namespace),
        };
        let domain = &self.ctx.settings.cluster_domain;
        let Selection { entries, served, refused, connects_to, probes } =
            members.select(&pool, accepts, &addresses, domain, self.contexts, now);
        pool.workload.connects_to = connects_to;
        pool.workload.probes = probes;

        let texts = pool_files::texts(entries.iter());
        let mut failure = self.apply_shards(&pool, &texts).await;
        let name = key.object_name();
        let decision = self.ctx.decisions.of(&key);
        let replicas = wanted_replicas(&pool.workload, self.ctx, old.autoscaling.as_ref());
        let objects = Objects {
            workload: &pool.workload,
            backend: &Backend::Own,
            has_brokers: true,
            replicas,
            observed_generation: old.observed_generation,
        };
        failure = apply_objects(raw, objects, self.ctx).await.or(failure);

        let pods = self.ctx.scope.pods_of(&key);
        self.refresh(&pods, &short_hash(&json!(texts).to_string())).await;
        let deployment = self.ctx.scope.object(Kind::Deployment, &key.namespace, &name);
        let deployment = deployment.and_then(|object| parse_object::<Deployment>(&object));
        let cut_off = self.ctx.broker_reports.cut_off(&key);
        let (brokers, available) = observe::brokers(
            &pool.workload,
            &self.ctx.settings,
            deployment.as_ref(),
            pods.iter().map(|pod| &**pod),
            cut_off.unless_log_is_down(self.ctx.nats.check_usable().is_err()),
        );
        let view = PoolView {
            exposure: pool.spec.exposure.clone(),
            public: addresses.public.clone(),
            drain: pool.drain(),
            image: brokers.image.clone(),
            selector: brokers.selector.clone(),
            admitted: served.keys().cloned().collect(),
            refused,
            brokers: ask(self.client, &pods).await,
        };
        let is_complete =
            served.iter().all(|(channel, generation)| view.all_serve(channel, *generation));
        let route = self.ctx.scope.object(Kind::HttpRoute, &key.namespace, &name);
        let facts = Facts {
            accepted: failure
                .unwrap_or_else(|| accepted(&self.ctx.schema.missing_in_pools(), &pool.unknown)),
            available,
            exposed: observe::exposed(&pool.workload, self.ctx.scope.apis, route.as_deref()),
            autoscaled: observe::scaling::autoscaled(&pool.workload, &decision),
            balanced: observe::scaling::balanced(&pool.workload, &decision),
            up_to_date: OptionalCondition::Known(up_to_date(
                &key,
                &self.ctx.fleet,
                deployment.as_ref(),
            )),
            chosen_replicas: pool.workload.autoscaling().and(replicas),
            brokers: Some(brokers),
            channels: Some(served.len()),
            url: Some(format!("{}{}", addresses.url(), pool.workload.path)),
            operator: self.ctx.claims.claim(old.operator.as_ref()),
        };
        self.write_status(raw, old, status(old, raw.metadata.generation, &facts, now)).await;
        let changed_channels = self.ctx.pool_views.set(&key, view);
        let max = usize::try_from(pool.spec.channels.max).unwrap_or(usize::MAX);
        let fill = Some(PoolFill { channels: served.len(), max });
        Outcome { exists: true, is_complete, changed_channels, fill }
    }

    /// The namespaces that the pool accepts channels from.
    async fn namespaces(self, pool: &Pool) -> Result<Namespaces, kube::Error> {
        let selection = &pool.spec.channels.namespaces;
        let names = match selection.from {
            FromNamespaces::All => return Ok(Namespaces::All),
            FromNamespaces::Same => BTreeSet::from([pool.workload.namespace().to_owned()]),
            FromNamespaces::Selector => {
                let selector = selection.selector.clone().unwrap_or_default();
                match kube::core::Selector::try_from(selector) {
                    Ok(selector) => {
                        let params = ListParams::default().labels_from(&selector);
                        let api = Api::<Namespace>::all(self.ctx.client.clone());
                        let list = api.list_metadata(&params).await?;
                        list.iter().map(ResourceExt::name_any).collect()
                    }
                    Err(error) => {
                        tracing::warn!(pool = %pool.workload.owner.key, error = %Chain(&error), "the selector of namespaces is invalid: no namespace matches");
                        BTreeSet::new()
                    }
                }
            }
        };
        Ok(Namespaces::These(names))
    }

    /// Writes the files of the channels. They come before the brokers, which are not ready without them.
    async fn apply_shards(
        self,
        pool: &Pool,
        texts: &BTreeMap<char, String>,
    ) -> Option<ConditionState> {
        let owner = &pool.workload.owner;
        let mut failure = None;
        for (shard, text) in texts {
            let name = pool_files::config_map_name(&owner.key.object_name(), *shard);
            let desired = json!(objects::channel_file(&pool.workload, &name, *shard, text));
            let kind = Kind::ConfigMap;
            let applied =
                self.ctx.applier.apply(&self.ctx.scope, owner, (kind, &name), Some(desired)).await;
            if let Err(error) = applied {
                failure = Some(not_applied(&error));
            }
        }
        failure
    }

    /// Makes the kubelets bring the files at once. Without the right to do so they come within two minutes.
    async fn refresh(self, pods: &[Arc<Pod>], hash: &str) {
        if !self.ctx.settings.autopilot {
            return;
        }
        for pod in pods {
            let is_current =
                pod.annotations().get(POOL_CONFIG_ANNOTATION).is_some_and(|found| found == hash);
            if is_current || pod.metadata.deletion_timestamp.is_some() {
                continue;
            }
            if let Err(error) = self.marks.refresh_channels(pod, hash).await {
                tracing::warn!(pod = pod.name_any(), error = %Chain(&error), "cannot annotate a broker: its files of channels come within two minutes");
            }
        }
    }

    /// The facts of a pool whose spec cannot be used. Its objects and channels stay as they are.
    fn rejected(self, old: &BrokerPoolStatus, accepted: ConditionState) -> Facts {
        let waiting = || ConditionState::waiting_for("a valid spec");
        Facts {
            accepted,
            available: waiting(),
            exposed: waiting(),
            autoscaled: OptionalCondition::Unchanged,
            balanced: OptionalCondition::Unchanged,
            up_to_date: OptionalCondition::Unchanged,
            chosen_replicas: old.autoscaling.as_ref().map(|autoscaling| autoscaling.desired),
            brokers: None,
            channels: None,
            url: None,
            operator: self.ctx.claims.claim(old.operator.as_ref()),
        }
    }

    async fn write_paused(self, raw: &DynamicObject, old: &BrokerPoolStatus, now: Timestamp) {
        let conditions = paused_conditions(&old.conditions, old.observed_generation, now);
        let new = BrokerPoolStatus { conditions, subscribers: None, ..old.clone() };
        self.write_status(raw, old, new).await;
    }

    /// Writes the status if it changed, and Events for what changed.
    async fn write_status(
        self,
        raw: &DynamicObject,
        old: &BrokerPoolStatus,
        new: BrokerPoolStatus,
    ) {
        // `subscribers` belongs to another field manager.
        let comparable = BrokerPoolStatus { subscribers: None, ..old.clone() };
        if new == comparable {
            return;
        }
        let mut status = json!(new);
        self.ctx.schema.remove_unknown_in_pool(&mut status);
        let conditions = (&*old.conditions, &*new.conditions);
        let written = apply_status(OwnerKind::Pool, raw, self.ctx, &status, conditions).await;
        if let Err(error) = written {
            tracing::warn!(pool = raw.name_any(), error = %Chain(&error), "cannot write the status of a pool");
        }
    }
}

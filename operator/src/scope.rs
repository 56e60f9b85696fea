//! Watches and caches of one namespace, or of the whole cluster. Each scope has its own reconcile queue.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use eventcast_crds::orders;
use eventcast_runtime::Chain;
use futures_util::{Stream, StreamExt, future, stream::BoxStream};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::{ApiResource, DynamicObject},
    runtime::{
        WatchStreamExt,
        controller::{ReconcileRequest, trigger_self, trigger_with},
        reflector::{ObjectRef, Store, store::Writer},
        watcher::{self, watcher},
    },
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::{
    cache_sync::{CacheSync, mark_when_listed},
    drift,
    kind::Kind,
    metrics::Metrics,
    names::{DELETION_COST_ANNOTATION, MANAGED_SELECTOR, POOL_CONFIG_ANNOTATION},
    owner::{OwnerKey, OwnerKind},
    pool_changes::PoolChanges,
    settings::{OptionalApis, Settings},
};

/// Requests of other tasks that wait for the reconcile queue.
const REQUEST_QUEUE: usize = 256;

/// The annotations of pods that the operator reads.
const KEPT_POD_ANNOTATIONS: [&str; 3] =
    [orders::ANNOTATION, DELETION_COST_ANNOTATION, POOL_CONFIG_ANNOTATION];

/// The input of a reconcile queue.
pub type Requests = BoxStream<'static, Result<ReconcileRequest<DynamicObject>, watcher::Error>>;

/// Whether an object has an annotation with this value.
#[must_use]
pub fn is_annotated(object: &DynamicObject, key: &str, value: &str) -> bool {
    object.annotations().get(key).is_some_and(|found| found == value)
}

/// The caches of one namespace, or of the whole cluster.
pub struct Scope {
    /// The namespace; `None` for all.
    pub namespace: Option<String>,
    /// The optional APIs when the watches started.
    pub apis: OptionalApis,
    client: Client,
    /// All channels.
    pub channels: Store<DynamicObject>,
    caches: CacheSync,
    channels_listed: watch::Receiver<bool>,
    pools_listed: watch::Receiver<bool>,
    /// All pools. Empty if the cluster does not serve them.
    pub pools: Store<DynamicObject>,
    pool_changes: PoolChanges,
    /// Whether there may be channels that the caches lack.
    is_selecting: bool,
    /// The broker pods, without the fields that the operator does not read.
    pub pods: Store<Pod>,
    objects: HashMap<Kind, Store<DynamicObject>>,
    requested: mpsc::Sender<ReconcileRequest<DynamicObject>>,
}

impl Scope {
    /// Starts the watches. The caches fill while the returned stream is polled.
    #[must_use]
    pub fn watch(
        client: Client,
        namespace: Option<String>,
        apis: OptionalApis,
        settings: &Settings,
        pool_changes: PoolChanges,
        metrics: &Arc<Metrics>,
    ) -> (Arc<Self>, Requests) {
        let resource = OwnerKind::Channel.resource();
        let mut requests: Vec<Requests> = Vec::new();
        let mut caches = CacheSync::default();

        let writer = Writer::new(resource.clone());
        let channels = writer.as_reader();
        let api = dynamic(&client, namespace.as_deref(), &resource);
        let selector = settings.channel_selector.as_deref();
        let config = selector.map_or_else(watcher::Config::default, |selector| {
            watcher::Config::default().labels(selector)
        });
        let events = events_of(api, config, "EventChannel", metrics, trim);
        let listed = caches.add();
        let channels_listed = listed.subscribe();
        let own = events.default_backoff().reflect(writer).inspect(mark_when_listed(listed));
        let touched = own.touched_objects().inspect({
            let pools = pool_changes.clone();
            move |channel| {
                if let Ok(channel) = channel {
                    pools.notify_channel(channel);
                }
            }
        });
        requests.push(trigger_self(touched, resource.clone()).boxed());

        let pools_resource = OwnerKind::Pool.resource();
        let writer = Writer::new(pools_resource.clone());
        let pools = writer.as_reader();
        // A channel without a pool does not wait for pools.
        let (listed, pools_listed) = watch::channel(!apis.pools);
        if apis.pools {
            let api = dynamic(&client, namespace.as_deref(), &pools_resource);
            let events = events_of(api, watcher::Config::default(), "BrokerPool", metrics, trim);
            let changes = pool_changes.clone();
            let reflected = events.default_backoff().reflect(writer);
            let touched = reflected.inspect(mark_when_listed(listed)).touched_objects();
            let none = move |pool: DynamicObject| {
                changes.notify(&OwnerKey::of(OwnerKind::Pool, &pool));
                None::<ReconcileRequest<DynamicObject>>
            };
            requests.push(trigger_with(touched, none).boxed());
        }

        let mut objects = HashMap::new();
        let exists =
            |kind: &Kind| kind.is_watched() && apis.serve(*kind) && settings.manages(*kind);
        for kind in Kind::ALL.into_iter().filter(exists) {
            let owned = kind.resource();
            let writer = Writer::new(owned.clone());
            objects.insert(kind, writer.as_reader());
            let api = dynamic(&client, namespace.as_deref(), &owned);
            let config = watcher::Config::default().labels(MANAGED_SELECTOR);
            let events = events_of(api, config, kind.as_str(), metrics, trim);
            let reflected = events.default_backoff().reflect(writer);
            let touched = reflected.inspect(mark_when_listed(caches.add())).touched_objects();
            let owners = {
                let pools = pool_changes.clone();
                move |object| {
                    let owners = owners_of(&object);
                    owners.iter().for_each(|owner| pools.notify(owner));
                    owners.iter().filter_map(request_of).collect::<Vec<_>>()
                }
            };
            requests.push(trigger_with(touched, owners).boxed());
        }

        let writer = Writer::new(());
        let pods = writer.as_reader();
        let api: Api<Pod> = match &namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        let config = watcher::Config::default().labels(MANAGED_SELECTOR);
        let events = events_of(api, config, "Pod", metrics, trim_pod);
        let reflected = events.default_backoff().reflect(writer);
        let touched = reflected.inspect(mark_when_listed(caches.add())).touched_objects();
        let of_pod = {
            let pools = pool_changes.clone();
            move |pod: Pod| {
                let owner = OwnerKey::of_labels(&pod)?;
                pools.notify(&owner);
                request_of(&owner)
            }
        };
        requests.push(trigger_with(touched, of_pod).boxed());

        let (requested, receiver) = mpsc::channel(REQUEST_QUEUE);
        let others = futures_util::stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        });
        requests.push(others.map(Ok).boxed());

        let scope = Self {
            namespace,
            apis,
            client,
            channels,
            caches,
            channels_listed,
            pools_listed,
            pools,
            pool_changes,
            is_selecting: selector.is_some(),
            pods,
            objects,
            requested,
        };
        (Arc::new(scope), futures_util::stream::select_all(requests).boxed())
    }

    /// Waits until every cache is complete, for at most `limit`. Returns whether they are. A reconciliation before that would
    /// take existing objects for missing.
    pub async fn wait_synced(&self, limit: Duration) -> bool {
        self.caches.wait(limit).await
    }

    /// Waits until the cache of channels is complete.
    pub async fn wait_channels_listed(&self) {
        if self.channels_listed.clone().wait_for(|listed| *listed).await.is_err() {
            // The watches have ended. The cache stays incomplete.
            future::pending::<()>().await;
        }
    }

    /// As [`wait_channels_listed`](Self::wait_channels_listed), for pools.
    pub async fn wait_pools_listed(&self) {
        if self.pools_listed.clone().wait_for(|listed| *listed).await.is_err() {
            future::pending::<()>().await;
        }
    }

    /// The cached object of a channel. Always `None` for a Secret, which is not watched.
    #[must_use]
    pub fn object(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        let key = ObjectRef::new_with(name, kind.resource()).within(namespace);
        self.objects.get(&kind)?.get(&key)
    }

    /// The API for objects of `kind` in `namespace`.
    #[must_use]
    pub fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        dynamic(&self.client, Some(namespace), &kind.resource())
    }

    /// The API for channels in `namespace`.
    #[must_use]
    pub fn channels_api(&self, namespace: &str) -> Api<DynamicObject> {
        dynamic(&self.client, Some(namespace), &OwnerKind::Channel.resource())
    }

    /// Applies fields of the status of a channel or pool as the field manager `manager`. Returns false if it no longer exists.
    ///
    /// # Errors
    /// The API server is unreachable, or rejects the status.
    pub async fn apply_status(
        &self,
        kind: OwnerKind,
        object: &DynamicObject,
        manager: &str,
        status: &Value,
    ) -> Result<bool, kube::Error> {
        let (resource, namespace) = (kind.resource(), object.namespace().unwrap_or_default());
        // With the uid, so that a new object of the same name does not get this status.
        let patch = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": object.name_any(), "namespace": namespace, "uid": object.uid()},
            "status": status,
        });
        let params = PatchParams::apply(manager).force();
        let api = dynamic(&self.client, Some(&namespace), &resource);
        match api.patch_status(&object.name_any(), &params, &Patch::Apply(&patch)).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(e)) if e.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether `namespace` is watched.
    #[must_use]
    pub fn covers(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }

    /// Whether the channel certainly does not exist. False in a namespace that is not watched, and with a selector of channels.
    #[must_use]
    pub fn is_deleted(&self, namespace: &str, name: &str) -> bool {
        let key = ObjectRef::new_with(name, OwnerKind::Channel.resource()).within(namespace);
        !self.is_selecting && self.covers(namespace) && self.channels.get(&key).is_none()
    }

    /// Requests a reconciliation. Waits while the queue is full.
    pub async fn request(&self, owner: &OwnerKey) {
        self.pool_changes.notify(owner);
        if let Some(request) = request_of(owner) {
            // It fails only when the queue has ended, with all other requests.
            drop(self.requested.send(request).await);
        }
    }

    /// One request for every channel.
    #[must_use]
    pub fn requests_for_all(&self) -> Vec<ReconcileRequest<DynamicObject>> {
        let request =
            |channel: &Arc<DynamicObject>| request_of(&OwnerKey::of(OwnerKind::Channel, channel));
        self.channels.state().iter().filter_map(request).collect()
    }

    /// All channels and pools.
    #[must_use]
    pub fn owners(&self) -> Vec<(OwnerKind, Arc<DynamicObject>)> {
        let channels = self.channels.state().into_iter().map(|raw| (OwnerKind::Channel, raw));
        let pools = self.pools.state().into_iter().map(|raw| (OwnerKind::Pool, raw));
        channels.chain(pools).collect()
    }

    /// The pods of a channel or pool.
    #[must_use]
    pub fn pods_of(&self, owner: &OwnerKey) -> Vec<Arc<Pod>> {
        self.pods.state_filter(|pod| {
            pod.metadata.namespace.as_deref() == Some(&*owner.namespace)
                && pod.labels().get(owner.kind.label()).is_some_and(|name| *name == owner.name)
        })
    }
}

fn dynamic(client: &Client, namespace: Option<&str>, resource: &ApiResource) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    }
}

/// The owners of an object, by its owner references and by its labels: an object that lost one of both still triggers a
/// reconciliation.
fn owners_of(object: &DynamicObject) -> BTreeSet<OwnerKey> {
    let namespace = object.namespace().unwrap_or_default();
    let mut owners = BTreeSet::from_iter(OwnerKey::of_labels(object));
    for kind in [OwnerKind::Channel, OwnerKind::Pool] {
        let resource = kind.resource();
        let references = object.owner_references().iter().filter(|owner| {
            owner.kind == resource.kind && owner.api_version == resource.api_version
        });
        let key =
            |name: &String| OwnerKey { kind, namespace: namespace.clone(), name: name.clone() };
        owners.extend(references.map(|owner| key(&owner.name)));
    }
    owners
}

/// A request for the queue of channels. `None` for a pool, which has none.
fn request_of(owner: &OwnerKey) -> Option<ReconcileRequest<DynamicObject>> {
    let resource = (owner.kind == OwnerKind::Channel).then(|| owner.kind.resource())?;
    let channel = ObjectRef::<DynamicObject>::new_with(&owner.name, resource);
    Some(ReconcileRequest::from(channel.within(&owner.namespace)))
}

/// A watch that counts and logs its failures. `trim` removes fields from each object before it is cached.
fn events_of<K>(
    api: Api<K>,
    config: watcher::Config,
    kind: &'static str,
    metrics: &Arc<Metrics>,
    trim: fn(&mut K),
) -> impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + use<K>
where
    K: Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let metrics = Arc::clone(metrics);
    watcher(api, config.any_semantic()).modify(trim).inspect(move |event| {
        if let Err(error) = event {
            metrics.watch_failed(kind);
            tracing::warn!(kind, error = %Chain(error), "watch failed; restarting it");
        }
    })
}

/// Removes large fields that the operator does not read.
fn trim(object: &mut DynamicObject) {
    object.metadata.managed_fields = None;
    drift::hash_data(object);
}

fn trim_pod(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    if let Some(annotations) = &mut pod.metadata.annotations {
        annotations.retain(|key, _| KEPT_POD_ANNOTATIONS.contains(&&**key));
    }
    if let Some(spec) = &mut pod.spec {
        spec.volumes = None;
        for container in &mut spec.containers {
            (container.env, container.volume_mounts) = (None, None);
        }
    }
}

//! Watches and caches of one namespace, or of the whole cluster. Each scope has its own reconcile queue.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use eventcast_crds::{channel::EventChannel, orders};
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
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    drift,
    kind::Kind,
    metrics::Metrics,
    names::{CHANNEL_LABEL, DELETION_COST_ANNOTATION, MANAGED_SELECTOR},
    settings::{OptionalApis, Settings},
};

/// Requests of other tasks that wait for the reconcile queue.
const REQUEST_QUEUE: usize = 256;

/// The input of a reconcile queue.
pub type Requests = BoxStream<'static, Result<ReconcileRequest<DynamicObject>, watcher::Error>>;

/// EventChannels as dynamic objects. The reconciliation parses them, so that a channel that cannot be parsed does not break the
/// watch of all channels.
#[must_use]
pub fn channels_resource() -> ApiResource {
    ApiResource::erase::<EventChannel>(&())
}

/// Whether a channel has an annotation with this value.
#[must_use]
pub fn is_annotated(channel: &DynamicObject, key: &str, value: &str) -> bool {
    channel.annotations().get(key).is_some_and(|found| found == value)
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
    channels_listed: watch::Receiver<bool>,
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
        metrics: &Arc<Metrics>,
    ) -> (Arc<Self>, Requests) {
        let resource = channels_resource();
        let mut requests: Vec<Requests> = Vec::new();

        let writer = Writer::new(resource.clone());
        let channels = writer.as_reader();
        let api = dynamic(&client, namespace.as_deref(), &resource);
        let selector = settings.channel_selector.as_deref();
        let config = selector.map_or_else(watcher::Config::default, |selector| {
            watcher::Config::default().labels(selector)
        });
        let events = events_of(api, config, "EventChannel", metrics, trim);
        let (listed, channels_listed) = watch::channel(false);
        let own = events.default_backoff().reflect(writer).inspect(move |event| {
            if matches!(event, Ok(watcher::Event::InitDone)) {
                listed.send_replace(true);
            }
        });
        requests.push(trigger_self(own.touched_objects(), resource.clone()).boxed());

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
            let touched = events.default_backoff().reflect(writer).touched_objects();
            let channels = channels_of(resource.clone());
            requests.push(trigger_with(touched, channels).boxed());
        }

        let writer = Writer::new(());
        let pods = writer.as_reader();
        let api: Api<Pod> = match &namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        let config = watcher::Config::default().labels(MANAGED_SELECTOR);
        let events = events_of(api, config, "Pod", metrics, trim_pod);
        let touched = events.default_backoff().reflect(writer).touched_objects();
        let channel = move |pod: Pod| {
            let name = pod.labels().get(CHANNEL_LABEL)?;
            let namespace = pod.namespace()?;
            let channel = ObjectRef::<DynamicObject>::new_with(name, resource.clone());
            Some(ReconcileRequest::from(channel.within(&namespace)))
        };
        requests.push(trigger_with(touched, channel).boxed());

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
            channels_listed,
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
        let synced = async {
            let objects = future::try_join_all(self.objects.values().map(Store::wait_until_ready));
            objects.await.is_ok()
                && self.pods.wait_until_ready().await.is_ok()
                && self.channels.wait_until_ready().await.is_ok()
        };
        timeout(limit, synced).await.unwrap_or(false)
    }

    /// Waits until the cache of channels is complete. Unlike [`wait_synced`](Self::wait_synced), any task may wait: a store of kube wakes
    /// only the last one, and that must be the reconciliation.
    pub async fn wait_channels_listed(&self) {
        if self.channels_listed.clone().wait_for(|listed| *listed).await.is_err() {
            // The watches have ended. The cache stays incomplete.
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
        dynamic(&self.client, Some(namespace), &channels_resource())
    }

    /// Applies fields of a channel's status as the field manager `manager`. Returns false if the channel no longer exists.
    ///
    /// # Errors
    /// The API server is unreachable, or rejects the status.
    pub async fn apply_status(
        &self,
        channel: &DynamicObject,
        manager: &str,
        status: &Value,
    ) -> Result<bool, kube::Error> {
        let (resource, namespace) = (channels_resource(), channel.namespace().unwrap_or_default());
        // With the uid, so that a new channel of the same name does not get this status.
        let patch = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": channel.name_any(), "namespace": namespace, "uid": channel.uid()},
            "status": status,
        });
        let params = PatchParams::apply(manager).force();
        let api = self.channels_api(&namespace);
        match api.patch_status(&channel.name_any(), &params, &Patch::Apply(&patch)).await {
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
        let key = ObjectRef::new_with(name, channels_resource()).within(namespace);
        !self.is_selecting && self.covers(namespace) && self.channels.get(&key).is_none()
    }

    /// Requests a reconciliation of a channel. Waits while the queue is full.
    pub async fn request(&self, namespace: &str, channel: &str) {
        let channel = ObjectRef::<DynamicObject>::new_with(channel, channels_resource());
        // It fails only when the queue has ended, with all other requests.
        drop(self.requested.send(ReconcileRequest::from(channel.within(namespace))).await);
    }

    /// One request for every channel.
    #[must_use]
    pub fn requests_for_all(&self) -> Vec<ReconcileRequest<DynamicObject>> {
        let request = |channel: &Arc<DynamicObject>| {
            ReconcileRequest::from(ObjectRef::from_obj_with(&**channel, channels_resource()))
        };
        self.channels.state().iter().map(request).collect()
    }

    /// The pods of one channel.
    #[must_use]
    pub fn pods_of(&self, namespace: &str, channel: &str) -> Vec<Arc<Pod>> {
        self.pods.state_filter(|pod| {
            pod.metadata.namespace.as_deref() == Some(namespace)
                && pod.labels().get(CHANNEL_LABEL).is_some_and(|name| name == channel)
        })
    }
}

fn dynamic(client: &Client, namespace: Option<&str>, resource: &ApiResource) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    }
}

/// The channels of an object, by its owner references and by its label: an object that lost one of both still triggers a
/// reconciliation.
fn channels_of(
    resource: ApiResource,
) -> impl Fn(DynamicObject) -> Vec<ReconcileRequest<DynamicObject>> + Send {
    move |object| {
        let namespace = object.namespace().unwrap_or_default();
        let owners = object.owner_references().iter().filter(|owner| {
            owner.kind == resource.kind && owner.api_version == resource.api_version
        });
        let names = owners.map(|owner| &owner.name).chain(object.labels().get(CHANNEL_LABEL));
        let names: BTreeSet<_> = names.collect();
        let request = |name: &String| {
            let channel = ObjectRef::<DynamicObject>::new_with(name, resource.clone());
            ReconcileRequest::from(channel.within(&namespace))
        };
        names.into_iter().map(request).collect()
    }
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
        annotations
            .retain(|key, _| [orders::ANNOTATION, DELETION_COST_ANNOTATION].contains(&&**key));
    }
    if let Some(spec) = &mut pod.spec {
        spec.volumes = None;
        for container in &mut spec.containers {
            (container.env, container.volume_mounts) = (None, None);
        }
    }
}

//! What is watched: every namespace, or one. Each scope has its own watches, caches and queue.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use eventcast_crds::channel::EventChannel;
use eventcast_runtime::Chain;
use futures_util::{Stream, StreamExt, future, stream::BoxStream};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{ApiResource, DynamicObject},
    runtime::{
        WatchStreamExt,
        controller::{ReconcileRequest, trigger_self, trigger_with},
        reflector::{ObjectRef, Store, store::Writer},
        watcher::{self, watcher},
    },
};
use tokio::time::timeout;

use crate::{
    drift,
    kind::Kind,
    metrics::Metrics,
    names::{CHANNEL_LABEL, MANAGED},
    settings::Apis,
};

/// What the queue is made of.
pub type Requests = BoxStream<'static, Result<ReconcileRequest<DynamicObject>, watcher::Error>>;

/// EventChannels as the API server stores them: whether they can be read is for the visit to find out, so that one that cannot
/// does not stop the others.
#[must_use]
pub fn channels_resource() -> ApiResource {
    ApiResource::erase::<EventChannel>(&())
}

/// The caches of one scope.
pub struct Scope {
    /// The namespace; all where there is none.
    pub namespace: Option<String>,
    /// The optional APIs, as they were when the watches began.
    pub apis: Apis,
    client: Client,
    /// The channels.
    pub channels: Store<DynamicObject>,
    /// The brokers' pods, down to what is asked of them.
    pub pods: Store<Pod>,
    objects: HashMap<Kind, Store<DynamicObject>>,
}

impl Scope {
    /// Caches that fill as the requests are polled.
    #[must_use]
    pub fn watch(
        client: Client,
        namespace: Option<String>,
        apis: Apis,
        metrics: &Arc<Metrics>,
    ) -> (Arc<Self>, Requests) {
        let resource = channels_resource();
        let mut requests: Vec<Requests> = Vec::new();

        let writer = Writer::new(resource.clone());
        let channels = writer.as_reader();
        let api = dynamic(&client, namespace.as_deref(), &resource);
        let watch = watched(api, watcher::Config::default(), "EventChannel", metrics, slim);
        let own = watch.default_backoff().reflect(writer).touched_objects();
        requests.push(trigger_self(own, resource.clone()).boxed());

        let mut objects = HashMap::new();
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_watched() && apis.serve(*kind)) {
            let child = kind.resource();
            let writer = Writer::new(child.clone());
            objects.insert(kind, writer.as_reader());
            let api = dynamic(&client, namespace.as_deref(), &child);
            let watch = watched(
                api,
                watcher::Config::default().labels(MANAGED),
                kind.as_str(),
                metrics,
                slim,
            );
            let touched = watch.default_backoff().reflect(writer).touched_objects();
            let channels = channels_of(resource.clone());
            requests.push(trigger_with(touched, channels).boxed());
        }

        let writer = Writer::new(());
        let pods = writer.as_reader();
        let api: Api<Pod> = match &namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        let watch =
            watched(api, watcher::Config::default().labels(MANAGED), "Pod", metrics, slim_pod);
        let touched = watch.default_backoff().reflect(writer).touched_objects();
        let channel = move |pod: Pod| {
            let name = pod.labels().get(CHANNEL_LABEL)?;
            let namespace = pod.namespace()?;
            let of =
                ObjectRef::<DynamicObject>::new_with(name, resource.clone()).within(&namespace);
            Some(ReconcileRequest::from(of))
        };
        requests.push(trigger_with(touched, channel).boxed());

        let scope = Self { namespace, apis, client, channels, pods, objects };
        (Arc::new(scope), futures_util::stream::select_all(requests).boxed())
    }

    /// Waits until every cache was filled once: a visit before that would take what is there for missing.
    pub async fn ready(&self, patience: Duration) -> bool {
        let filled = async {
            let objects = future::try_join_all(self.objects.values().map(Store::wait_until_ready));
            objects.await.is_ok()
                && self.pods.wait_until_ready().await.is_ok()
                && self.channels.wait_until_ready().await.is_ok()
        };
        timeout(patience, filled).await.unwrap_or(false)
    }

    /// An object of ours as the watch saw it last. Never a Secret.
    #[must_use]
    pub fn object(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        let key = ObjectRef::new_with(name, kind.resource()).within(namespace);
        self.objects.get(&kind)?.get(&key)
    }

    /// Requests about objects of `kind` in `namespace`.
    #[must_use]
    pub fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        dynamic(&self.client, Some(namespace), &kind.resource())
    }

    /// Requests about channels in `namespace`.
    #[must_use]
    pub fn channels_api(&self, namespace: &str) -> Api<DynamicObject> {
        dynamic(&self.client, Some(namespace), &channels_resource())
    }

    /// Whether the channel is certainly not there: it is looked for where nothing is watched in vain.
    #[must_use]
    pub fn is_gone(&self, namespace: &str, name: &str) -> bool {
        let watched = self.namespace.as_deref().is_none_or(|ours| ours == namespace);
        let key = ObjectRef::new_with(name, channels_resource()).within(namespace);
        watched && self.channels.get(&key).is_none()
    }

    /// A request for every channel.
    #[must_use]
    pub fn all(&self) -> Vec<ReconcileRequest<DynamicObject>> {
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

/// The channels that an object names: as its owners, and by its label, so that one that lost either is still seen.
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
            let of = ObjectRef::<DynamicObject>::new_with(name, resource.clone());
            ReconcileRequest::from(of.within(&namespace))
        };
        names.into_iter().map(request).collect()
    }
}

/// A watch that counts what goes wrong with it, and keeps of each object what `keep` leaves.
fn watched<K>(
    api: Api<K>,
    config: watcher::Config,
    kind: &'static str,
    metrics: &Arc<Metrics>,
    keep: fn(&mut K),
) -> impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + use<K>
where
    K: Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let metrics = Arc::clone(metrics);
    watcher(api, config.any_semantic()).modify(keep).inspect(move |event| {
        if let Err(error) = event {
            metrics.watch_failed(kind);
            tracing::warn!(kind, error = %Chain(error), "a watch failed: it is begun again");
        }
    })
}

/// What nobody here reads: large, and there are many.
fn slim(object: &mut DynamicObject) {
    object.metadata.managed_fields = None;
    drift::hash_data(object);
}

fn slim_pod(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    pod.metadata.annotations = None;
    if let Some(spec) = &mut pod.spec {
        spec.volumes = None;
        for container in &mut spec.containers {
            (container.env, container.volume_mounts) = (None, None);
        }
    }
}

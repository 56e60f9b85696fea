//! The cluster: what the API server says of a channel and its brokers, and connections to their pods.

mod kubeconfig;
mod pods;
mod port_forward;

pub(crate) use pods::{
    broker_port, first_container, is_ready, is_running, pod_key, pod_name, trouble, was_restarted,
};
pub(crate) use port_forward::{PodPort, PortForwardError};

use std::{future::IntoFuture, path::Path, time::Duration};

use eventcast_crds::channel::EventChannel;
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    core::v1::{Event, Pod},
};
use kube::{
    Api, Client,
    api::{ListParams, LogParams, PostParams},
};
use serde_json::Value;
use tokio::time::timeout;

use crate::{failure::Failure, target::ChannelName};

/// How long the API server may take to answer.
const API_TIMEOUT: Duration = Duration::from_secs(15);
/// The pods of operators, as the chart labels them.
const OPERATOR_SELECTOR: &str =
    "app.kubernetes.io/name=eventcast,app.kubernetes.io/component=operator";
/// Lines of a log that are read, and their bytes.
const LOG_LINES: i64 = 5000;
const LOG_BYTES: i64 = 2 << 20;
/// Pods and Events that are read.
const LIST_LIMIT: u32 = 500;

/// Why the API server has not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("the API server did not answer within {API_TIMEOUT:?}")]
    Timeout,
    #[error("{}", kubeconfig::causes(.0.as_ref()))]
    Api(Box<kube::Error>),
}

impl ApiError {
    /// The code of an answer of the API server.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Api(error) => match error.as_ref() {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            Self::Timeout => None,
        }
    }
}

/// One verb on one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Permission {
    pub(crate) verb: &'static str,
    pub(crate) group: &'static str,
    /// With a subresource after a slash.
    pub(crate) resource: &'static str,
}

/// A cluster, and the namespace of the kubeconfig.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: Client,
    namespace: String,
}

impl Cluster {
    /// The cluster of a kubeconfig: the one of `kubeconfig`, `KUBECONFIG`, `~/.kube/config`, or that of the pod.
    ///
    /// # Errors
    /// There is none, or it cannot be used.
    pub(crate) async fn connect(
        kubeconfig: Option<&Path>,
        context: Option<&str>,
    ) -> Result<Self, Failure> {
        let (client, namespace) = kubeconfig::connect(kubeconfig, context).await?;
        Ok(Self { client, namespace })
    }

    /// The namespace of names without one.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// # Errors
    /// There is no such channel, or it cannot be read. Says what to do.
    pub(crate) async fn channel(&self, name: &ChannelName) -> Result<EventChannel, Failure> {
        let api: Api<EventChannel> = Api::namespaced(self.client.clone(), &name.namespace);
        answer(api.get(&name.name)).await.map_err(|error| no_channel(name, &error))
    }

    /// The channels of a namespace, or of all.
    ///
    /// # Errors
    /// They cannot be listed.
    pub(crate) async fn channels(
        &self,
        namespace: Option<&str>,
    ) -> Result<Vec<EventChannel>, ApiError> {
        let api: Api<EventChannel> = match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        Ok(answer(api.list(&ListParams::default().limit(LIST_LIMIT))).await?.items)
    }

    /// The pods of the brokers that serve a channel: its own or those of its pool.
    ///
    /// # Errors
    /// They cannot be listed.
    pub(crate) async fn brokers(&self, channel: &EventChannel) -> Result<Vec<Pod>, ApiError> {
        let Some((pods, selector)) = self.pods_of(channel) else { return Ok(Vec::new()) };
        let params = ListParams::default().labels(&selector).limit(LIST_LIMIT);
        Ok(answer(pods.list(&params)).await?.items)
    }

    /// The port `name` of any broker of a channel that is ready.
    pub(crate) fn ready_port(&self, channel: &EventChannel, name: &'static str) -> Option<PodPort> {
        let (pods, selector) = self.pods_of(channel)?;
        Some(PodPort::OfAnyReady { pods, selector, name })
    }

    /// Where the pods of the brokers are, and their label selector.
    fn pods_of(&self, channel: &EventChannel) -> Option<(Api<Pod>, String)> {
        let status = channel.status.as_ref()?;
        let pool = status.pool.as_ref().and_then(|pool| pool.namespace.clone());
        let own = channel.metadata.namespace.clone().unwrap_or_default();
        Some((self.pods(&pool.unwrap_or(own)), status.selector.clone()?))
    }

    /// The pods of operators: in a namespace, or in all.
    ///
    /// # Errors
    /// They cannot be listed.
    pub(crate) async fn operators(&self, namespace: Option<&str>) -> Result<Vec<Pod>, ApiError> {
        let pods = match namespace {
            Some(namespace) => self.pods(namespace),
            None => Api::all(self.client.clone()),
        };
        let params = ListParams::default().labels(OPERATOR_SELECTOR).limit(LIST_LIMIT);
        Ok(answer(pods.list(&params)).await?.items)
    }

    /// The last lines of the log of a pod, or of the container that ran before.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) async fn log(&self, pod: &Pod, previous: bool) -> Result<String, ApiError> {
        let pods = self.pods(pod.metadata.namespace.as_deref().unwrap_or_default());
        let params = LogParams {
            container: first_container(pod),
            previous,
            tail_lines: Some(LOG_LINES),
            limit_bytes: Some(LOG_BYTES),
            ..LogParams::default()
        };
        answer(pods.logs(pod_name(pod), &params)).await
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// A port of a pod.
    pub(crate) fn port(&self, pod: &Pod, port: u16) -> PodPort {
        let pods = self.pods(pod.metadata.namespace.as_deref().unwrap_or_default());
        PodPort::Of { pods, pod: pod_name(pod).to_owned(), port }
    }

    /// The Events about a channel.
    ///
    /// # Errors
    /// They cannot be listed.
    pub(crate) async fn events(&self, name: &ChannelName) -> Result<Vec<Event>, ApiError> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &name.namespace);
        let fields = format!("involvedObject.kind=EventChannel,involvedObject.name={}", name.name);
        let params = ListParams::default().fields(&fields).limit(LIST_LIMIT);
        Ok(answer(api.list(&params)).await?.items)
    }

    /// A document of the API server, such as its version or its OpenAPI schemas.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) async fn document(&self, path: &str) -> Result<Value, ApiError> {
        let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError);
        let request = request.map_err(|error| ApiError::Api(Box::new(error)))?;
        answer(self.client.request(request)).await
    }

    /// Whether the user may do something; in all namespaces if `namespace` is `None`.
    ///
    /// # Errors
    /// The API server does not answer.
    pub(crate) async fn allows(
        &self,
        permission: Permission,
        namespace: Option<&str>,
    ) -> Result<bool, ApiError> {
        let Permission { verb, group, resource } = permission;
        let (resource, subresource) = resource.split_once('/').unzip();
        let attributes = ResourceAttributes {
            verb: Some(verb.into()),
            group: Some(group.into()),
            resource: Some(resource.unwrap_or(permission.resource).into()),
            subresource: subresource.map(str::to_owned),
            namespace: namespace.map(str::to_owned),
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let api = Api::<SelfSubjectAccessReview>::all(self.client.clone());
        let params = PostParams::default();
        let reviewed = answer(api.create(&params, &review)).await?;
        Ok(reviewed.status.is_some_and(|status| status.allowed))
    }
}

async fn answer<T>(
    request: impl IntoFuture<Output = Result<T, kube::Error>>,
) -> Result<T, ApiError> {
    let answered = timeout(API_TIMEOUT, request).await.map_err(|_| ApiError::Timeout)?;
    answered.map_err(|error| ApiError::Api(Box::new(error)))
}

/// What it means that a channel cannot be read.
fn no_channel(name: &ChannelName, error: &ApiError) -> Failure {
    let ChannelName { namespace, name } = name;
    Failure::failed(match error.code() {
        Some(404) => format!(
            "the cluster has no channel {namespace}/{name}: `kubectl get evch -A` lists those that there are"
        ),
        Some(401 | 403) => format!(
            "you may not read the channel {namespace}/{name}: {error}. Ask for the ClusterRole `view` in its namespace, or reach a broker with --url"
        ),
        _ => format!("cannot read the channel {namespace}/{name}: {error}"),
    })
}

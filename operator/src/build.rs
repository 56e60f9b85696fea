//! From a channel to the objects it is made of. Pure: the same channel, settings and credentials give the same objects, to the byte,
//! whatever the version of the operator; a golden test holds that.

pub mod budget;
pub mod config;
pub mod deployment;
pub mod exposure;
mod policy;

use kube::core::ObjectMeta;
use serde_json::{Value, json};

use crate::{
    channel::Channel,
    kind::Kind,
    names,
    settings::{Credentials, Settings},
};

/// What goes into a channel's objects beside the channel.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// What holds for all channels.
    pub settings: &'a Settings,
    /// The credentials for NATS; empty where there are none.
    pub credentials: &'a Credentials,
}

/// The object of `kind` that `channel` wants, if it wants one.
#[must_use]
pub fn build(kind: Kind, channel: &Channel, inputs: Inputs<'_>) -> Option<Value> {
    let body = match kind {
        Kind::ServiceAccount => Some(json!({"automountServiceAccountToken": false})),
        Kind::ConfigMap => Some(config::map(channel)),
        Kind::Secret => config::secret(inputs.credentials),
        Kind::Service => Some(exposure::service(channel)),
        Kind::NetworkPolicy => policy::network(channel, inputs.settings),
        Kind::PodDisruptionBudget => policy::disruption(channel),
        Kind::HorizontalPodAutoscaler => policy::autoscaler(channel),
        Kind::Ingress => exposure::ingress(channel),
        Kind::HttpRoute => exposure::route(channel),
        Kind::PodMonitor => policy::monitor(channel, inputs.settings),
        Kind::Deployment => Some(deployment::deployment(channel, inputs)),
    };
    body.map(|body| whole(kind, channel, body))
}

/// `body` with type and metadata. Annotations of the body's metadata stay.
fn whole(kind: Kind, channel: &Channel, mut body: Value) -> Value {
    let resource = kind.resource();
    let metadata = ObjectMeta {
        name: Some(channel.object_name()),
        namespace: Some(channel.namespace.clone()),
        labels: Some(names::labels(&channel.name)),
        owner_references: Some(vec![channel.owner.clone()]),
        ..ObjectMeta::default()
    };
    let annotations = body["metadata"]["annotations"].take();
    body["apiVersion"] = json!(resource.api_version);
    body["kind"] = json!(resource.kind);
    body["metadata"] = json!(metadata);
    if !annotations.is_null() {
        body["metadata"]["annotations"] = annotations;
    }
    body
}

#[cfg(test)]
pub(crate) mod tests;

//! Builds the objects of a channel, one kind in each file. Pure.
//!
//! The same channel, settings and credentials always give the same bytes, with every version of the operator: otherwise an upgrade of
//! the operator would restart the brokers. Golden files in the tests hold that.

mod config_map;
mod deployment;
mod horizontal_pod_autoscaler;
mod http_route;
mod ingress;
mod network_policy;
mod pod_disruption_budget;
mod pod_monitor;
mod pod_template;
mod pod_volumes;
mod review_rights;
mod secret;
mod service;
mod service_account;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::ObjectMeta;
use serde_json::{Value, json};

use crate::{
    channel::Channel,
    kind::Kind,
    names,
    settings::{Credentials, Settings},
};

/// What determines the objects of a channel besides the channel itself.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Settings that apply to all channels.
    pub settings: &'a Settings,
    /// The credentials for NATS; empty if NATS needs none.
    pub credentials: &'a Credentials,
}

/// Builds the object of `kind`; `None` if the channel needs none.
#[must_use]
pub fn build(kind: Kind, channel: &Channel, inputs: Inputs<'_>) -> Option<Value> {
    match kind {
        Kind::ServiceAccount => Some(json!(service_account::build(channel))),
        Kind::Role => review_rights::role(channel).map(|o| json!(o)),
        Kind::RoleBinding => review_rights::role_binding(channel).map(|o| json!(o)),
        Kind::ConfigMap => Some(json!(config_map::build(channel))),
        Kind::Secret => secret::build(channel, inputs.credentials).map(|o| json!(o)),
        Kind::Service => Some(json!(service::build(channel))),
        Kind::NetworkPolicy => network_policy::build(channel, inputs.settings).map(|o| json!(o)),
        Kind::PodDisruptionBudget => pod_disruption_budget::build(channel).map(|o| json!(o)),
        Kind::HorizontalPodAutoscaler => {
            horizontal_pod_autoscaler::build(channel).map(|o| json!(o))
        }
        Kind::Ingress => ingress::build(channel).map(|o| json!(o)),
        Kind::HttpRoute => http_route::build(channel),
        Kind::PodMonitor => pod_monitor::build(channel, inputs.settings),
        Kind::Deployment => Some(json!(deployment::build(channel, inputs))),
    }
}

/// Metadata of every object of the channel.
fn metadata(channel: &Channel) -> ObjectMeta {
    metadata_with(channel, &BTreeMap::new(), &BTreeMap::new())
}

/// Metadata of an object with further labels and annotations.
fn metadata_with(
    channel: &Channel,
    more_labels: &BTreeMap<String, String>,
    more_annotations: &BTreeMap<String, String>,
) -> ObjectMeta {
    let annotations = merged(&channel.annotations, more_annotations);
    ObjectMeta {
        name: Some(channel.object_name()),
        namespace: Some(channel.namespace.clone()),
        labels: Some(merged(&merged(&channel.labels, more_labels), &names::labels(&channel.name))),
        annotations: (!annotations.is_empty()).then_some(annotations),
        owner_references: Some(vec![channel.owner.clone()]),
        ..ObjectMeta::default()
    }
}

/// Labels of the pods. The operator's own win: it finds its objects by them.
fn pod_labels(channel: &Channel) -> BTreeMap<String, String> {
    merged(&channel.labels, &names::labels(&channel.name))
}

/// `over` wins.
fn merged(
    base: &BTreeMap<String, String>,
    over: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    base.iter().chain(over).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Selects the broker pods of the channel.
fn pod_selector(channel: &Channel) -> LabelSelector {
    LabelSelector { match_labels: Some(names::selector(&channel.name)), ..LabelSelector::default() }
}

/// An object of a kind that k8s-openapi has no type for.
fn dynamic_object(kind: Kind, metadata: &ObjectMeta, spec: &Value) -> Value {
    let resource = kind.resource();
    json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": metadata,
        "spec": spec,
    })
}

#[cfg(test)]
mod tests;

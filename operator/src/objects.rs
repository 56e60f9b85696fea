//! Builds the objects of a channel or a pool, one kind in each file. Pure.
//!
//! The same owner, settings and credentials always give the same bytes, with every version of the operator: otherwise an upgrade of
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

pub(crate) use config_map::channel_file;
pub(crate) use service::service_host;

use std::collections::BTreeMap;

use eventcast_crds::channel::exposure::Exposure;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::ObjectMeta;
use serde_json::{Value, json};

use crate::{
    kind::Kind,
    owner::OwnerKey,
    settings::{Credentials, Settings},
    workload::Workload,
};

/// What determines the objects besides the brokers themselves.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Settings that apply to all channels.
    pub settings: &'a Settings,
    /// The credentials for NATS; empty if NATS needs none.
    pub credentials: &'a Credentials,
    /// The brokers that clients reach.
    pub backend: &'a Backend,
    /// Whether there are brokers of its own. A channel that a pool serves has none.
    pub has_brokers: bool,
}

impl<'a> Inputs<'a> {
    /// For brokers that serve their owner.
    #[must_use]
    pub const fn own(settings: &'a Settings, credentials: &'a Credentials) -> Self {
        Self { settings, credentials, backend: &Backend::Own, has_brokers: true }
    }
}

/// The brokers that clients reach through the Service.
#[derive(Clone, Debug, PartialEq)]
pub enum Backend {
    /// Those of the owner of the Service.
    Own,
    /// Those of a pool.
    Pool {
        /// The pool.
        key: OwnerKey,
        /// Its listeners.
        exposure: Box<Exposure>,
    },
}

/// Builds the object of `kind`; `None` if none is needed.
#[must_use]
pub fn build(kind: Kind, workload: &Workload, inputs: Inputs<'_>) -> Option<Value> {
    let of_brokers = !matches!(kind, Kind::Service | Kind::Ingress | Kind::HttpRoute);
    if of_brokers && !inputs.has_brokers {
        return None;
    }
    match kind {
        Kind::ServiceAccount => Some(json!(service_account::build(workload))),
        Kind::Role => review_rights::role(workload).map(|o| json!(o)),
        Kind::RoleBinding => review_rights::role_binding(workload).map(|o| json!(o)),
        Kind::ConfigMap => Some(json!(config_map::build(workload))),
        Kind::Secret => secret::build(workload, inputs.credentials).map(|o| json!(o)),
        Kind::Service => Some(json!(service::build(workload, inputs))),
        Kind::NetworkPolicy => network_policy::build(workload, inputs.settings).map(|o| json!(o)),
        Kind::PodDisruptionBudget => pod_disruption_budget::build(workload).map(|o| json!(o)),
        Kind::HorizontalPodAutoscaler => {
            horizontal_pod_autoscaler::build(workload).map(|o| json!(o))
        }
        Kind::Ingress => ingress::build(workload).map(|o| json!(o)),
        Kind::HttpRoute => http_route::build(workload),
        Kind::PodMonitor => pod_monitor::build(workload, inputs.settings),
        Kind::Deployment => Some(json!(deployment::build(workload, inputs))),
    }
}

/// Metadata of every object.
fn metadata(workload: &Workload) -> ObjectMeta {
    metadata_with(workload, &BTreeMap::new(), &BTreeMap::new())
}

/// Metadata of an object with further labels and annotations.
fn metadata_with(
    workload: &Workload,
    more_labels: &BTreeMap<String, String>,
    more_annotations: &BTreeMap<String, String>,
) -> ObjectMeta {
    let annotations = merged(&workload.annotations, more_annotations);
    ObjectMeta {
        name: Some(workload.object_name()),
        namespace: Some(workload.namespace().to_owned()),
        labels: Some(merged(&merged(&workload.labels, more_labels), &workload.owner.key.labels())),
        annotations: (!annotations.is_empty()).then_some(annotations),
        owner_references: Some(vec![workload.owner.reference.clone()]),
        ..ObjectMeta::default()
    }
}

/// Labels of the pods. The operator's own win: it finds its objects by them.
fn pod_labels(workload: &Workload) -> BTreeMap<String, String> {
    merged(&workload.labels, &workload.owner.key.labels())
}

/// `over` wins.
fn merged(
    base: &BTreeMap<String, String>,
    over: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    base.iter().chain(over).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Selects the broker pods.
fn pod_selector(workload: &Workload) -> LabelSelector {
    LabelSelector { match_labels: Some(workload.owner.key.selector()), ..LabelSelector::default() }
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

//! The brokers. `replicas` is not part of the object: it has a field manager of its own (ADR 6).

use std::collections::BTreeMap;

use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde_json::json;

use super::{Inputs, metadata_with, pod_selector, pod_template};
use crate::{names, workload::Workload};

/// Time between the end of the broker's own shutdown and the SIGKILL of the kubelet.
const KILL_MARGIN_SECONDS: u64 = 2;
/// A rollout replaces the next broker only after a new one was ready for this long, so that the subscribers of the replaced broker
/// have reconnected.
const MIN_READY_SECONDS: u64 = 10;
/// Lower bound of the time for a rollout.
const MIN_PROGRESS_DEADLINE_SECONDS: u64 = 600;

pub(super) fn build(workload: &Workload, inputs: Inputs<'_>) -> Deployment {
    let brokers = u64::try_from(workload.max_brokers()).unwrap_or(1).max(1);
    let grace_seconds = workload.config.shutdown.grace_seconds + KILL_MARGIN_SECONDS;
    let surge_percent = workload.brokers.rollout.surge_percent;
    // One broker after the other, if there is no room for more, and half of that in reserve.
    let rollout_seconds = brokers * (grace_seconds + MIN_READY_SECONDS) * 3 / 2;
    let progress_deadline_seconds = rollout_seconds.max(MIN_PROGRESS_DEADLINE_SECONDS);
    let template = pod_template::build(workload, inputs, grace_seconds);
    let hash = names::short_hash(&json!(template).to_string());
    let annotations = BTreeMap::from([(names::TEMPLATE_HASH_ANNOTATION.to_owned(), hash)]);
    Deployment {
        metadata: metadata_with(workload, &BTreeMap::new(), &annotations),
        spec: Some(DeploymentSpec {
            selector: pod_selector(workload),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::String(format!("{surge_percent}%"))),
                    // A broker stops only after another one is ready.
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            min_ready_seconds: seconds(MIN_READY_SECONDS),
            progress_deadline_seconds: seconds(progress_deadline_seconds),
            revision_history_limit: Some(3),
            template,
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn seconds(value: u64) -> Option<i32> {
    Some(i32::try_from(value).unwrap_or(i32::MAX))
}

//! Pods and Deployments of brokers in an API server without kubelets and controllers: what these would write.

use anyhow::{Context as _, Result};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, PodTemplateSpec},
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::namespace::TestNamespace;

/// A pod as the Deployment of a channel would have it, with a status as a kubelet would give it.
///
/// # Errors
/// When there is no such Deployment, or the API server rejects the pod.
pub async fn create(
    ns: &TestNamespace,
    channel: &str,
    name: &str,
    port: u16,
    status: Value,
) -> Result<Pod> {
    let template =
        ns.object::<Deployment>(channel, |_| true).await?.spec.context("no spec")?.template;
    let mut pod = from_template(&template, name, port)?;
    // A pod without a node is gone as soon as it is deleted.
    pod["spec"]["nodeName"] = json!("node");
    let api: Api<Pod> = ns.api();
    let pod = api.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let patch = Patch::Merge(json!({"status": status}));
    Ok(api.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await?)
}

/// A pod of a broker whose admin listener is at `port`.
pub(crate) fn from_template(template: &PodTemplateSpec, name: &str, port: u16) -> Result<Value> {
    let mut pod = json!({"metadata": template.metadata, "spec": template.spec});
    pod["metadata"]["name"] = json!(name);
    for entry in pod["spec"]["containers"][0]["ports"].as_array_mut().context("no ports")? {
        if entry["name"] == "admin" {
            entry["containerPort"] = port.into();
        }
    }
    Ok(pod)
}

/// The status of a Deployment whose `count` brokers are ready.
#[must_use]
pub fn ready(generation: Option<i64>, count: i32) -> Value {
    json!({
        "observedGeneration": generation,
        "replicas": count, "readyReplicas": count, "updatedReplicas": count, "availableReplicas": count,
    })
}

/// The status of a Deployment whose only broker was just replaced.
#[must_use]
pub fn rolled_out(generation: Option<i64>) -> Value {
    let mut status = ready(generation, 1);
    status["conditions"] = json!([
        condition("Progressing", "True", "NewReplicaSetAvailable"),
        condition("Available", "True", "MinimumReplicasAvailable"),
    ]);
    status
}

/// The status of a Deployment whose new broker does not become ready, while the old one serves.
#[must_use]
pub fn stuck(generation: Option<i64>) -> Value {
    let mut status = ready(generation, 1);
    status["replicas"] = json!(2);
    status["conditions"] = json!([
        condition("Progressing", "False", "ProgressDeadlineExceeded"),
        condition("Available", "True", "MinimumReplicasAvailable"),
    ]);
    status
}

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    let now = format!("{:.0}", jiff::Timestamp::now());
    json!({
        "type": kind, "status": status, "reason": reason, "message": "",
        "lastUpdateTime": now, "lastTransitionTime": now,
    })
}

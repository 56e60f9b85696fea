//! Pods of brokers, which no kubelet runs.

use anyhow::{Context as _, Result};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
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
    let mut pod = json!({"metadata": template.metadata, "spec": template.spec});
    pod["metadata"]["name"] = json!(name);
    // A pod without a node is gone as soon as it is deleted.
    pod["spec"]["nodeName"] = json!("node");
    for entry in pod["spec"]["containers"][0]["ports"].as_array_mut().context("no ports")? {
        if entry["name"] == "admin" {
            entry["containerPort"] = port.into();
        }
    }
    let api: Api<Pod> = ns.api();
    let pod = api.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let patch = Patch::Merge(json!({"status": status}));
    Ok(api.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await?)
}

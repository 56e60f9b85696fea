//! Checks manifests strictly against the Kubernetes types. A field that a type does not have is an error, because an API server
//! would drop it silently. Needs no network and no cluster.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, StatefulSet},
        core::v1::{ConfigMap, ConfigMapKeySelector, Pod, Secret, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use eventcast_tests::chart::{
    monitoring::Group,
    slo::{PrometheusServiceLevel, RecordGroup, ServiceLevelObjective},
    text,
};

/// Whether the manifest is of its kind.
///
/// # Errors
/// What does not fit, with its path.
pub(crate) fn check(manifest: &Value) -> Result<()> {
    match text(manifest, "/kind") {
        "ClusterRole" => strict::<ClusterRole>(manifest),
        "ClusterRoleBinding" => strict::<ClusterRoleBinding>(manifest),
        "ConfigMap" => strict::<ConfigMap>(manifest),
        "CustomResourceDefinition" => strict::<CustomResourceDefinition>(manifest),
        "Deployment" => strict::<Deployment>(manifest),
        "GrafanaDashboard" => strict::<Custom<GrafanaDashboard>>(manifest),
        "NetworkPolicy" => strict::<NetworkPolicy>(manifest),
        "Pod" => strict::<Pod>(manifest),
        "PodDisruptionBudget" => strict::<PodDisruptionBudget>(manifest),
        "PrometheusServiceLevel" => strict::<Custom<PrometheusServiceLevel>>(manifest),
        "ServiceLevelObjective" => strict::<Custom<ServiceLevelObjective>>(manifest),
        "PodMonitor" => strict::<Custom<PodMonitor>>(manifest),
        "PrometheusRule" => strict::<Custom<PrometheusRule>>(manifest),
        "Role" => strict::<Role>(manifest),
        "RoleBinding" => strict::<RoleBinding>(manifest),
        "Secret" => strict::<Secret>(manifest),
        "Service" => strict::<Service>(manifest),
        "ServiceAccount" => strict::<ServiceAccount>(manifest),
        "StatefulSet" => strict::<StatefulSet>(manifest),
        other => bail!("no type for the kind {other:?}: add it here"),
    }
}

fn strict<T: DeserializeOwned>(manifest: &Value) -> Result<()> {
    let mut unknown = Vec::new();
    let parsed: Result<T, _> = serde_ignored::deserialize(manifest, |path| {
        unknown.push(path.to_string().replace(".?", ""))
    });
    parsed?;
    ensure!(unknown.is_empty(), "unknown fields: {}", unknown.join(", "));
    Ok(())
}

/// An object of the Prometheus operator, the Grafana operator, Sloth or Pyrra, with as much of its type as the chart uses.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only read to see whether it can be")]
struct Custom<S> {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: S,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only read to see whether it can be")]
struct PodMonitor {
    selector: LabelSelector,
    pod_metrics_endpoints: Vec<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only read to see whether it can be")]
struct GrafanaDashboard {
    allow_cross_namespace_import: bool,
    instance_selector: LabelSelector,
    config_map_ref: ConfigMapKeySelector,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read to see whether it can be")]
struct PrometheusRule {
    groups: Vec<RuleGroup>,
}

#[derive(Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "only read to see whether it can be")]
enum RuleGroup {
    Alerts(Group),
    Records(RecordGroup),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_unknown_field_is_found_however_deep() {
        let pod = |field: &str| json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a", field: {}}]}});
        assert!(check(&pod("resources")).is_ok());
        let error = check(&pod("resource")).unwrap_err().to_string();
        assert_eq!(error, "unknown fields: spec.containers.0.resource");
        let wrong =
            json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": "x"}]}});
        assert!(check(&wrong).is_err());
    }
}

//! The chart on a real API server by Helm 3 and by Helm 4, which applies on the server.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    chart, eventually, init_tracing,
    kube::{ApiServer, Cluster, program},
    namespace::WAIT_TIMEOUT,
};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::{Api, Resource as _};

use crate::reconcile_rights;

const NAMESPACE: &str = "eventcast-system";

fn helm(cluster: &Cluster, version: &str, arguments: &[&str]) -> Result<String> {
    let mut helm = Command::new(program(version));
    helm.env("KUBECONFIG", cluster.admin_kubeconfig()).args(arguments);
    helm.args(["--namespace", NAMESPACE]);
    chart::run(&mut helm).with_context(|| version.to_owned())
}

#[tokio::test]
async fn a_release_of_helm_3_is_upgraded_by_helm_4_without_a_change() -> Result<()> {
    init_tracing();
    let server = ApiServer::start().await?;
    let chart = chart::folder();
    let chart = chart.to_str().context("a path that is not UTF-8")?;
    helm(&server, "helm", &["install", "eventcast", chart, "--create-namespace"])?;
    let client = server.client().await?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let sets: Api<StatefulSet> = Api::namespaced(client, NAMESPACE);
    let generations = || async {
        let operator = deployments.get("eventcast-operator").await?.metadata.generation;
        anyhow::Ok((operator, sets.get("eventcast-nats").await?.metadata.generation))
    };
    let before = generations().await?;
    helm(&server, "helm4", &["upgrade", "eventcast", chart])?;
    helm(&server, "helm4", &["upgrade", "eventcast", chart])?;
    assert_eq!(generations().await?, before, "no pod is replaced");
    let values = ["--set", "brokers.labels.team=platform", "--set", "podLabels.team=platform"];
    helm(&server, "helm4", &[&["upgrade", "eventcast", chart], &values[..]].concat())?;
    let operator = deployments.get("eventcast-operator").await?;
    let template = operator.spec.context("no spec")?.template;
    ensure!(template.metadata.unwrap_or_default().labels.unwrap_or_default().contains_key("team"));
    // Both see that a cluster is OpenShift, where pods may ask for no user.
    let (group, kind) = ("security.openshift.io", "SecurityContextConstraints");
    reconcile_rights::install(&server, group, kind, "securitycontextconstraints").await?;
    for version in ["helm", "helm4"] {
        eventually("the API is discovered", WAIT_TIMEOUT, || async {
            helm(&server, version, &["upgrade", "eventcast", chart])?;
            let nats = serde_json::to_string(&sets.get("eventcast-nats").await?.spec)?;
            ensure!(!nats.contains("runAsUser") && nats.contains("runAsNonRoot"), "{nats}");
            anyhow::Ok(())
        })
        .await?;
    }
    // The CRD outlives the release.
    helm(&server, "helm4", &["uninstall", "eventcast"])?;
    let crd = server.kubectl(&["get", "crd", "eventchannels.eventcast.dev"], None).await?;
    ensure!(crd.status.success(), "{}", String::from_utf8_lossy(&crd.stderr));
    ensure!(
        deployments
            .get_opt("eventcast-operator")
            .await?
            .is_none_or(|d| d.meta().deletion_timestamp.is_some()),
        "the operator is there"
    );
    Ok(())
}

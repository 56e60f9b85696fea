//! What Flux, Helm 4 and Argo CD read of a channel: nobody may take it for ready before the operator saw it, and a channel that needs a
//! person says so.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::channel::EventChannel;
use eventcast_tests::{
    chart, eventually, init_tracing,
    kube::{ApiServer, Cluster, program, temp_namespace},
    namespace::{TestNamespace, WAIT_TIMEOUT, apply, install_crd},
    process,
};
use kube::Api;
use serde_json::json;
use tokio::time::Instant;

#[tokio::test]
async fn a_channel_that_no_operator_saw_is_of_no_generation() -> Result<()> {
    init_tracing();
    let cluster = ApiServer::shared().await?;
    install_crd(&cluster).await?;
    let client = cluster.client().await?;
    let namespace = temp_namespace(&client).await?;
    apply(&client, &namespace, "orders", json!({})).await?;
    let api: Api<EventChannel> = Api::namespaced(client, &namespace);
    let status = api.get("orders").await?.status.unwrap_or_default();
    assert_eq!(status.observed_generation, Some(-1));
    assert!(status.conditions.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_channel_that_needs_a_person_is_stalled_until_it_is_corrected() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    let bad = json!({"brokers": {"resources": {"limits": {"memory": "1Mi"}}}});
    ns.apply("orders", bad).await?;
    let stalled = ns.condition("orders", "Stalled", "True", "InvalidSpec").await?;
    assert!(stalled.message.contains("1Mi is too little"), "{}", stalled.message);
    ns.apply("orders", json!({})).await?;
    ns.settled("orders").await?;
    eventually("it is not stalled", WAIT_TIMEOUT, || async {
        let channel = ns.api::<EventChannel>().get("orders").await?;
        let (generation, status) =
            (channel.metadata.generation, channel.status.unwrap_or_default());
        ensure!(status.observed_generation == generation, "{status:?}");
        ensure!(status.conditions.iter().all(|c| c.type_ != "Stalled"), "{status:?}");
        anyhow::Ok(())
    })
    .await
}

/// A chart with one channel, which has the name of the release.
fn channel_chart(folder: &Path) -> Result<()> {
    fs::create_dir(folder.join("templates"))?;
    fs::write(folder.join("Chart.yaml"), "apiVersion: v2\nname: channel\nversion: 0.1.0\n")?;
    fs::write(folder.join("values.yaml"), "spec: {}\n")?;
    let channel = "apiVersion: eventcast.dev/v1alpha1\nkind: EventChannel\n\
                   metadata: {name: {{ .Release.Name }}}\nspec: {{ toJson .Values.spec }}\n";
    Ok(fs::write(folder.join("templates/channel.yaml"), channel)?)
}

/// `helm install --wait` of Helm 4, which judges by kstatus, as Flux does.
fn install(cluster: &Cluster, namespace: &str, chart: &Path, arguments: &[&str]) -> Command {
    let mut helm = Command::new(program("helm4"));
    helm.env("KUBECONFIG", cluster.admin_kubeconfig()).arg("install").args(arguments);
    helm.arg(chart).args(["--namespace", namespace, "--wait"]);
    helm
}

#[tokio::test]
async fn helm_4_waits_for_a_channel_and_gives_up_on_a_stalled_one() -> Result<()> {
    init_tracing();
    let folder = process::folder("eventcast-gitops-")?;
    channel_chart(folder.path())?;
    let ns = TestNamespace::start().await?;

    let mut helm = install(&ns.cluster, &ns.name, folder.path(), &["orders", "--timeout", "90s"]);
    let waits = tokio::task::spawn_blocking(move || chart::run(&mut helm));
    ns.settled("orders").await?;
    ensure!(!waits.is_finished(), "it waits for a broker");
    ns.make_ready("orders").await?;
    waits.await??;

    let bad = "spec.brokers.resources.limits.memory=1Mi";
    let arguments = ["bad", "--timeout", "90s", "--set", bad];
    let mut helm = install(&ns.cluster, &ns.name, folder.path(), &arguments);
    let begin = Instant::now();
    let gives_up = tokio::task::spawn_blocking(move || chart::run(&mut helm)).await?;
    let error = gives_up.err().context("a channel that cannot work is taken")?.to_string();
    ensure!(error.contains("status: Failed") && error.contains("1Mi is too little"), "{error}");
    ensure!(begin.elapsed() < Duration::from_secs(60), "after {:?}", begin.elapsed());

    // Without an operator, nothing may be taken for ready.
    let unwatched = temp_namespace(&ns.client).await?;
    let mut helm = install(&ns.cluster, &unwatched, folder.path(), &["orders", "--timeout", "4s"]);
    let waits = tokio::task::spawn_blocking(move || chart::run(&mut helm)).await?;
    let error = waits.err().context("a channel that no operator saw is taken")?.to_string();
    ensure!(error.contains("latest observed generation is -1"), "{error}");
    Ok(())
}

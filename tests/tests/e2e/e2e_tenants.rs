//! Whose channels are whose: two namespaces, an operator of one namespace, plain manifests, and user ids that a platform assigns.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    e2e::{Channel, Cluster, SYSTEM, chart, scenario},
    http, repository,
    sse::EventStream,
};
use serde_json::json;
use tokio::process::Command;

use crate::e2e_install::EVENT_TIMEOUT;

/// As OpenShift assigns them.
const USER: i64 = 1_000_650_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn two_namespaces_do_not_see_each_other() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let (ours, theirs) =
            (Channel::create(cluster, "ours").await?, Channel::create(cluster, "theirs").await?);
        let (our_reach, their_reach) = (ours.reach().await?, theirs.reach().await?);
        let mut theirs_stream =
            EventStream::connect(&their_reach.events("from=earliest"), None).await?;
        http::created(&our_reach.events(""), "ours", &[]).await?;
        http::created(&their_reach.events(""), "theirs", &[]).await?;
        let event = theirs_stream.next_data(EVENT_TIMEOUT).await?;
        ensure!(event.data == "theirs", "it got {:?}", event.raw);
        // Their brokers know nothing of our channel of the same name.
        let foreign = their_reach.events("").replace(
            &format!("/channels/{}/", theirs.namespace),
            &format!("/channels/{}/", ours.namespace),
        );
        let answer = http::publish(&foreign, "forged", &[]).await?;
        ensure!(answer.status == 404, "{} {}", answer.status, answer.json);
        // Nor may they read its objects.
        let account = format!("--as=system:serviceaccount:{}:demo-broker", theirs.namespace);
        for what in ["get/eventchannels", "get/configmaps", "get/secrets", "list/pods"] {
            let (verb, resource) = what.split_once('/').context("no verb")?;
            ensure!(!may(cluster, &ours.namespace, verb, resource, &account).await?, "{what}");
        }
        ours.leave().await?;
        theirs.leave().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn plain_manifests_install_it_for_one_namespace_and_for_all() -> Result<()> {
    scenario(async |cluster| {
        let folder = tempfile::tempdir()?;
        render(folder.path()).await?;
        let file = |name: &str| {
            let path = folder.path().join(name);
            path.to_str().map(str::to_owned).context("a path that is not UTF-8")
        };
        cluster.remove_all().await?;
        cluster.kubectl(&["apply", "--server-side", "-f", &file("crds.yaml")?]).await?;

        let namespaced = file("install-namespaced.yaml")?;
        cluster.kubectl(&["apply", "-f", &namespaced]).await?;
        one_namespace_alone(cluster).await?;
        cluster.kubectl(&["delete", "-f", &namespaced, "--timeout=120s"]).await?;

        let install = file("install.yaml")?;
        cluster.kubectl(&["apply", "-f", &install]).await?;
        cluster.operators_are_ready().await?;
        let channel = Channel::create(cluster, "manifests").await?;
        http::created(&channel.reach().await?.events(""), "one", &[]).await?;
        channel.leave().await?;
        cluster.kubectl(&["delete", "-f", &install, "--timeout=120s"]).await?;
        cluster.remove_all().await
    })
    .await
}

/// Writes the plain manifests.
async fn render(folder: &Path) -> Result<()> {
    let script = repository().join("charts/manifests.sh");
    let output = Command::new(script).arg(folder).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The operator serves its namespace, and neither sees another one nor has a right there.
async fn one_namespace_alone(cluster: &Cluster) -> Result<()> {
    cluster.operators_are_ready().await?;
    let roles =
        "get clusterroles,clusterrolebindings -l app.kubernetes.io/part-of=eventcast -o name";
    let roles = cluster.kubectl(&roles.split(' ').collect::<Vec<_>>()).await?;
    ensure!(roles.trim().is_empty(), "it has roles in the whole cluster: {roles}");
    let account = format!("--as=system:serviceaccount:{SYSTEM}:eventcast-operator");
    for what in ["list/eventchannels", "create/deployments", "get/secrets", "create/roles"] {
        let (verb, resource) = what.split_once('/').context("no verb")?;
        ensure!(!may(cluster, "default", verb, resource, &account).await?, "{what}");
    }
    ensure!(may(cluster, SYSTEM, "create", "deployments", &account).await?, "no right at all");

    let foreign = Channel::in_new_namespace(cluster, "foreign").await?;
    foreign.apply().await?;
    let own = Channel::of(cluster, SYSTEM);
    own.apply().await?;
    own.wait("condition=Ready").await?;
    http::created(&own.reach().await?.events(""), "one", &[]).await?;
    let status = &foreign.get("evch/demo").await?["status"]["observedGeneration"];
    ensure!(status == -1 || status.is_null(), "the other namespace is served, too: {status}");
    own.patch(json!({"spec": {"deletionPolicy": "Delete"}})).await?;
    own.wait("jsonpath={.metadata.finalizers[0]}").await?;
    own.kubectl(&["delete", "evch/demo", "--timeout=60s"]).await?;
    cluster.kubectl(&["delete", "namespace", &foreign.namespace, "--wait=false"]).await?;
    Ok(())
}

/// Whether an account may do something.
async fn may(
    cluster: &Cluster,
    namespace: &str,
    verb: &str,
    resource: &str,
    account: &str,
) -> Result<bool> {
    // it ends with an error if the answer is no
    let answer =
        cluster.kubectl(&["-n", namespace, "auth", "can-i", verb, resource, account]).await;
    Ok(answer.is_ok_and(|text| text.trim() == "yes"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn pods_run_under_any_user_id() -> Result<()> {
    scenario(async |cluster| {
        cluster.remove_all().await?; // a volume of another user's is none that can be read
        let user = format!("runAsUser={USER}");
        let settings = [
            format!("podSecurityContext.{user}"),
            format!("brokers.podTemplate.spec.securityContext.{user}"),
            format!("nats.podSecurityContext.{user},nats.podSecurityContext.runAsGroup=0"),
            format!("nats.podSecurityContext.fsGroup={USER}"),
        ]
        .join(",");
        cluster.upgrade(&chart(), &["--set", &settings]).await?;
        let channel = Channel::create(cluster, "user").await?;
        http::created(&channel.reach().await?.events(""), "one", &[]).await?;
        let broker = channel.pods().await?.swap_remove(0);
        for (namespace, pod) in [(&*channel.namespace, &*broker), (SYSTEM, "eventcast-nats-0")] {
            let spec = &cluster.get(namespace, &format!("pod/{pod}")).await?["spec"];
            ensure!(spec["securityContext"]["runAsUser"] == USER, "{}", spec["securityContext"]);
        }
        channel.leave().await?;
        cluster.remove_all().await
    })
    .await
}

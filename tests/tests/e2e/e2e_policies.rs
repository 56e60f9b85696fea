//! NetworkPolicies where they are enforced: what those of the chart let through, and what a channel says about one that is in the way.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    e2e::{Channel, Cluster, Disturbances, Machine, SYSTEM, chart, scenario, skipped},
    http,
    sse::EventStream,
};
use serde_json::{Value, json};

use crate::{e2e_conditions::says, e2e_install::EVENT_TIMEOUT};

/// A chart that creates none for brokers and NATS.
const NO_POLICIES: [&str; 4] =
    ["--set", "brokers.networkPolicies=false", "--set", "nats.networkPolicy.enabled=false"];

/// Runs `check` while NetworkPolicies are enforced. Skipped on a cluster of somebody else.
async fn while_enforced(what: &str, check: impl AsyncFnOnce(&Machine) -> Result<()>) -> Result<()> {
    let Some(machine) = Machine::of_environment() else {
        return skipped(what, "no other cluster is known to enforce");
    };
    machine.enforce_policies().await?;
    let checked = check(&machine).await;
    machine.ignore_policies().await?;
    checked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn policies_of_the_chart_let_through_what_must_pass_and_nothing_else() -> Result<()> {
    scenario(async |cluster| {
        while_enforced("NetworkPolicies of the chart", async |machine| {
            chart_policies(cluster, machine).await
        })
        .await
    })
    .await
}

async fn chart_policies(cluster: &Cluster, machine: &Machine) -> Result<()> {
    cluster.install().await?;
    let channel = Channel::create(cluster, "policies").await?;
    let reach = channel.reach().await?;
    let mut stream = EventStream::connect(&reach.events(""), None).await?;
    http::created(&reach.events(""), "one", &[]).await?;
    ensure!(stream.next_data(EVENT_TIMEOUT).await?.data == "one", "another event");
    // the operator reaches the admin port
    channel.wait("jsonpath={.status.subscribers}=1").await?;
    cluster.helm("test", &["--timeout", "120s"]).await?;

    let pod =
        async |namespace: &str, component: &str| first_pod(cluster, namespace, component).await;
    let (nats, operator) = (pod(SYSTEM, "nats").await?, pod(SYSTEM, "operator").await?);
    let broker = pod(&channel.namespace, "broker").await?;
    let other = first_of(cluster, "kube-system", "k8s-app=kube-dns").await?;
    for (from, to, port, passes) in [
        (&broker, &nats, 4222, true),
        (&broker, &nats, 8222, false),
        (&broker, &other, 53, true),
        (&broker, &other, 8181, false),
        (&broker, &operator, 9090, false),
        (&operator, &nats, 4222, true),
        (&operator, &nats, 8222, false),
        (&operator, &broker, 9090, true),
        (&other, &nats, 4222, false),
        (&other, &broker, 8080, true),
        (&other, &broker, 9090, true), // Prometheus may be anywhere
        (&other, &operator, 9090, true),
    ] {
        let address = SocketAddr::new(to.address, port);
        let connected = machine.connects(&from.namespace, &from.name, address).await;
        ensure!(connected == passes, "{} to {}:{port}: {connected}", from.name, to.name);
    }
    channel.leave().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn a_policy_in_the_way_is_shown_and_loses_nothing() -> Result<()> {
    scenario(async |cluster| {
        while_enforced("a NetworkPolicy in the way", async |_| policies_in_the_way(cluster).await)
            .await?;
        cluster.install().await
    })
    .await
}

async fn policies_in_the_way(cluster: &Cluster) -> Result<()> {
    cluster.upgrade(&chart(), &NO_POLICIES).await?;
    let channel = Channel::create(cluster, "in-the-way").await?;
    channel.patch(json!({"spec": {"brokers": {"replicas": 2, "drainSeconds": 5}}})).await?;
    channel.settled(2).await?;
    let run = Disturbances::start(&channel, Disturbances::plan()).await?;
    run.disturb("a NetworkPolicy between a new broker and NATS", async || {
        let peers =
            json!([{"podSelector": {"matchLabels": {"app.kubernetes.io/component": "operator"}}}]);
        let only_operator = policy("nats", &json!([{"from": peers}]));
        cluster.apply(SYSTEM, &only_operator).await?;
        let broker = channel.pods().await?.swap_remove(0);
        channel.kubectl(&["delete", "pod", &broker]).await?;
        let words = ["1 of 2 brokers are ready", "nats://", "NetworkPolicy"];
        says(&channel, "Available", "LogUnavailable", &words).await?;
        cluster.kubectl(&["-n", SYSTEM, "delete", "networkpolicy/in-the-way"]).await?;
        channel.settled(2).await?;
        says(&channel, "Available", "BrokersReady", &[]).await
    })
    .await?;
    run.disturb("a NetworkPolicy between the operator and brokers", async || {
        let only_clients = policy("broker", &json!([{"ports": [{"port": "http"}]}]));
        cluster.apply(&channel.namespace, &only_clients).await?;
        let words = ["2 of 2 brokers are ready", "admin port", "NetworkPolicy"];
        says(&channel, "Available", "BrokersNotAnswering", &words).await?;
        channel.kubectl(&["delete", "networkpolicy/in-the-way"]).await?;
        says(&channel, "Available", "BrokersReady", &[]).await
    })
    .await?;
    run.finish().await?;
    channel.leave().await
}

/// A policy that lets only this into the pods of a component.
fn policy(component: &str, ingress: &Value) -> String {
    let labels = json!({"app.kubernetes.io/component": component});
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "in-the-way"},
        "spec": {"podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress"], "ingress": ingress},
    })
    .to_string()
}

struct Pod {
    namespace: String,
    name: String,
    address: IpAddr,
}

async fn first_pod(cluster: &Cluster, namespace: &str, component: &str) -> Result<Pod> {
    first_of(cluster, namespace, &format!("app.kubernetes.io/component={component}")).await
}

async fn first_of(cluster: &Cluster, namespace: &str, labels: &str) -> Result<Pod> {
    let list = ["-n", namespace, "get", "pods", "-l", labels, "-o", "json"];
    let list: Value = serde_json::from_str(&cluster.kubectl(&list).await?)?;
    let pod = &list["items"][0];
    let text = |pointer: &str| {
        let found = pod.pointer(pointer).and_then(Value::as_str);
        found.with_context(|| format!("no pod {labels} in {namespace}"))
    };
    let (name, address) = (text("/metadata/name")?.to_owned(), text("/status/podIP")?.parse()?);
    Ok(Pod { namespace: namespace.to_owned(), name, address })
}

//! The chart on a real cluster, as a new user meets it: install, publish, subscribe, roll out, lose pods, uninstall, reinstall.
//!
//! `make e2e` runs it, on the cluster that `KUBECONFIG` names or on one that it starts itself. Every scenario installs the chart
//! if it is not installed yet, and uses a namespace of its own.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use eventcast_tests::{
    e2e::{Cluster, Reach, SYSTEM, scenario},
    eventually, http,
    ledger::{Ledger, Plan},
    repository,
    sse::EventStream,
};
use serde_json::Value;
use tokio::time::timeout;

/// The channel of `examples/minimal.yaml` and of every scenario.
const CHANNEL: &str = "demo";
/// Its Deployment and Service.
const BROKER: &str = "demo-broker";
/// For what takes a pod or two.
pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(120);
/// For events.
pub(crate) const EVENT_TIMEOUT: Duration = Duration::from_secs(40);
/// Events between two faults.
const EVENTS_BETWEEN_FAULTS: usize = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn the_first_minutes_go_as_the_readme_says() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let namespace = a_channel(cluster, "first").await?;
        let shown = cluster.kubectl(&["-n", &namespace, "get", "evch"]).await?;
        let url = format!(
            "http://{BROKER}.{namespace}.svc.cluster.local/channels/{namespace}/{CHANNEL}/events"
        );
        ensure!(shown.contains(&url), "kubectl get evch shows no URL:\n{shown}");

        let reach = Reach::to(cluster, &namespace, CHANNEL).await?;
        let events = reach.events("");
        let mut stream = EventStream::connect(&events, None).await?;
        http::created(&events, "{\"order\":7}", &[("type", "order.paid")]).await?;
        let event = stream.next_data(EVENT_TIMEOUT).await?;
        ensure!((&*event.event_type, &*event.data) == ("order.paid", "{\"order\":7}"), "{event:?}");
        cluster
            .wait(&namespace, "evch/demo", "jsonpath={.status.subscribers}=1", WAIT_TIMEOUT)
            .await?;
        cluster.helm("test", &["--timeout", "120s"]).await?;
        patch(cluster, &namespace, r#"{"spec": {"access": {"anonymous": ["Subscribe"]}}}"#).await?;
        eventually("nobody may publish without a grant", WAIT_TIMEOUT, || async {
            let status = http::publish(&events, "late", &[]).await?.status;
            ensure!(status == 401, "it is answered {status}");
            Ok(())
        })
        .await?;
        leave(cluster, &namespace).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn a_roll_a_killed_broker_and_a_lost_leader_lose_nothing() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let namespace = a_channel(cluster, "faults").await?;
        let kubectl = async |arguments: &[&str]| {
            cluster.kubectl(&[&["-n", &namespace], arguments].concat()).await
        };
        kubectl(&["scale", "evch/demo", "--replicas=2"]).await?;
        brokers(cluster, &namespace, 2).await?;
        let reach = Reach::to(cluster, &namespace, CHANNEL).await?;
        let ledger = Ledger::start(Plan::default(), vec![reach.events("")]);
        ledger.progress(EVENTS_BETWEEN_FAULTS, EVENT_TIMEOUT).await?;

        kubectl(&["rollout", "restart", "deployment/demo-broker"]).await?;
        kubectl(&["rollout", "status", "deployment/demo-broker", "--timeout=180s"]).await?;
        ledger.progress(EVENTS_BETWEEN_FAULTS, EVENT_TIMEOUT).await?;

        let victim = pods(cluster, &namespace).await?.swap_remove(0);
        kubectl(&["delete", "pod", &victim, "--force", "--grace-period=0"]).await?;
        brokers(cluster, &namespace, 2).await?;
        ledger.progress(EVENTS_BETWEEN_FAULTS, EVENT_TIMEOUT).await?;

        let leader = leader(cluster).await?;
        cluster.kubectl(&["-n", SYSTEM, "delete", "pod", &leader]).await?;
        eventually("another operator leads", WAIT_TIMEOUT, || async {
            let now = self::leader(cluster).await?;
            ensure!(now != leader, "it is {leader} still");
            Ok(())
        })
        .await?;
        // and does its work
        kubectl(&["scale", "evch/demo", "--replicas=1"]).await?;
        brokers(cluster, &namespace, 1).await?;
        ledger.progress(EVENTS_BETWEEN_FAULTS, EVENT_TIMEOUT).await?;
        ledger.finish(EVENT_TIMEOUT).await?.assert_nothing_lost();
        leave(cluster, &namespace).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn a_setting_that_needs_no_restart_is_applied_without_one() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let namespace = a_channel(cluster, "setting").await?;
        let reach = Reach::to(cluster, &namespace, CHANNEL).await?;
        let url = reach.events("");
        let generation = async || -> Result<Value> {
            let deployment = cluster.get(&namespace, "deployment/demo-broker").await?;
            Ok(deployment["metadata"]["generation"].clone())
        };
        let before = (generation().await?, pods(cluster, &namespace).await?);

        set_heartbeat(cluster, &namespace, 2).await?;
        eventually("a heartbeat every two seconds", WAIT_TIMEOUT, || beats(&url)).await?;
        cluster.wait(&namespace, "evch/demo", "condition=Ready", WAIT_TIMEOUT).await?;
        let after = (generation().await?, pods(cluster, &namespace).await?);
        ensure!(before == after, "the brokers were rolled: {before:?}, {after:?}");
        leave(cluster, &namespace).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn what_is_uninstalled_leaves_channels_serving_and_finds_them_again() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let namespace = a_channel(cluster, "return").await?;
        set_heartbeat(cluster, &namespace, 2).await?;
        let reach = Reach::to(cluster, &namespace, CHANNEL).await?;
        let live = reach.events("");
        let replay = reach.events("from=earliest");
        eventually("a heartbeat every two seconds", WAIT_TIMEOUT, || beats(&live)).await?;
        for text in ["one", "two"] {
            http::created(&live, text, &[]).await?;
        }
        let mut loyal = EventStream::connect(&live, None).await?;
        let before = pods(cluster, &namespace).await?;

        cluster.helm("uninstall", &["--wait", "--timeout", "120s"]).await?;
        let no_operator = ["-n", SYSTEM, "wait", "--for=delete", "pod", "--all", "--timeout=120s"];
        cluster.kubectl(&no_operator).await?;
        ensure!(
            cluster.has("", "crd/eventchannels.eventcast.dev").await?,
            "the CRD went with the chart"
        );
        ensure!(cluster.has(&namespace, "evch/demo").await?, "the channel went with the chart");
        // connected clients stay, new ones are served
        beats(&live).await?;
        expect(&replay, &["one", "two"]).await?;

        cluster.install().await?;
        cluster.wait(&namespace, "evch/demo", "condition=Ready", WAIT_TIMEOUT).await?;
        ensure!(pods(cluster, &namespace).await? == before, "coming back rolled the brokers");
        http::publish_retrying(std::slice::from_ref(&live), "three", &[], "three", EVENT_TIMEOUT)
            .await?;
        let event = loyal.next_data(EVENT_TIMEOUT).await?;
        ensure!(event.data == "three", "the subscriber of before got {:?}", event.raw);
        expect(&replay, &["one", "two", "three"]).await?;

        // without an operator nothing but the cluster itself clears up
        cluster.helm("uninstall", &["--wait", "--timeout", "120s"]).await?;
        cluster.kubectl(&["-n", &namespace, "delete", "evch/demo"]).await?;
        for what in ["deployment", "service", "configmap"] {
            cluster.wait(&namespace, &format!("{what}/{BROKER}"), "delete", WAIT_TIMEOUT).await?;
        }
        cluster.install().await?;
        apply_channel(cluster, &namespace).await?;
        let reach = Reach::to(cluster, &namespace, CHANNEL).await?;
        let replay = reach.events("from=earliest");
        expect(&replay, &["one", "two", "three"]).await?;
        leave(cluster, &namespace).await
    })
    .await
}

/// A namespace with the channel of the example, ready. Its name is new: streams outlive their channels.
pub(crate) async fn a_channel(cluster: &Cluster, purpose: &str) -> Result<String> {
    let namespace = format!("e2e-{purpose}-{:06x}", fastrand::u32(..1 << 24));
    cluster.restricted_namespace(&namespace).await?;
    apply_channel(cluster, &namespace).await?;
    Ok(namespace)
}

/// Applies the example, and waits until it serves.
async fn apply_channel(cluster: &Cluster, namespace: &str) -> Result<()> {
    let example = repository().join("charts/eventcast/examples/minimal.yaml");
    let manifest = std::fs::read_to_string(&example)
        .with_context(|| format!("failed to read {}", example.display()))?;
    cluster.apply(namespace, &manifest).await?;
    cluster.wait(namespace, "evch/demo", "condition=Ready", WAIT_TIMEOUT).await
}

/// Gives back what the scenario took, the room in NATS included.
pub(crate) async fn leave(cluster: &Cluster, namespace: &str) -> Result<()> {
    patch(cluster, namespace, "{\"spec\":{\"deletionPolicy\":\"Delete\"}}").await?;
    // the operator guards the deletion from then on
    cluster
        .wait(namespace, "evch/demo", "jsonpath={.metadata.finalizers[0]}", WAIT_TIMEOUT)
        .await?;
    cluster.kubectl(&["-n", namespace, "delete", "evch/demo", "--timeout=60s"]).await?;
    // pods first: a namespace that has some when it is deleted looks again only after half their time to end
    let pods = ["-n", namespace, "wait", "--for=delete", "pod", "--all", "--timeout=60s"];
    cluster.kubectl(&pods).await?;
    cluster.kubectl(&["delete", "namespace", namespace, "--wait=false"]).await?;
    Ok(())
}

pub(crate) async fn patch(cluster: &Cluster, namespace: &str, change: &str) -> Result<()> {
    cluster.kubectl(&["-n", namespace, "patch", "evch/demo", "--type=merge", "-p", change]).await?;
    Ok(())
}

async fn set_heartbeat(cluster: &Cluster, namespace: &str, seconds: u32) -> Result<()> {
    let change = format!("{{\"spec\":{{\"delivery\":{{\"heartbeatSeconds\":{seconds}}}}}}}");
    patch(cluster, namespace, &change).await
}

/// Two heartbeats of two seconds, a fifth more at most, and some time for the way; fails with the default of 15.
async fn beats(url: &str) -> Result<()> {
    let mut stream = EventStream::connect(url, None).await?;
    let reading = async {
        while stream.next().await?.is_some() {}
        bail!("the stream ended")
    };
    let ended: Result<Result<()>, _> = timeout(Duration::from_secs(6), reading).await;
    if let Ok(Err(error)) = ended {
        return Err(error);
    }
    let heartbeats = stream.comments().saturating_sub(1); // the first opens the stream
    ensure!(heartbeats >= 2, "{heartbeats} heartbeats in six seconds");
    Ok(())
}

/// A replay begins with exactly these events.
async fn expect(url: &str, texts: &[&str]) -> Result<()> {
    let mut stream = EventStream::connect(url, None).await?;
    for text in texts {
        let event = stream.next_data(EVENT_TIMEOUT).await?;
        ensure!(event.data == *text, "{:?} instead of {text}", event.raw);
    }
    Ok(())
}

/// Waits until exactly this many brokers serve.
async fn brokers(cluster: &Cluster, namespace: &str, count: usize) -> Result<()> {
    for key in ["replicas", "readyReplicas", "availableReplicas"] {
        let condition = format!("jsonpath={{.status.{key}}}={count}");
        cluster.wait(namespace, "deployment/demo-broker", &condition, WAIT_TIMEOUT).await?;
    }
    cluster.wait(namespace, "evch/demo", "condition=Ready", WAIT_TIMEOUT).await
}

/// The brokers' pods that are not on their way out.
async fn pods(cluster: &Cluster, namespace: &str) -> Result<Vec<String>> {
    let list = cluster.get(namespace, "pods").await?;
    let pods = list["items"].as_array().context("no list of pods")?;
    let alive = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    alive.map(|pod| Ok(pod["metadata"]["name"].as_str().context("no name")?.to_owned())).collect()
}

/// The pod that leads the operators.
async fn leader(cluster: &Cluster) -> Result<String> {
    let lease = cluster.get(SYSTEM, "lease/eventcast-operator").await?;
    let holder = lease["spec"]["holderIdentity"].as_str().context("nobody holds the lease")?;
    Ok(holder.to_owned())
}

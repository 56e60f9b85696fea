//! Pools in a whole cluster: many channels without pods of their own, a new one within seconds, and a channel that moves into a pool and back under load.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    e2e::{Channel, Cluster, Disturbances, Reach, WAIT_TIMEOUT, scenario},
    eventually, http,
    sse::EventStream,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::e2e_install::EVENT_TIMEOUT;

/// Channels of the first scenario.
const CHANNELS: usize = 50;
/// From `kubectl apply` of one more channel until clients reach it.
const SERVED_WITHIN: Duration = Duration::from_secs(10);

/// A pool named `shared` with two brokers, which are ready.
pub(crate) async fn create_pool(cluster: &Cluster, namespace: &str) -> Result<()> {
    let pool = json!({
        "apiVersion": "eventcast.dev/v1alpha1", "kind": "BrokerPool", "metadata": {"name": "shared"},
        "spec": {"brokers": {"replicas": 2, "drainSeconds": 5}},
    });
    cluster.apply(namespace, &pool.to_string()).await?;
    cluster.wait(namespace, "brokerpool/shared", "condition=Ready", WAIT_TIMEOUT).await?;
    let brokers = "jsonpath={.status.readyReplicas}=2";
    cluster.wait(namespace, "brokerpool/shared", brokers, WAIT_TIMEOUT).await
}

/// An open channel of the pool, which reserves little in NATS.
pub(crate) fn channel_in_pool(name: &str) -> Value {
    json!({
        "apiVersion": "eventcast.dev/v1alpha1", "kind": "EventChannel", "metadata": {"name": name},
        "spec": {
            "deletionPolicy": "Delete",
            "retention": {"maxBytes": 1 << 20},
            "access": {"anonymous": ["Subscribe", "Publish"]},
            "brokers": {"pool": {"name": "shared"}},
        },
    })
}

/// Deletes the pool and its channels, and waits until their brokers are gone.
pub(crate) async fn delete_pool(cluster: &Cluster, namespace: &str) -> Result<()> {
    let channels = cluster.kubectl(&["-n", namespace, "get", "evch", "-o", "json"]).await?;
    let channels: Value = serde_json::from_str(&channels)?;
    let in_pool = |channel: &&Value| channel["spec"]["brokers"]["pool"]["name"] == "shared";
    let names: Vec<_> = channels["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(in_pool)
        .filter_map(|channel| Some(format!("evch/{}", channel["metadata"]["name"].as_str()?)))
        .collect();
    let delete = ["-n", namespace, "delete", "--timeout=120s", "brokerpool/shared"];
    let names = names.iter().map(String::as_str);
    cluster.kubectl(&delete.into_iter().chain(names).collect::<Vec<_>>()).await?;
    let gone = ["-n", namespace, "wait", "--for=delete", "pod", "-l", "eventcast.dev/pool=shared"];
    cluster.kubectl(&[&gone[..], &["--timeout=60s"]].concat()).await?;
    Ok(())
}

/// The pods of a namespace, by their UIDs: a replaced pod has another one.
async fn pods(channel: &Channel<'_>) -> Result<Vec<String>> {
    let list = channel.get("pods").await?;
    let uid = |pod: &Value| pod["metadata"]["uid"].as_str().map(str::to_owned);
    let mut uids: Vec<_> = list["items"].as_array().into_iter().flatten().filter_map(uid).collect();
    uids.sort();
    Ok(uids)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn many_channels_share_two_brokers_and_a_new_one_is_served_at_once() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let place = Channel::in_new_namespace(cluster, "pool").await?;
        let namespace = &*place.namespace;
        create_pool(cluster, namespace).await?;
        let brokers = pods(&place).await?;
        ensure!(brokers.len() == 2, "{brokers:?}");

        let channels = (0..CHANNELS).map(|i| channel_in_pool(&format!("c{i}")));
        let list =
            json!({"apiVersion": "v1", "kind": "List", "items": channels.collect::<Vec<_>>()});
        cluster.apply(namespace, &list.to_string()).await?;
        let limit = format!("--timeout={}s", WAIT_TIMEOUT.as_secs());
        place.kubectl(&["wait", "evch", "--all", "--for=condition=Ready", &limit]).await?;
        let served = format!("jsonpath={{.status.channels}}={CHANNELS}");
        cluster.wait(namespace, "brokerpool/shared", &served, WAIT_TIMEOUT).await?;
        for name in ["c0", "c25", "c49"] {
            let reach = Reach::to(cluster, namespace, name).await?;
            http::created(&reach.events(""), name, &[]).await?;
            let mut stream = EventStream::connect(&reach.events("from=earliest"), None).await?;
            let event = stream.next_data(EVENT_TIMEOUT).await?;
            ensure!(event.data == name, "{name} got {:?}", event.raw);
        }

        let began = Instant::now();
        cluster.apply(namespace, &channel_in_pool("late").to_string()).await?;
        eventually("the new channel is served", SERVED_WITHIN, || async {
            Reach::to(cluster, namespace, "late").await?.describe().await
        })
        .await?;
        eprintln!(
            "a new channel was served {:.1} s after kubectl apply",
            began.elapsed().as_secs_f32()
        );
        ensure!(pods(&place).await? == brokers, "a pod was replaced or added");

        delete_pool(cluster, namespace).await?;
        cluster.kubectl(&["delete", "namespace", namespace, "--wait=false"]).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn a_channel_moves_into_a_pool_and_back_without_loss() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let channel = Channel::create(cluster, "moving").await?;
        let own = json!({"pool": null, "replicas": 2, "drainSeconds": 5});
        channel.patch(json!({"spec": {"brokers": own}})).await?;
        channel.settled(2).await?;
        create_pool(cluster, &channel.namespace).await?;
        let url = url(&channel).await?;
        let run = Disturbances::start(&channel, Disturbances::plan()).await?;
        run.disturb("moved from own brokers into a pool", async || {
            let brokers = json!({"pool": {"name": "shared"}, "replicas": 1, "drainSeconds": null});
            channel.patch(json!({"spec": {"brokers": brokers}})).await?;
            channel.wait("jsonpath={.status.pool.name}=shared").await?;
            eventually("its own brokers are gone", WAIT_TIMEOUT, || async {
                let own = ["get", "pods", "-l", "eventcast.dev/channel=demo", "-o", "name"];
                let pods = channel.kubectl(&own).await?;
                ensure!(pods.trim().is_empty(), "{pods}");
                anyhow::Ok(())
            })
            .await?;
            channel.wait("condition=Ready").await
        })
        .await?;
        ensure!(self::url(&channel).await? == url, "another URL in the pool");
        ensure!(!cluster.has(&channel.namespace, "deployment/demo-broker").await?, "it stays");
        run.disturb("moved from a pool to own brokers", async || {
            channel.patch(json!({"spec": {"brokers": own}})).await?;
            eventually("it has brokers of its own", WAIT_TIMEOUT, || async {
                ensure!(cluster.has(&channel.namespace, "deployment/demo-broker").await?, "none");
                anyhow::Ok(())
            })
            .await?;
            channel.brokers(2).await?;
            eventually("the pool has closed its streams", WAIT_TIMEOUT, || async {
                let status = channel.get("evch/demo").await?["status"].take();
                ensure!(status["pool"].is_null() && status["moved"].is_null(), "{status}");
                anyhow::Ok(())
            })
            .await
        })
        .await?;
        ensure!(self::url(&channel).await? == url, "another URL with its own brokers");
        run.finish().await?;
        delete_pool(cluster, &channel.namespace).await?;
        channel.leave().await
    })
    .await
}

/// The URL that clients are told.
async fn url(channel: &Channel<'_>) -> Result<String> {
    let status = channel.get("evch/demo").await?["status"].take();
    status["url"].as_str().map(str::to_owned).context("no URL")
}

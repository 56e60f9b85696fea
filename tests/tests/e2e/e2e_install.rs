//! The chart on a real cluster, as a new user meets it: install, publish, subscribe, change a setting, uninstall, reinstall.
//!
//! `make e2e` runs it, on the cluster that `KUBECONFIG` names or on one that it starts itself. Every scenario installs the chart
//! if it is not installed yet, and uses a namespace of its own.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use eventcast_tests::{
    e2e::{Channel, WAIT_TIMEOUT, scenario},
    eventually, http,
    sse::EventStream,
};
use serde_json::{Value, json};
use tokio::time::timeout;

/// The channel of `examples/minimal.yaml` and of every scenario.
const CHANNEL: &str = "demo";
/// Its Deployment and Service.
const BROKER: &str = "demo-broker";
/// For events.
pub(crate) const EVENT_TIMEOUT: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn the_first_minutes_go_as_the_readme_says() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let channel = Channel::create(cluster, "first").await?;
        let shown = channel.kubectl(&["get", "evch"]).await?;
        let namespace = &channel.namespace;
        let url = format!(
            "http://{BROKER}.{namespace}.svc.cluster.local/channels/{namespace}/{CHANNEL}/events"
        );
        ensure!(shown.contains(&url), "kubectl get evch shows no URL:\n{shown}");

        let reach = channel.reach().await?;
        let events = reach.events("");
        let mut stream = EventStream::connect(&events, None).await?;
        http::created(&events, "{\"order\":7}", &[("type", "order.paid")]).await?;
        let event = stream.next_data(EVENT_TIMEOUT).await?;
        ensure!((&*event.event_type, &*event.data) == ("order.paid", "{\"order\":7}"), "{event:?}");
        channel.wait("jsonpath={.status.subscribers}=1").await?;
        cluster.helm("test", &["--timeout", "120s"]).await?;
        channel.patch(json!({"spec": {"access": {"anonymous": ["Subscribe"]}}})).await?;
        eventually("nobody may publish without a grant", WAIT_TIMEOUT, || async {
            let status = http::publish(&events, "late", &[]).await?.status;
            ensure!(status == 401, "it is answered {status}");
            Ok(())
        })
        .await?;
        channel.leave().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn a_setting_that_needs_no_restart_is_applied_without_one() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let channel = Channel::create(cluster, "setting").await?;
        let reach = channel.reach().await?;
        let url = reach.events("");
        let generation = async || -> Result<Value> {
            let deployment = channel.get("deployment/demo-broker").await?;
            Ok(deployment["metadata"]["generation"].clone())
        };
        let before = (generation().await?, channel.pods().await?);

        set_heartbeat(&channel, 2).await?;
        eventually("a heartbeat every two seconds", WAIT_TIMEOUT, || beats(&url)).await?;
        channel.wait("condition=Ready").await?;
        let after = (generation().await?, channel.pods().await?);
        ensure!(before == after, "the brokers were rolled: {before:?}, {after:?}");
        channel.leave().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn what_is_uninstalled_leaves_channels_serving_and_finds_them_again() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let channel = Channel::create(cluster, "return").await?;
        set_heartbeat(&channel, 2).await?;
        let reach = channel.reach().await?;
        let live = reach.events("");
        let replay = reach.events("from=earliest");
        eventually("a heartbeat every two seconds", WAIT_TIMEOUT, || beats(&live)).await?;
        for text in ["one", "two"] {
            http::created(&live, text, &[]).await?;
        }
        let mut loyal = EventStream::connect(&live, None).await?;
        let before = channel.pods().await?;

        cluster.uninstall().await?;
        for definition in ["crd/eventchannels.eventcast.dev", "crd/brokerpools.eventcast.dev"] {
            ensure!(cluster.has("", definition).await?, "{definition} went with the chart");
        }
        ensure!(
            cluster.has(&channel.namespace, "evch/demo").await?,
            "the channel went with the chart"
        );
        // connected clients stay, new ones are served
        beats(&live).await?;
        expect(&replay, &["one", "two"]).await?;

        cluster.install().await?;
        channel.wait("condition=Ready").await?;
        ensure!(channel.pods().await? == before, "coming back rolled the brokers");
        http::publish_retrying(std::slice::from_ref(&live), "three", &[], "three", EVENT_TIMEOUT)
            .await?;
        let event = loyal.next_data(EVENT_TIMEOUT).await?;
        ensure!(event.data == "three", "the subscriber of before got {:?}", event.raw);
        expect(&replay, &["one", "two", "three"]).await?;

        // without an operator nothing but the cluster itself clears up
        cluster.uninstall().await?;
        channel.kubectl(&["delete", "evch/demo"]).await?;
        for what in ["deployment", "service", "configmap"] {
            cluster
                .wait(&channel.namespace, &format!("{what}/{BROKER}"), "delete", WAIT_TIMEOUT)
                .await?;
        }
        cluster.install().await?;
        channel.apply().await?;
        channel.wait("condition=Ready").await?;
        let reach = channel.reach().await?;
        let replay = reach.events("from=earliest");
        expect(&replay, &["one", "two", "three"]).await?;
        channel.leave().await
    })
    .await
}

async fn set_heartbeat(channel: &Channel<'_>, seconds: u32) -> Result<()> {
    channel.patch(json!({"spec": {"delivery": {"heartbeatSeconds": seconds}}})).await
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

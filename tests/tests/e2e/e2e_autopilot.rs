//! The autopilot in a whole cluster: streams move to brokers that were added, the number of brokers follows the subscribers, and the operator may be
//! killed while streams move.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    e2e::{Channel, Cluster, Disturbances, chart, scenario},
    eventually,
    ledger::Plan,
};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Subscribers of the first scenarios.
const SUBSCRIBERS: usize = 500;
/// The most that one of four brokers may have when streams are spread: 1.25 times the mean, or the mean and four standard deviations.
const SPREAD: u64 = 170;
/// All brokers have been ready for 30 s, three looks, and the kubelet needs up to a minute to show an annotation to a container.
const BALANCE_TIMEOUT: Duration = Duration::from_secs(240);
/// A broker is removed after half a minute of low load, the next one two minutes later.
const SCALE_DOWN_TIMEOUT: Duration = Duration::from_secs(300);

/// The chart with counts every two seconds, and a channel of two brokers.
async fn two_brokers<'a>(cluster: &'a Cluster, purpose: &str) -> Result<Channel<'a>> {
    cluster.upgrade(&chart(), &["--set", "autopilot.lookSeconds=2"]).await?;
    let channel = Channel::create(cluster, purpose).await?;
    let brokers = json!({"replicas": 2, "drainSeconds": 5, "balancing": {"shedPerSecond": 25}});
    channel.patch(json!({"spec": {"brokers": brokers}})).await?;
    channel.settled(2).await?;
    Ok(channel)
}

/// Subscribers that stay, as those of browsers do.
fn patient() -> Plan {
    Plan {
        subscribers: SUBSCRIBERS,
        stay: Duration::from_secs(36_000),
        cut_early: 0.0,
        ..Disturbances::plan()
    }
}

/// The streams of each broker, by what it says itself, and how many it has closed for balance.
async fn counts(channel: &Channel<'_>) -> Result<Vec<(String, u64, u64)>> {
    let mut all = Vec::new();
    for pod in channel.pods().await? {
        let path = format!("/api/v1/namespaces/{}/pods/{pod}:9090/proxy/state", channel.namespace);
        let state: Value = serde_json::from_str(&channel.kubectl(&["get", "--raw", &path]).await?)?;
        let count = |key: &str| state[key].as_u64().with_context(|| format!("{key}: {state}"));
        all.push((pod, count("streams")?, count("shed")?));
    }
    Ok(all)
}

/// Waits until no broker has more than its share. Returns how many streams were closed for it.
async fn spread(channel: &Channel<'_>) -> Result<u64> {
    let moved = eventually("streams are spread", BALANCE_TIMEOUT, || async {
        let all = counts(channel).await?;
        ensure!(all.len() == 4 && all.iter().all(|(_, streams, _)| *streams <= SPREAD), "{all:?}");
        anyhow::Ok(all.iter().map(|(_, _, shed)| shed).sum())
    })
    .await?;
    channel.wait("condition=Balanced").await?;
    Ok(moved)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn streams_move_to_new_brokers() -> Result<()> {
    scenario(async |cluster| {
        let channel = two_brokers(cluster, "balance").await?;
        let run = Disturbances::start(&channel, patient()).await?;
        eventually("all have come", BALANCE_TIMEOUT, || async {
            let all = counts(&channel).await?;
            let streams: u64 = all.iter().map(|(_, streams, _)| streams).sum();
            ensure!(streams >= SUBSCRIBERS as u64, "{all:?}");
            anyhow::Ok(())
        })
        .await?;
        run.disturb("scaled from 2 to 4, and balanced", async || {
            channel.scale(4).await?;
            let ready = Instant::now();
            let moved = spread(&channel).await?;
            eprintln!(
                "{SUBSCRIBERS} streams are spread {:.0} s after the brokers were ready: {moved} were closed, {:?}",
                ready.elapsed().as_secs_f32(),
                counts(&channel).await?
            );
            ensure!(moved >= 150, "only {moved} were closed: the streams were spread before");
            ensure!(moved <= SUBSCRIBERS as u64, "{moved} were closed");
            Ok(())
        })
        .await?;
        run.finish().await?;
        channel.leave().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn an_operator_that_is_killed_leaves_nothing_behind() -> Result<()> {
    scenario(async |cluster| {
        let channel = two_brokers(cluster, "interrupted").await?;
        channel.patch(json!({"spec": {"brokers": {"balancing": {"shedPerSecond": 1}}}})).await?;
        let run = Disturbances::start(&channel, patient()).await?;
        run.disturb("operators deleted while streams move", async || {
            channel.scale(4).await?;
            eventually("streams move", BALANCE_TIMEOUT, || async {
                let all = counts(&channel).await?;
                ensure!(all.iter().any(|(_, _, shed)| *shed > 0), "{all:?}");
                anyhow::Ok(())
            })
            .await?;
            let system = ["-n", eventcast_tests::e2e::SYSTEM];
            let stop = ["scale", "deployment/eventcast-operator", "--replicas=0"];
            cluster.kubectl(&[&system[..], &stop].concat()).await?;
            let shed = async || {
                anyhow::Ok(counts(&channel).await?.iter().map(|(_, _, shed)| shed).sum::<u64>())
            };
            // An order ends a minute after the broker has seen it, and the kubelet may show it late.
            let mut before = shed().await?;
            let deadline = Instant::now() + BALANCE_TIMEOUT;
            loop {
                tokio::time::sleep(Duration::from_secs(10)).await;
                let now = shed().await?;
                if now == before {
                    break;
                }
                before = now;
                ensure!(Instant::now() < deadline, "streams are still closed: {now}");
            }
            Ok(())
        })
        .await?;
        run.finish().await?;
        cluster.install().await?;
        channel.leave().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn brokers_follow_the_subscribers() -> Result<()> {
    scenario(async |cluster| {
        let channel = two_brokers(cluster, "autoscaled").await?;
        let autoscaling = json!({
            "minReplicas": 1, "maxReplicas": 4, "subscribersPerBroker": 50, "scaleDownStabilizationSeconds": 30,
        });
        let plan = Plan { subscribers: 180, ..patient() };
        let run = Disturbances::start(&channel, plan).await?;
        run.disturb("scaled by the operator from 2 to 4", async || {
            let brokers = json!({"replicas": null, "autoscaling": autoscaling});
            channel.patch(json!({"spec": {"brokers": brokers}})).await?;
            channel.brokers(4).await
        })
        .await?;
        run.finish().await?;
        // Everybody has gone.
        channel.wait("jsonpath={.status.autoscaling.desired}=4").await?;
        let before = channel.pods().await?;
        let limit = format!("--timeout={}s", SCALE_DOWN_TIMEOUT.as_secs());
        let lower = ["wait", "--for=jsonpath={.spec.replicas}=3", "deployment/demo-broker", &limit];
        channel.kubectl(&lower).await?;
        channel.settled(3).await?;
        let after = channel.pods().await?;
        let gone: Vec<_> = before.iter().filter(|pod| !after.contains(pod)).collect();
        // All are empty: then the first by name goes.
        ensure!(gone == [before.iter().min().context("no broker")?], "{gone:?} of {before:?}");
        channel.wait("condition=Autoscaled").await?;
        channel.leave().await
    })
    .await
}

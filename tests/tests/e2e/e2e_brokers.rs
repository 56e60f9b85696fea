//! What happens to brokers, and what it costs their subscribers: rolls, scaling, lost pods, crashes, a drained node.

use anyhow::{Result, ensure};
use eventcast_tests::e2e::{Channel, Cluster, Disturbances, Machine, Previous, scenario, skipped};
use serde_json::json;

/// Three brokers that drain within five seconds.
async fn three_brokers<'a>(cluster: &'a Cluster, purpose: &str) -> Result<Channel<'a>> {
    cluster.install().await?;
    let channel = Channel::create(cluster, purpose).await?;
    channel.patch(json!({"spec": {"brokers": {"replicas": 3, "drainSeconds": 5}}})).await?;
    channel.settled(3).await?;
    Ok(channel)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn rolls_and_scaling_lose_nothing() -> Result<()> {
    scenario(async |cluster| {
        let channel = three_brokers(cluster, "rolls").await?;
        let run = Disturbances::start(&channel, Disturbances::plan()).await?;
        if let Some(previous) = Previous::of_environment()? {
            let image = format!("ghcr.io/eventcast/eventcast-broker:{}", previous.version);
            run.disturb("brokers rolled: image", async || {
                channel.roll(json!({"spec": {"brokers": {"image": image}}})).await
            })
            .await?;
        } else {
            skipped("brokers rolled: image", "EVENTCAST_E2E_PREVIOUS names no other image")?;
        }
        run.disturb("brokers rolled: resources", async || {
            let resources = json!({"requests": {"cpu": "50m", "memory": "256Mi"}});
            channel.roll(json!({"spec": {"brokers": {"resources": resources}}})).await
        })
        .await?;
        run.disturb("scaled from 3 to 2", async || {
            channel.scale(2).await?;
            channel.settled(2).await
        })
        .await?;
        run.disturb("scaled from 2 to 3", async || channel.scale(3).await).await?;
        run.finish().await?;
        channel.leave().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn a_deleted_and_a_killed_broker_lose_nothing() -> Result<()> {
    scenario(async |cluster| {
        let channel = three_brokers(cluster, "killed").await?;
        let run = Disturbances::start(&channel, Disturbances::plan()).await?;
        run.disturb("broker deleted", async || {
            let broker = channel.pods().await?.swap_remove(0);
            channel.kubectl(&["delete", "pod", &broker]).await?;
            channel.settled(3).await
        })
        .await?;
        run.disturb("broker deleted by force", async || {
            let broker = channel.pods().await?.swap_remove(0);
            channel.kubectl(&["delete", "pod", &broker, "--force", "--grace-period=0"]).await?;
            channel.settled(3).await
        })
        .await?;
        let name = "broker killed (SIGKILL)";
        if let Some(machine) = Machine::of_environment() {
            run.disturb(name, async || {
                let broker = channel.pods().await?.swap_remove(0);
                machine.signal("KILL", &channel.namespace, &broker).await?;
                cluster.restarted(&channel.namespace, &broker).await
            })
            .await?;
        } else {
            skipped(name, "it needs the machine of the test cluster")?;
        }
        run.finish().await?;
        channel.leave().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn a_drained_node_loses_nothing_and_respects_the_budget() -> Result<()> {
    scenario(async |cluster| {
        let Some(machine) = Machine::of_environment() else {
            return skipped("node drained", "it needs the machine of the test cluster");
        };
        machine.add_node().await?;
        let channel = three_brokers(cluster, "drained").await?;
        let drained = drain_second_node(cluster, &channel).await;
        for node in ["node0", "node1"] {
            cluster.kubectl(&["uncordon", node]).await?;
        }
        drained?;
        channel.leave().await?;
        machine.remove_node().await
    })
    .await
}

async fn drain_second_node(cluster: &Cluster, channel: &Channel<'_>) -> Result<()> {
    let on_second = on_node(channel, "node1").await?;
    ensure!(!on_second.is_empty(), "no broker is on the second node");
    // one broker at a time may be evicted, and all three are there
    let budget = channel.get("poddisruptionbudget/demo-broker").await?;
    ensure!(budget["status"]["disruptionsAllowed"] == 1, "{budget}");
    let run = Disturbances::start(channel, Disturbances::plan()).await?;
    run.disturb("node drained", async || {
        let drain =
            ["drain", "node1", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s"];
        cluster.kubectl(&drain).await?;
        channel.settled(3).await
    })
    .await?;
    let left = on_node(channel, "node1").await?;
    ensure!(left.is_empty(), "brokers are left on the drained node: {left:?}");
    run.finish().await
}

/// The brokers on a node.
async fn on_node(channel: &Channel<'_>, node: &str) -> Result<Vec<String>> {
    let selector = format!("--field-selector=spec.nodeName={node}");
    let names = channel.kubectl(&["get", "pods", &selector, "-o", "name"]).await?;
    Ok(names.lines().map(str::to_owned).collect())
}

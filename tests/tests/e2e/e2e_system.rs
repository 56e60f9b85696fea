//! What happens to the operator and to NATS, and what it costs the subscribers of a channel.

use anyhow::{Result, ensure};
use eventcast_tests::{
    e2e::{Channel, Disturbances, Machine, SYSTEM, WAIT_TIMEOUT, scenario, skipped},
    eventually,
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn a_lost_operator_disturbs_no_client() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        cluster.operators_are_ready().await?;
        let channel = Channel::create(cluster, "operator").await?;
        channel.scale(2).await?;
        let run = Disturbances::start(&channel, Disturbances::plan()).await?;
        let mut heartbeat = 20;
        // The operator that leads then does its work.
        let mut works = async || {
            heartbeat += 1;
            let delivery = json!({"delivery": {"heartbeatSeconds": heartbeat}});
            channel.patch(json!({"spec": delivery})).await?;
            eventually("the operator applies a change", WAIT_TIMEOUT, || async {
                let object = channel.get("evch/demo").await?;
                let (seen, last) =
                    (&object["status"]["observedGeneration"], &object["metadata"]["generation"]);
                ensure!(seen == last, "generation {seen} of {last}");
                anyhow::Ok(())
            })
            .await
        };
        run.disturb("operator's leader deleted", async || {
            let leader = cluster.leader().await?;
            cluster.kubectl(&["-n", SYSTEM, "delete", "pod", &leader]).await?;
            cluster.another_leader(&leader).await?;
            works().await
        })
        .await?;
        run.disturb("operator rolled", async || {
            let restart = ["-n", SYSTEM, "rollout", "restart", "deployment/eventcast-operator"];
            cluster.kubectl(&restart).await?;
            cluster.operators_are_ready().await?;
            works().await
        })
        .await?;
        let name = "operator's leader hangs (SIGSTOP)";
        if let Some(machine) = Machine::of_environment() {
            run.disturb(name, async || {
                let leader = cluster.leader().await?;
                machine.signal("STOP", SYSTEM, &leader).await?;
                let another = cluster.another_leader(&leader).await;
                machine.signal("CONT", SYSTEM, &leader).await?;
                another?;
                works().await?;
                cluster.operators_are_ready().await
            })
            .await?;
        } else {
            skipped(name, "it needs the machine of the test cluster")?;
        }
        let brokers = channel.pods().await?;
        run.finish().await?;
        ensure!(brokers.len() == 2, "{brokers:?}");
        channel.leave().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn a_restart_of_nats_loses_nothing_and_closes_no_stream() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let channel = Channel::create(cluster, "nats").await?;
        channel.scale(2).await?;
        let run = Disturbances::start(&channel, Disturbances::plan()).await?;
        let nats = ["-n", SYSTEM, "get", "pod/eventcast-nats-0", "-o", "jsonpath={.metadata.uid}"];
        let is_back = |before: String| async move {
            eventually("NATS is back", WAIT_TIMEOUT, || async {
                ensure!(cluster.kubectl(&nats).await? != before, "the pod is the same");
                anyhow::Ok(())
            })
            .await?;
            cluster.wait(SYSTEM, "pod/eventcast-nats-0", "condition=Ready", WAIT_TIMEOUT).await
        };
        run.disturb("NATS restarted", async || {
            let before = cluster.kubectl(&nats).await?;
            cluster.kubectl(&["-n", SYSTEM, "delete", "pod/eventcast-nats-0"]).await?;
            is_back(before).await
        })
        .await?;
        let name = "NATS killed (SIGKILL)";
        if let Some(machine) = Machine::of_environment() {
            run.disturb(name, async || {
                machine.signal("KILL", SYSTEM, "eventcast-nats-0").await?;
                cluster.restarted(SYSTEM, "eventcast-nats-0").await
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
async fn a_restart_of_dns_and_of_the_proxy_loses_nothing() -> Result<()> {
    scenario(async |cluster| {
        let Some(machine) = Machine::of_environment() else {
            return skipped("DNS and kube-proxy restarted", "they are somebody else's");
        };
        cluster.install().await?;
        let channel = Channel::create(cluster, "proxy").await?;
        channel.scale(2).await?;
        let run = Disturbances::start(&channel, Disturbances::plan()).await?;
        run.disturb("DNS restarted", async || {
            let dns = "-n kube-system delete pod -l k8s-app=kube-dns";
            cluster.kubectl(&dns.split(' ').collect::<Vec<_>>()).await?;
            cluster
                .wait("kube-system", "deployment/coredns", "condition=Available", WAIT_TIMEOUT)
                .await
        })
        .await?;
        run.disturb("kube-proxy restarted", async || machine.restart_proxy().await).await?;
        run.finish().await?;
        channel.leave().await
    })
    .await
}

//! Channels in a cluster with IPv4 and IPv6, and what a cluster with one of them says about the other.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    e2e::{Channel, Cluster, Disturbances, Machine, Reach, SYSTEM, scenario, skipped},
    http,
    sse::EventStream,
};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};

use crate::{e2e_conditions::says, e2e_install::EVENT_TIMEOUT};

/// For a connection inside of the machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Events in each direction.
const EVENTS: usize = 50;

/// The field of a channel that says which families its Service has.
fn families(policy: &str) -> Value {
    json!({"spec": {"exposure": {"service": {"ipFamilyPolicy": policy}}}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn events_pass_between_clients_of_both_families() -> Result<()> {
    scenario(async |cluster| {
        let name = "brokers rolled: IPv4 and IPv6";
        if Machine::of_environment().is_none() {
            return skipped(name, "it needs the machine of the test cluster");
        }
        if !cluster.has_both_families().await? {
            return skipped(name, "the cluster has one IP family");
        }
        cluster.install().await?;
        let channel = Channel::create(cluster, "families").await?;
        channel.patch(json!({"spec": {"brokers": {"replicas": 3, "drainSeconds": 5}}})).await?;
        channel.patch(families("PreferDualStack")).await?;
        channel.settled(3).await?;
        listens_on_both(cluster, SYSTEM).await?;
        listens_on_both(cluster, &channel.namespace).await?;
        let ways = both_ways(&channel).await?;
        let run = Disturbances::start_by(ways.into(), Disturbances::plan()).await?;
        run.disturb(name, async || {
            let resources = json!({"requests": {"cpu": "50m", "memory": "256Mi"}});
            channel.roll(json!({"spec": {"brokers": {"resources": resources}}})).await
        })
        .await?;
        run.finish().await?;
        let [first, second] = both_ways(&channel).await?;
        passes(&first, &second).await?;
        passes(&second, &first).await?;
        channel.leave().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn a_family_that_the_cluster_lacks_is_shown() -> Result<()> {
    scenario(async |cluster| {
        if cluster.has_both_families().await? {
            return skipped("a channel that needs two IP families", "the cluster has both");
        }
        cluster.install().await?;
        let channel = Channel::in_new_namespace(cluster, "family").await?;
        channel.apply().await?;
        channel.patch(families("RequireDualStack")).await?;
        says(&channel, "Accepted", "ApplyFailed", &["Service demo-broker", "ipFamilyPolicy"])
            .await?;
        channel.patch(families("PreferDualStack")).await?;
        channel.wait("condition=Ready").await?;
        ensure!(channel.service_addresses().await?.len() == 1, "one family, two addresses");
        channel.leave().await
    })
    .await
}

/// The ways to the channel through both addresses of its Service, one of each family.
async fn both_ways(channel: &Channel<'_>) -> Result<[Reach; 2]> {
    let addresses = channel.service_addresses().await?;
    let families: BTreeSet<_> = addresses.iter().map(std::net::IpAddr::is_ipv6).collect();
    ensure!(families.len() == 2, "the Service has {addresses:?}");
    let mut ways = Vec::new();
    for address in addresses {
        ways.push(channel.reach_at(address).await?);
    }
    ways.try_into().ok().context("more than two addresses")
}

/// Every TCP port that a pod declares accepts connections on all addresses of the pod.
async fn listens_on_both(cluster: &Cluster, namespace: &str) -> Result<()> {
    let ports = cluster.tcp_ports(namespace).await?;
    for family in [false, true] {
        ensure!(ports.iter().any(|port| port.is_ipv6() == family), "IPv6 is {family}: {ports:?}");
    }
    for port in ports {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(port)).await;
        connected.map_err(Into::into).flatten().with_context(|| format!("{port} is closed"))?;
    }
    Ok(())
}

/// All events that are published over one family arrive over the other.
async fn passes(from: &Reach, to: &Reach) -> Result<()> {
    let mut stream = EventStream::connect(&to.events(""), None).await?;
    for number in 0..EVENTS {
        http::created(&from.events(""), &number.to_string(), &[]).await?;
    }
    for number in 0..EVENTS {
        let event = stream.next_data(EVENT_TIMEOUT).await?;
        ensure!(event.data == number.to_string(), "{:?} instead of {number}", event.raw);
    }
    Ok(())
}

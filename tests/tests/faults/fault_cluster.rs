//! A cluster of three NATS servers with three replicas: servers are killed and paused, and leaders step down, one at a time, so
//! that a quorum always remains. Three brokers and three hundred subscribers lose nothing and receive nothing twice.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use eventcast_crds::config::BrokerConfig;
use eventcast_tests::{
    broker::Broker,
    init_tracing,
    issuer::Issuer,
    ledger::{Ledger, Plan},
    nats::NatsCluster,
};
use tokio::time::{Instant, sleep};

const STREAM: &str = "SSE_default_demo";
const WAIT_TIMEOUT: Duration = Duration::from_secs(40);
/// Time for faults. Each one is followed by recovery, so the last may end later.
const FAULT_PERIOD: Duration = Duration::from_secs(60);

/// What happens to the cluster.
#[derive(Clone, Copy, Debug)]
enum Fault {
    KillLeader,
    KillFollower,
    PauseLeader,
    PauseFollower,
    Stepdown,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_under_faults_loses_nothing() -> Result<()> {
    init_tracing();
    let mut cluster = NatsCluster::start(3).await?;
    let issuer = Arc::new(Issuer::new()?);
    let mut brokers = Vec::new();
    for tail in [65_536, 256, 32] {
        let config = |config: &mut BrokerConfig| {
            config.memory.tail_events = tail;
            config.channels[0].retention.replicas = 3;
            config.channels[0].delivery.from = "last:20".into();
            config.channels[0].access.tokens = vec![issuer.trusted()];
        };
        brokers.push(Broker::start(&cluster.urls().join(","), config).await?);
    }
    let urls = brokers.iter().map(|broker| broker.events_url("")).collect();
    let plan = Plan {
        subscribers: 300,
        publish_every: Duration::from_millis(100),
        stay: Duration::from_secs(8),
        issuer: Some(issuer),
        ..Plan::default()
    };
    let mut rng = fastrand::Rng::with_seed(plan.seed);
    let ledger = Ledger::start(plan, urls);

    let mut faults = [
        Fault::KillLeader,
        Fault::Stepdown,
        Fault::PauseFollower,
        Fault::KillFollower,
        Fault::PauseLeader,
        Fault::Stepdown,
    ];
    rng.shuffle(&mut faults);
    let end = Instant::now() + FAULT_PERIOD;
    for fault in faults.into_iter().cycle() {
        ledger.progress(50, WAIT_TIMEOUT).await?;
        if Instant::now() > end {
            break;
        }
        eprintln!("{fault:?} after {} events", ledger.acknowledged());
        inflict(&mut cluster, fault, &mut rng).await?;
        cluster.in_sync(STREAM, WAIT_TIMEOUT).await?;
    }
    ledger.finish(WAIT_TIMEOUT).await?.assert_nothing_lost();
    Ok(())
}

async fn inflict(cluster: &mut NatsCluster, fault: Fault, rng: &mut fastrand::Rng) -> Result<()> {
    let leader = cluster.leader(STREAM).await?;
    let follower = (leader + rng.usize(1..3)) % 3;
    // how long a fault lasts is part of it: shorter and longer than an election
    let lasting = Duration::from_millis(rng.u64(200..6000));
    match fault {
        Fault::Stepdown => cluster.stepdown(STREAM).await?,
        Fault::KillLeader | Fault::KillFollower => {
            let node = if matches!(fault, Fault::KillLeader) { leader } else { follower };
            cluster.kill9(node)?;
            sleep(lasting).await;
            cluster.restart(node).await?;
        }
        Fault::PauseLeader | Fault::PauseFollower => {
            let node = if matches!(fault, Fault::PauseLeader) { leader } else { follower };
            cluster.pause(node)?;
            sleep(lasting).await;
            cluster.resume(node)?;
        }
    }
    Ok(())
}

//! One NATS server that is killed and restarted, three brokers, a hundred subscribers: nothing is lost, nothing is delivered
//! twice.
//!
//! The three brokers keep tails of different sizes, so that the same faults meet readers of the tail and of pages.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use eventcast_crds::config::BrokerConfig;
use eventcast_tests::{
    broker::Broker,
    init_tracing,
    issuer::Issuer,
    ledger::{Ledger, Plan},
    nats::NatsServer,
};
use tokio::time::sleep;

const WAIT_TIMEOUT: Duration = Duration::from_secs(40);
/// Tails of the three brokers, in events.
const TAILS: [usize; 3] = [65_536, 256, 32];
/// Times the server is killed; with its downtimes and the time to recover well under a minute.
const KILLS: u32 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_five_times_loses_nothing() -> Result<()> {
    init_tracing();
    let (mut nats, issuer) = (NatsServer::start().await?, Arc::new(Issuer::new()?));
    let mut brokers = Vec::new();
    for tail in TAILS {
        let config = |config: &mut BrokerConfig| {
            config.memory.tail_events = tail;
            config.channels[0].delivery.from = "last:5".into();
            config.channels[0].access.tokens = vec![issuer.trusted()];
        };
        brokers.push(Broker::start(&nats.url(), config).await?);
    }
    let urls = brokers.iter().map(|broker| broker.events_url("")).collect();
    let plan = Plan { issuer: Some(issuer), ..Plan::default() };
    let ledger = Ledger::start(plan, urls);
    for kill in 0..KILLS {
        ledger.progress(150, WAIT_TIMEOUT).await?;
        nats.kill9()?;
        // how long it is away is the fault: from less than a heartbeat to longer than a publisher's patience
        sleep(Duration::from_millis(200) * (1 << kill)).await;
        nats.restart().await?;
    }
    ledger.progress(150, WAIT_TIMEOUT).await?;
    ledger.finish(WAIT_TIMEOUT).await?.assert_nothing_lost();
    Ok(())
}

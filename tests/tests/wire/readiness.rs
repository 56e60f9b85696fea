//! `/readyz`: a broker is ready as soon as it can serve. A log that is unreachable, recreated or broken does not make a broker
//! unready that serves other logs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use async_nats::jetstream::stream::Config as StreamConfig;
use eventcast_crds::config::ChannelConfig;
use eventcast_tests::{
    broker::{Broker, open_channel},
    eventually,
    http::{Version, client, publish},
    init_tracing,
    nats::NatsServer,
};
use tokio::{task::JoinSet, time::Instant};

const WAIT_TIMEOUT: Duration = Duration::from_secs(15);

async fn readyz(url: &str) -> Result<(u16, String)> {
    let answer = client(Version::Http1).get(url).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

/// NATS, where the stream of `default/bad` cannot be created: its subjects are another's.
async fn nats_with_a_bad_channel() -> Result<NatsServer> {
    let nats = NatsServer::start().await?;
    let subjects = vec!["sse.default.bad.>".to_owned()];
    let other = StreamConfig { name: "OTHER".into(), subjects, ..StreamConfig::default() };
    nats.jetstream().await?.create_stream(other).await?;
    Ok(nats)
}

fn demo_and_bad() -> Vec<ChannelConfig> {
    ["demo", "bad"].map(|name| open_channel("default", name)).into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recreated_log_makes_no_broker_unready() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |_| {}).await?;
    let (stop, mut probes) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    for _ in 0..4 {
        let (stop, url) = (Arc::clone(&stop), broker.admin_url("/readyz"));
        let http = client(Version::Http1);
        probes.spawn(async move {
            while !stop.load(SeqCst) {
                let answer = http.get(&url).send().await?;
                ensure!(answer.status() == 200, "{}", answer.text().await?);
            }
            Ok(())
        });
    }
    for _ in 0..10 {
        nats.remade("SSE_default_demo", WAIT_TIMEOUT).await?; // the broker does
    }
    stop.store(true, SeqCst);
    while let Some(ended) = probes.join_next().await {
        ended??;
    }
    Ok(())
}

#[tokio::test]
async fn an_added_channel_that_cannot_be_read_makes_no_broker_unready() -> Result<()> {
    init_tracing();
    let nats = nats_with_a_bad_channel().await?;
    let mut broker = Broker::start(&nats.url(), |_| {}).await?;
    broker.reconfigure(|config| config.channels = demo_and_bad())?;
    let bad = [("channel", "default/bad")];
    broker
        .settled("it tries to read the bad one", WAIT_TIMEOUT, |metrics| {
            ensure!(metrics.metric("eventcast_tail_resets_total", &bad) > 0.0, "not yet");
            Ok(())
        })
        .await?;
    assert_eq!(readyz(&broker.admin_url("/readyz")).await?, (200, "ok\n".into()));
    Ok(())
}

#[tokio::test]
async fn one_bad_channel_of_many_delays_the_start_but_does_not_prevent_it() -> Result<()> {
    init_tracing();
    let nats = nats_with_a_bad_channel().await?;
    let began = Instant::now();
    let mut broker = Broker::launch(&nats.url(), |config| config.channels = demo_and_bad()).await?;
    let url = broker.admin_url("/readyz");
    eventually("it says what it waits for", WAIT_TIMEOUT, || async {
        let (status, text) = readyz(&url).await?;
        ensure!(
            status == 503 && text.contains("waiting for the log of default/bad"),
            "{status} {text}"
        );
        anyhow::Ok(())
    })
    .await?;
    broker.ready(Duration::from_secs(40)).await?;
    ensure!(
        began.elapsed() > WAIT_TIMEOUT,
        "it did not wait for the bad one: {:?}",
        began.elapsed()
    );
    assert_eq!(publish(&broker.events_url(""), "served", &[]).await?.status, 201);
    Ok(())
}

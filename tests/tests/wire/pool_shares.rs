//! Neighbours in one broker: none takes what the others need.

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::BrokerConfig;
use eventcast_tests::{
    broker::Broker,
    channel_folder::ChannelFolder,
    eventually,
    http::{Publish, Version, client, created, publish},
    init_tracing,
    nats::NatsServer,
    sse::EventStream,
};
use futures_util::future::join_all;
use serde_json::json;

use super::{
    pool::{WAIT_TIMEOUT, channel, url},
    pool_many::in_state,
};

const MIB: f64 = (1 << 20) as f64;

async fn start(
    nats: &NatsServer,
    folder: &ChannelFolder,
    change: impl FnOnce(&mut BrokerConfig),
) -> Result<Broker> {
    Broker::start(&nats.url(), |config| {
        config.channels.clear();
        config.channels_folder = Some(folder.path().into());
        change(config);
    })
    .await
}

/// Two channels that have streams.
async fn two(
    nats: &NatsServer,
    change: impl FnOnce(&mut BrokerConfig),
) -> Result<(Broker, ChannelFolder)> {
    let folder = ChannelFolder::new(&[channel("greedy", 1), channel("modest", 1)])?;
    let broker = start(nats, &folder, change).await?;
    for name in ["greedy", "modest"] {
        created(&url(&broker, name), "one", &[]).await?;
    }
    Ok((broker, folder))
}

#[tokio::test]
async fn one_channel_gets_a_quarter_of_the_queries() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let (broker, _folder) = two(&nats, |config| {
        config.query.concurrent = 8;
        config.query.scan_bytes = 1 << 20; // one client gets room for many answers
        config.memory.park_after_seconds = Some(1);
    })
    .await?;
    in_state(&broker, "parked", 2).await?;
    nats.pause()?;
    // The logs cannot be attached now: queries stay in progress for a while.
    let ask = |name: &str| {
        let request = client(Version::Http1).get(url(&broker, name));
        request.header("accept", "application/json").send()
    };
    let queries = join_all(["greedy", "greedy", "greedy", "greedy", "modest"].map(ask));
    let queries = tokio::spawn(queries);
    eventually("two and one are in progress", WAIT_TIMEOUT, || async {
        let running = broker.metric("eventcast_queries", &[]).await?;
        ensure!((running - 3.0).abs() < 0.1, "{running}");
        anyhow::Ok(())
    })
    .await?;
    nats.resume()?;
    let answers = queries.await?;
    ensure!(answers.iter().all(Result::is_ok), "{answers:?}");
    Ok(())
}

#[tokio::test]
async fn one_channel_gets_an_eighth_of_the_publishes_in_progress() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let (broker, _folder) = two(&nats, |config| config.limits.publishes_in_flight = 8).await?;
    nats.pause()?;
    let (greedy, modest) = (url(&broker, "greedy"), url(&broker, "modest"));
    let modest = tokio::spawn(async move { publish(&modest, "two", &[]).await });
    let all = tokio::spawn(async move {
        let answers = join_all((0..3).map(|_| publish(&greedy, "two", &[]))).await;
        let answers = answers.into_iter().collect::<Result<Vec<_>>>()?;
        anyhow::Ok(answers.iter().filter(|answer| answer.status == 503).count())
    });
    let busy = [("outcome", "busy")];
    eventually("all but one wait in vain", WAIT_TIMEOUT, || async {
        let refused = broker.metric("eventcast_publish_total", &busy).await?;
        ensure!((refused - 2.0).abs() < 0.1, "{refused}");
        anyhow::Ok(())
    })
    .await?;
    nats.resume()?;
    ensure!(all.await?? == 2);
    ensure!(modest.await??.status == 201, "the other channel is not affected");
    Ok(())
}

/// `count` events of a KiB each.
async fn fill(url: &str, count: usize) -> Result<()> {
    let line = format!("{}\n", json!({"data": "x".repeat(1000)}));
    for _ in 0..count / 500 {
        let batch = Publish::new(line.repeat(500)).header("Content-Type", "application/x-ndjson");
        let answer = batch.send(&client(Version::Http1), url).await?;
        ensure!(answer.status == 201, "{} {}", answer.status, answer.json);
    }
    Ok(())
}

#[tokio::test]
async fn attached_channels_share_the_memory_of_tails() -> Result<()> {
    const OTHERS: usize = 20;
    init_tracing();
    let nats = NatsServer::start_with("1s").await?;
    let mut channels: Vec<_> = (0..1000).map(|n| channel(&format!("n{n}"), 1)).collect();
    channels[0].retention.max_bytes = 16 << 20;
    let folder = ChannelFolder::new(&channels)?;
    let broker = start(&nats, &folder, |config| {
        config.memory.all_tail_bytes = 4 << 20;
        config.memory.park_after_seconds = Some(2);
    })
    .await?;
    let mut stream = EventStream::connect(&url(&broker, "n0"), None).await?;
    fill(&url(&broker, "n0"), 3000).await?;
    let tail = async |least: f64, most: f64| {
        eventually("the tail has its share", WAIT_TIMEOUT, || async {
            let bytes = broker.metric("eventcast_tail_bytes", &[("channel", "shop/n0")]).await?;
            ensure!((least..=most).contains(&bytes), "{bytes}");
            anyhow::Ok(())
        })
        .await
    };
    // A thousandth would be 4 KiB.
    tail(0.9 * MIB, MIB).await?;
    let mut others = Vec::new();
    for number in 1..=OTHERS {
        others.push(EventStream::connect(&url(&broker, &format!("n{number}")), None).await?);
    }
    tail(0.1 * MIB, 4.0 * MIB / OTHERS as f64).await?;
    drop(others);
    in_state(&broker, "live", 1).await?;
    fill(&url(&broker, "n0"), 3000).await?;
    tail(0.9 * MIB, MIB).await?;
    let first = stream.next_data(WAIT_TIMEOUT).await?;
    ensure!(first.data.len() == 1000, "nothing is lost");
    stream.cursor().context("no cursor")?;
    Ok(())
}

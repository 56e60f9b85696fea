//! Memory budgets: replaying one channel does not evict the pages of others, and the tails of all channels together stay within
//! their budget.

use std::time::Duration;

use anyhow::{Result, ensure};
use eventcast_crds::config::ChannelConfig;
use eventcast_tests::{
    broker::{Broker, open_channel},
    eventually,
    http::{Publish, Version, client},
    init_tracing,
    metrics::Metrics,
    nats::NatsServer,
    sse::EventStream,
};
use serde_json::json;

const WAIT_TIMEOUT: Duration = Duration::from_secs(15);
const KIB: f64 = 1024.0;

fn channels(names: &[&str]) -> Vec<ChannelConfig> {
    names.iter().map(|name| open_channel("default", name)).collect()
}

fn url(broker: &Broker, channel: &str, query: &str) -> String {
    broker.url(&format!("/channels/default/{channel}/events{query}"))
}

/// `count` events of a KiB each.
async fn fill(broker: &Broker, channel: &str, count: usize) -> Result<()> {
    let line = |i: usize| format!("{}\n", json!({"data": format!("{i} {}", "x".repeat(1000))}));
    for from in (0..count).step_by(500) {
        let body: String = (from..count.min(from + 500)).map(line).collect();
        let batch = Publish::new(body).header("Content-Type", "application/x-ndjson");
        let answer = batch.send(&client(Version::Http1), &url(broker, channel, "")).await?;
        ensure!(answer.status == 201, "{} {}", answer.status, answer.json);
    }
    Ok(())
}

/// Reads all `count` events of a channel from the beginning.
async fn replay(broker: &Broker, channel: &str, count: usize) -> Result<()> {
    let mut stream = EventStream::connect(&url(broker, channel, "?from=earliest"), None).await?;
    for i in 0..count {
        let data = stream.next_data(WAIT_TIMEOUT).await?.data;
        ensure!(data.starts_with(&format!("{i} ")), "{channel} {i}: {}", &data[..10]);
    }
    Ok(())
}

fn of(metrics: &Metrics, name: &str, channel: &str) -> f64 {
    metrics.metric(name, &[("channel", &format!("default/{channel}"))])
}

#[tokio::test]
async fn a_replay_leaves_the_pages_of_other_channels_alone() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start_with("1s").await?;
    let mut broker = Broker::start(&nats.url(), |config| {
        config.memory.tail_events = 16;
        config.memory.page_bytes = 4 << 20;
        config.memory.channel_page_bytes = 2 << 20;
        config.channels = channels(&["quiet", "busy"]);
    })
    .await?;
    fill(&broker, "quiet", 1100).await?;
    fill(&broker, "busy", 6000).await?;
    replay(&broker, "quiet", 1100).await?;
    let quiet = of(&broker.metrics().await?, "eventcast_page_bytes", "quiet");
    ensure!(quiet > 1000.0 * KIB, "four pages of 256 events: {quiet}");

    replay(&broker, "busy", 6000).await?;
    let before = broker.metrics().await?;
    let busy = of(&before, "eventcast_page_bytes", "busy");
    assert_eq!(of(&before, "eventcast_page_bytes", "quiet"), quiet);
    ensure!((1024.0 * KIB..=2048.0 * KIB).contains(&busy), "the newest of what it read: {busy}");
    assert_eq!(before.metric("eventcast_page_cache_bytes", &[]), quiet + busy);
    replay(&broker, "quiet", 1000).await?;
    let after = broker.metrics().await?;
    let loads = |metrics: &Metrics| of(metrics, "eventcast_page_loads_total", "quiet");
    assert_eq!(loads(&after), loads(&before), "read from memory");

    broker.reconfigure(|config| config.channels = channels(&["quiet"]))?;
    let all = broker
        .settled("its pages go with the channel", WAIT_TIMEOUT, |metrics| {
            let busy = of(metrics, "eventcast_page_bytes", "busy");
            ensure!(busy == 0.0, "{busy}");
            Ok(())
        })
        .await?;
    assert_eq!(all.metric("eventcast_page_cache_bytes", &[]), quiet);
    Ok(())
}

#[tokio::test]
async fn tails_share_their_budget_and_follow_the_channels() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start_with("1s").await?;
    let mut broker = Broker::start(&nats.url(), |config| {
        config.memory.all_tail_bytes = 1 << 20;
        config.channels = channels(&["a", "b"]);
    })
    .await?;
    fill(&broker, "a", 1000).await?;
    let bytes = |metrics: &Metrics, channel| of(metrics, "eventcast_tail_bytes", channel) / KIB;
    broker
        .settled("half of it, and it is full", WAIT_TIMEOUT, |metrics| {
            let a = bytes(metrics, "a");
            ensure!((500.0..=512.0).contains(&a), "{a} KiB");
            Ok(())
        })
        .await?;

    broker.reconfigure(|config| config.channels = channels(&["a", "b", "c", "d"]))?;
    broker
        .settled("a quarter, without an event", WAIT_TIMEOUT, |metrics| {
            let a = bytes(metrics, "a");
            ensure!((250.0..=256.0).contains(&a), "{a} KiB");
            Ok(())
        })
        .await?;
    replay(&broker, "a", 1000).await?; // what left the tail is read from the log
    for channel in ["b", "c", "d"] {
        eventually("it is served", WAIT_TIMEOUT, || fill(&broker, channel, 500)).await?;
    }
    broker
        .settled("all are full, and together within the budget", WAIT_TIMEOUT, |metrics| {
            for channel in ["a", "b", "c", "d"] {
                let bytes = bytes(metrics, channel);
                ensure!((250.0..=256.0).contains(&bytes), "{channel}: {bytes} KiB");
            }
            Ok(())
        })
        .await?;

    broker.reconfigure(|config| {
        config.memory.all_tail_bytes = 8 << 20; // holds after a restart
        config.channels = channels(&["a"]);
    })?;
    broker
        .settled("one is left", WAIT_TIMEOUT, |metrics| {
            ensure!(bytes(metrics, "d") == 0.0, "the others are still there");
            Ok(())
        })
        .await?;
    fill(&broker, "a", 1000).await?;
    broker
        .settled("it has all there is", WAIT_TIMEOUT, |metrics| {
            let a = bytes(metrics, "a");
            ensure!((1000.0..=1024.0).contains(&a), "{a} KiB");
            Ok(())
        })
        .await?;
    Ok(())
}

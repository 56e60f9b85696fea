//! Channels from a folder: what is wrong in it hurts nothing else, and changes reach the broker while it runs.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::{
    broker_status::{self, BrokerStatus},
    config::ChannelConfig,
};
use eventcast_tests::{
    broker::{Broker, Cli, open_channel},
    channel_folder::ChannelFolder,
    eventually,
    http::{Version, client, created},
    init_tracing,
    nats::NatsServer,
    process,
    sse::EventStream,
};
use serde_json::json;

pub(super) const WAIT_TIMEOUT: Duration = Duration::from_secs(15);
const EXIT_USAGE: i32 = 64;

pub(super) fn channel(name: &str, generation: i64) -> ChannelConfig {
    let mut channel = open_channel("shop", name);
    channel.retention.max_bytes = 1 << 20; // JetStream reserves it
    channel.generation = Some(generation);
    channel
}

pub(super) async fn start(nats: &NatsServer, folder: &ChannelFolder) -> Result<Broker> {
    Broker::start(&nats.url(), |config| {
        config.channels.clear();
        config.channels_folder = Some(folder.path().into());
    })
    .await
}

pub(super) async fn status(broker: &Broker) -> Result<BrokerStatus> {
    let answer = client(Version::Http1).get(broker.admin_url(broker_status::PATH)).send().await?;
    Ok(serde_json::from_slice(&answer.error_for_status()?.bytes().await?)?)
}

pub(super) fn url(broker: &Broker, name: &str) -> String {
    broker.url(&format!("/channels/shop/{name}/events"))
}

/// Waits until the broker reports `generation` and whether there is a problem.
pub(super) async fn reported(
    broker: &Broker,
    name: &str,
    generation: Option<i64>,
    has_problem: bool,
) -> Result<()> {
    eventually("the broker reports the configuration", WAIT_TIMEOUT, || async {
        let status = status(broker).await?;
        let report = status.channel(&format!("shop/{name}")).context("no such channel")?;
        let seen = (report.generation, report.problem.is_some());
        ensure!(seen == (generation, has_problem), "{report:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn channels_of_a_folder_are_added_changed_and_removed_while_a_broker_runs() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut folder = ChannelFolder::new(&[channel("kept", 1), channel("removed", 1)])?;
    let broker = start(&nats, &folder).await?;
    let found = status(&broker).await?;
    let found: Vec<_> =
        found.channels.iter().map(|c| (&*c.channel, c.live, c.generation)).collect();
    ensure!(found == [("shop/kept", true, Some(1)), ("shop/removed", true, Some(1))], "{found:?}");
    let mut kept = EventStream::connect(&url(&broker, "kept"), None).await?;
    let mut removed = EventStream::connect(&url(&broker, "removed"), None).await?;
    created(&url(&broker, "kept"), "one", &[]).await?;
    ensure!(kept.next_data(WAIT_TIMEOUT).await?.data == "one");

    let mut slower = channel("kept", 2);
    slower.delivery.heartbeat_seconds = 20;
    folder.write(&[slower, channel("new", 7)])?;
    reported(&broker, "kept", Some(2), false).await?;
    reported(&broker, "new", Some(7), false).await?;
    while removed.next().await?.is_some() {}
    created(&url(&broker, "kept"), "two", &[]).await?;
    ensure!(kept.next_data(WAIT_TIMEOUT).await?.data == "two", "the stream stays open");
    let mut new = EventStream::connect(&url(&broker, "new"), None).await?;
    created(&url(&broker, "new"), "three", &[]).await?;
    ensure!(new.next_data(WAIT_TIMEOUT).await?.data == "three");
    let gone = client(Version::Http1).get(url(&broker, "removed")).send().await?;
    ensure!(gone.status() == 404, "{gone:?}");
    Ok(())
}

#[tokio::test]
async fn an_invalid_channel_or_file_hurts_only_itself() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut folder = ChannelFolder::new(&[channel("good", 1), channel("worse", 1)])?;
    let broker = start(&nats, &folder).await?;
    let mut good = EventStream::connect(&url(&broker, "good"), None).await?;
    let mut worse = EventStream::connect(&url(&broker, "worse"), None).await?;
    folder.write_raw(vec![
        ("good", channel("good", 2).to_sparse_json()),
        ("worse", json!({"namespace": "shop", "name": "worse", "generation": 2, "delivery": {"from": "never"}})),
        ("bad", json!({"namespace": "shop", "name": "bad", "generation": 2, "access": {"anonymous": 7}})),
        ("", json!({"name": "nameless"})),
    ])?;
    reported(&broker, "good", Some(2), false).await?;
    reported(&broker, "worse", Some(1), true).await?;
    reported(&broker, "bad", None, true).await?;
    let seen = status(&broker).await?;
    let bad = seen.channel("shop/bad").and_then(|bad| bad.problem.clone());
    ensure!(bad.is_some_and(|said| said.starts_with("access.anonymous: ")), "{seen:?}");
    ensure!(seen.problems.len() == 1 && !seen.channels[0].live, "{seen:?}");
    for (name, stream) in [("good", &mut good), ("worse", &mut worse)] {
        created(&url(&broker, name), "one", &[]).await?;
        ensure!(stream.next_data(WAIT_TIMEOUT).await?.data == "one", "{name}");
    }
    let metrics = broker.metrics().await?;
    ensure!((metrics.metric("eventcast_config_rejected_channels", &[]) - 2.0).abs() < 0.1);

    folder.write_file(&ChannelFolder::file_of("good"), "{")?;
    eventually("the file is reported", WAIT_TIMEOUT, || async {
        let status = status(&broker).await?;
        let file = ChannelFolder::file_of("good");
        ensure!(status.problems.iter().any(|said| said.starts_with(&file)), "{status:?}");
        Ok(())
    })
    .await?;
    created(&url(&broker, "good"), "two", &[]).await?;
    ensure!(good.next_data(WAIT_TIMEOUT).await?.data == "two");
    folder.write(&[channel("good", 3), channel("worse", 3), channel("bad", 3)])?;
    for name in ["good", "worse", "bad"] {
        reported(&broker, name, Some(3), false).await?;
    }
    ensure!(status(&broker).await?.problems.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_broker_waits_for_its_folder_of_channels() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let parent = process::folder("eventcast-channels-")?;
    let path = parent.path().join("late");
    let mut broker = Broker::launch(&nats.url(), |config| {
        config.channels.clear();
        config.channels_folder = Some(path.clone());
    })
    .await?;
    let http = client(Version::Http1);
    let ready = async || anyhow::Ok(http.get(broker.admin_url("/readyz")).send().await?);
    eventually("it waits for the folder", WAIT_TIMEOUT, || async {
        let said = ready().await?.text().await?;
        ensure!(said == "waiting for the folder of channels\n", "{said}");
        Ok(())
    })
    .await?;
    let seen = status(&broker).await?;
    ensure!(
        seen.problems.len() == 1 && seen.problems[0].starts_with("channelsFolder: "),
        "{seen:?}"
    );
    let folder = ChannelFolder::new(&[channel("orders", 1)])?;
    std::os::unix::fs::symlink(folder.path(), &path)?;
    broker.ready(WAIT_TIMEOUT).await?;
    ensure!(status(&broker).await?.problems.is_empty());
    EventStream::connect(&url(&broker, "orders"), None).await?;
    Ok(())
}

#[tokio::test]
async fn check_reads_the_folder_of_channels() -> Result<()> {
    init_tracing();
    let mut folder = ChannelFolder::new(&[channel("orders", 1)])?;
    let file = process::folder("eventcast-check-")?;
    let path = file.path().join("config.yaml");
    std::fs::write(&path, format!("channelsFolder: {}\n", folder.path().display()))?;
    let check = async || Cli::new(&["check", "--config"]).arg(&path).output(WAIT_TIMEOUT).await;
    let said = check().await?;
    ensure!(said.status.success(), "{}", said.stderr);
    let bad =
        json!({"namespace": "shop", "name": "a", "colour": "red", "delivery": {"from": "never"}});
    folder.write_raw(vec![("a", bad)])?;
    folder.write_file("channels-f.json", "rubbish")?;
    let said = check().await?;
    ensure!(said.status.code() == Some(EXIT_USAGE), "{}", said.stderr);
    let file = ChannelFolder::file_of("a");
    for problem in [
        "channels-f.json: expected value",
        "shop/a: delivery.from: ",
        &format!("{file}: shop/a: colour: unknown key"),
    ] {
        ensure!(said.stderr.contains(problem), "{problem} not in\n{}", said.stderr);
    }
    Ok(())
}

//! A channel that moves to other brokers: its clients are sent away at an even pace, and miss nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::ChannelConfig;
use eventcast_tests::{
    channel_folder::ChannelFolder,
    eventually,
    http::{Http1Connection, Version, client, created, publish},
    init_tracing,
    nats::NatsServer,
    sse::{EventStream, Subscribe},
};
use tokio::{task::JoinSet, time::Instant};

use super::pool::{WAIT_TIMEOUT, channel, reported, start, status, url};

const DRAIN_SECONDS: u64 = 3;

fn leaving(name: &str, generation: i64) -> ChannelConfig {
    ChannelConfig { leaving: true, ..channel(name, generation) }
}

/// Reads numbers from `next` up to `last` or to the end of the stream. Returns the next one, and the reason of the end.
async fn read(stream: &mut EventStream, mut next: u64, last: u64) -> Result<(u64, Option<String>)> {
    let mut reason = None;
    while next <= last {
        let Ok(event) = tokio::time::timeout(WAIT_TIMEOUT, stream.next()).await else {
            anyhow::bail!("nothing comes after {next}");
        };
        match event? {
            None => break,
            Some(event) if event.event_type == "eventcast.closing" => {
                reason = event.json()?["reason"].as_str().map(str::to_owned);
            }
            Some(event) if event.is_control() => {
                ensure!(event.event_type == "eventcast.cursor", "{event:?}");
            }
            Some(event) => {
                let number: u64 = event.data.parse()?;
                ensure!(number == next, "{number} instead of {next}");
                next += 1;
            }
        }
    }
    Ok((next, reason))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_channel_that_moves_miss_nothing() -> Result<()> {
    const STREAMS: usize = 30;
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut old_folder = ChannelFolder::new(&[channel("moves", 1), channel("stays", 1)])?;
    let new_folder = ChannelFolder::new(&[channel("moves", 1)])?;
    let mut old = start(&nats, &old_folder).await?;
    old.reconfigure(|config| {
        config.shutdown.drain_seconds = DRAIN_SECONDS;
        config.shutdown.grace_seconds = DRAIN_SECONDS + 5;
    })?;
    let new = start(&nats, &new_folder).await?;
    eventually("the configuration is applied", WAIT_TIMEOUT, || async {
        ensure!(old.log().contains("applied the new configuration"));
        anyhow::Ok(())
    })
    .await?;
    let mut stays = EventStream::connect(&url(&old, "stays"), None).await?;
    let mut streams = Vec::new();
    for i in 0..STREAMS {
        let version = if i % 2 == 0 { Version::Http1 } else { Version::Http2 };
        let request = Subscribe { url: url(&old, "moves"), version, ..Subscribe::default() };
        let mut stream = EventStream::open(request).await?;
        stream.next_of("eventcast.cursor", WAIT_TIMEOUT).await?;
        streams.push(stream);
    }
    let last = 150; // published for longer than the streams take to move
    let to = url(&new, "moves");
    let publisher = tokio::spawn({
        let url = to.clone();
        async move {
            for number in 1..=last {
                created(&url, &number.to_string(), &[]).await?;
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
            anyhow::Ok(())
        }
    });
    let mut clients = JoinSet::new();
    for mut stream in streams {
        let to = to.clone();
        clients.spawn(async move {
            let (next, reason) = read(&mut stream, 1, last).await?;
            let moved_at = Instant::now();
            ensure!(reason.as_deref() == Some("moving"), "{reason:?}");
            let mut stream = EventStream::connect(&to, stream.cursor()).await?;
            let (next, reason) = read(&mut stream, next, last).await?;
            ensure!(next == last + 1 && reason.is_none(), "{next} {reason:?}");
            anyhow::Ok(moved_at)
        });
    }
    old_folder.write(&[leaving("moves", 1), channel("stays", 1)])?;
    let mut ends = Vec::new();
    while let Some(client) = clients.join_next().await {
        ends.push(client??);
    }
    publisher.await??;
    ends.sort_unstable();
    let took = ends[STREAMS - 1] - ends[0];
    ensure!(took > Duration::from_secs(DRAIN_SECONDS) / 2, "all at once: {took:?}");
    created(&url(&old, "stays"), "one", &[]).await?;
    ensure!(stays.next_data(WAIT_TIMEOUT).await?.data == "one", "another channel is not affected");
    // Whatever was counted before the first scrape is in the sum of all channels.
    let counted = old.metric("eventcast_disconnects_total", &[("reason", "moving")]).await?;
    ensure!((counted - STREAMS as f64).abs() < 0.1, "{counted}");
    Ok(())
}

#[tokio::test]
async fn a_channel_that_moves_answers_no_request_until_it_stays() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut folder = ChannelFolder::new(&[leaving("orders", 1)])?;
    let broker = start(&nats, &folder).await?;
    let path = "/channels/shop/orders/events";
    let mut connection = Http1Connection::connect(broker.address()).await?;
    connection.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await?;
    let head = connection.read_head().await?;
    ensure!(head.status == 200 && head.header("connection") == Some("close"), "{head:?}");
    let body = String::from_utf8(connection.body().await?)?;
    ensure!(body.contains("retry: ") && body.contains(r#"{"reason":"moving""#), "{body}");
    connection.closed().await?;
    let refused = publish(&url(&broker, "orders"), "one", &[]).await?;
    ensure!(refused.status == 503 && refused.header("retry-after").is_some(), "{refused:?}");
    ensure!(refused.json["type"] == "urn:eventcast:problem:moving", "{refused:?}");
    for accept in ["application/json", "text/event-stream"] {
        let request = client(Version::Http2).head(url(&broker, "orders")).header("accept", accept);
        ensure!(request.send().await?.status() == 503);
    }
    // Its log is parked: it counts with all others that are.
    let rejected = [("channel", ""), ("reason", "moving")];
    ensure!((broker.metric("eventcast_rejects_total", &rejected).await? - 1.0).abs() < 0.1);

    folder.write(&[channel("orders", 2)])?;
    reported(&broker, "orders", Some(2), false).await?;
    let mut stream = EventStream::connect(&url(&broker, "orders"), None).await?;
    created(&url(&broker, "orders"), "one", &[]).await?;
    ensure!(stream.next_data(WAIT_TIMEOUT).await?.data == "one");
    // It leaves after all, comes back meanwhile, and goes.
    folder.write(&[leaving("orders", 3)])?;
    let closing = stream.next_of("eventcast.closing", WAIT_TIMEOUT).await?;
    ensure!(closing.json()?["reason"] == "moving", "{closing:?}");
    folder.write(&[channel("orders", 4)])?;
    reported(&broker, "orders", Some(4), false).await?;
    let mut stream = EventStream::connect(&url(&broker, "orders"), stream.cursor()).await?;
    created(&url(&broker, "orders"), "two", &[]).await?;
    ensure!(stream.next_data(WAIT_TIMEOUT).await?.data == "two");
    tokio::time::sleep(Duration::from_secs(2)).await; // longer than late streams are looked for
    folder.write(&[])?;
    let closing = stream.next_of("eventcast.closing", WAIT_TIMEOUT).await?;
    ensure!(closing.json()?["reason"] == "channel-removed", "{closing:?}");
    let seen = status(&broker).await.context("no status")?;
    ensure!(seen.channels.is_empty(), "{seen:?}");
    Ok(())
}

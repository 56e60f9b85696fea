//! Attacks with many requests, or with readers that do not read: A15, A19, A21, A22. Limits hold and are counted by reason;
//! memory stays bounded; other clients do not notice.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    broker::networks,
    http::{Http1Connection, Publish, Version},
    sse::{EventStream, Subscribe},
    wire::{BrokerWithNats, EVENTS, HTTP_VERSIONS, RawResponse},
};
use futures_util::future::try_join_all;
use serde_json::json;

const WAIT_TIMEOUT: Duration = Duration::from_secs(8);
const MIB: u64 = 1 << 20;

/// A15: many replays from the oldest cursor share the pages that are read: the log is not read once for each of them, and
/// live subscribers are served meanwhile.
#[tokio::test]
async fn a15_replays_from_the_oldest_cursor_share_what_is_read() -> Result<()> {
    let broker = BrokerWithNats::start(|config| config.memory.tail_events = 16).await?;
    let line = json!({"data": "x".repeat(1000)}).to_string();
    let batch = format!("{line}\n").repeat(1000);
    for _ in 0..3 {
        let batch = Publish::new(batch.clone()).header("Content-Type", "application/x-ndjson");
        assert_eq!(broker.send(&batch).await?.status, 201);
    }
    let last = broker.publish("last").await?;
    let mut live = broker.open_stream(Version::Http1, "").await?;
    let before = broker.rss()?;
    for _ in 0..3 {
        let replays = (0..20).map(|i| {
            let broker = &broker;
            async move {
                let query = "?from=earliest";
                let mut stream = broker.subscribe(HTTP_VERSIONS[i % 2], query, &[]).await?;
                stream.read_until(b"data: last\n").await
            }
        });
        for bytes in try_join_all(replays).await? {
            let ids = bytes.windows(5).filter(|w| w == b"\nid: ").count();
            assert_eq!(ids, 3001, "the cursor of the beginning, and each event once");
        }
    }
    // 60 replays of 3001 events: 12 pages of 256, some of them read again while the newest page is not full
    let pages = broker.metric("eventcast_page_loads_total", &[]).await?;
    ensure!(pages <= 60.0, "{pages} pages were read");
    let grown = broker.rss()?.saturating_sub(before) / MIB;
    ensure!(grown < 128, "{grown} MiB more than before");
    broker.send(&Publish::new("live")).await?;
    assert_eq!(live.data().await?, "live");
    let mut resumed = broker.subscribe(Version::Http1, "", &[("Last-Event-ID", &last)]).await?;
    assert_eq!(resumed.data().await?, "live");
    Ok(())
}

/// A19: a client that never reads is disconnected at the stall deadline, and counted; its buffered bytes are bounded; its
/// cursor stays valid, and no other client waits.
#[tokio::test]
async fn a19_a_client_that_never_reads_is_disconnected_and_costs_little() -> Result<()> {
    let broker = BrokerWithNats::start(|config| {
        config.channels[0].delivery.stall_seconds = 2;
        config.memory.tail_bytes = 8 << 20;
    })
    .await?;
    let begun = broker.publish("begin").await?;
    let mut reader = broker.open_stream(Version::Http1, "").await?;
    let mut stalled_connections = Vec::new();
    for _ in 0..30 {
        let mut connection = Http1Connection::connect_with(broker.address(), Some(4096)).await?;
        connection.send(format!("GET {EVENTS} HTTP/1.1\r\nHost: a\r\n\r\n")).await?;
        connection.read_head().await?;
        stalled_connections.push(connection);
    }
    broker.wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, |open| open == 31.0).await?;
    let before = broker.rss()?;
    let mut most = 0;
    for n in 0..100 {
        broker.publish(format!("{n} {}", "x".repeat(200 << 10))).await?;
        let data = reader.data().await?;
        ensure!(data.starts_with(&format!("{n} ")), "who reads is served at once: {n}");
        most = most.max(broker.rss()?);
    }
    let stalled = [("reason", "stalled")];
    let all = |count| count == 30.0;
    broker.wait_for_metric("eventcast_disconnects_total", &stalled, WAIT_TIMEOUT, all).await?;
    broker.wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, |open| open == 1.0).await?;
    broker.wait_for_metric("eventcast_connections", &[], WAIT_TIMEOUT, |open| open == 1.0).await?;
    // 20 MB were published; 30 clients with a queue of it all would hold 600 MB
    let grown = most.saturating_sub(before) / MIB;
    ensure!(grown < 80, "{grown} MiB more than before");
    let again =
        Subscribe { url: broker.url(EVENTS), last_event_id: Some(begun), ..Subscribe::default() };
    let mut again = EventStream::open(again).await?;
    for n in 0..100 {
        let data = again.next_data(WAIT_TIMEOUT).await?.data;
        ensure!(data.starts_with(&format!("{n} ")), "resumed: {}", &data[..20]);
    }
    Ok(())
}

/// A21: the limits of the process, of an address and of a channel: each refuses softly and says which it was.
#[tokio::test]
async fn a21_each_limit_refuses_softly_and_counts_its_reason() -> Result<()> {
    let from = |address: &'static str| vec![("X-Forwarded-For", address)];
    for (limit, others, refused, admitted) in [
        ("limit-process", ["1.1.1.1", "2.2.2.2"], "3.3.3.3", None),
        ("limit-address", ["1.1.1.1", "1.1.1.1"], "9.9.9.9, 1.1.1.1", Some("1.1.1.1, 3.3.3.3")),
        ("limit-channel", ["1.1.1.1", "2.2.2.2"], "3.3.3.3", None),
    ] {
        let broker = BrokerWithNats::start(|config| {
            config.limits.trusted_proxies = networks(["127.0.0.0/8"]);
            match limit {
                "limit-process" => config.limits.subscribers = 2,
                "limit-address" => config.limits.subscribers_per_address = 2,
                _ => config.channels[0].delivery.max_subscribers = 2,
            }
        })
        .await?;
        let mut open = Vec::new();
        for (version, address) in HTTP_VERSIONS.into_iter().zip(others) {
            let mut stream = broker.subscribe(version, "", &from(address)).await?;
            stream.read_retry().await?;
            open.push(stream);
        }
        for version in HTTP_VERSIONS {
            let mut stream = broker.subscribe(version, "", &from(refused)).await?;
            assert_eq!(stream.read_closing().await?.0, "overloaded", "{limit}");
        }
        let counted = |reason| [("reason", reason)];
        for reason in ["limit-process", "limit-address", "limit-channel"] {
            let count = broker.metric("eventcast_rejects_total", &counted(reason)).await?;
            assert_eq!(count, if reason == limit { 2.0 } else { 0.0 }, "{reason} at {limit}");
        }
        if let Some(address) = admitted {
            let mut stream = broker.subscribe(Version::Http1, "", &from(address)).await?;
            broker.publish("for the other").await?;
            assert_eq!(stream.data().await?, "for the other", "another address");
        }
        open.pop();
        let left = if admitted.is_some() { 1.0 } else { 1.5 };
        broker
            .wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, |open| open <= left)
            .await?;
        let mut stream = broker.subscribe(Version::Http1, "", &from(refused)).await?;
        broker.publish("room again").await?;
        assert_eq!(stream.data().await?, "room again", "{limit}");
    }
    Ok(())
}

/// A21: a broker without file descriptors goes on accepting when there are some again.
#[tokio::test]
async fn a21_running_out_of_file_descriptors_does_not_end_the_accept_loop() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let mut stream = broker.open_stream(Version::Http1, "").await?;
    let pid = broker.pid()?;
    let in_use = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    let limit = format!("--nofile={}", in_use + 20);
    let status = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status();
    ensure!(status.context("prlimit is part of util-linux")?.success(), "prlimit failed");
    let mut flood = Vec::new();
    for _ in 0..60 {
        flood.push(Http1Connection::connect(broker.address()).await?);
    }
    // the admin port has no descriptors either: what the broker says comes from its log
    eventcast_tests::eventually("it notices", WAIT_TIMEOUT, || async {
        broker.log().contains("failed to accept").then_some(())
    })
    .await?;
    drop(flood);
    broker.wait_for_metric("eventcast_connections", &[], WAIT_TIMEOUT, |open| open == 1.0).await?;
    ensure!(broker.metric("eventcast_accept_errors_total", &[]).await? >= 1.0, "counted");
    let mut late = broker.open_stream(Version::Http1, "").await?;
    broker.publish("after the flood").await?;
    assert_eq!(stream.data().await?, "after the flood");
    assert_eq!(late.data().await?, "after the flood");
    Ok(())
}

/// A21: a storm of connections leaves nothing behind.
#[tokio::test]
async fn a21_a_storm_of_connections_leaves_nothing_behind() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let mut stream = broker.open_stream(Version::Http1, "").await?;
    let storm = (0..20).map(|i| {
        let broker = &broker;
        async move {
            for n in 0..100 {
                let mut connection = Http1Connection::connect(broker.address()).await?;
                match (i + n) % 4 {
                    0 => {} // a connection and nothing else
                    1 => connection.send("GET /chann").await?,
                    2 => {
                        connection.send(format!("GET {EVENTS} HTTP/1.1\r\nHost: a\r\n\r\n")).await?
                    }
                    _ => connection.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?,
                }
                if n % 2 == 0 {
                    connection.cut()?;
                }
            }
            anyhow::Ok(())
        }
    });
    try_join_all(storm).await?;
    broker.publish("after the storm").await?;
    assert_eq!(stream.data().await?, "after the storm");
    broker.wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, |open| open == 1.0).await?;
    broker.wait_for_metric("eventcast_connections", &[], WAIT_TIMEOUT, |open| open == 1.0).await?;
    Ok(())
}

/// A22: subscribers cost the log nothing: a herd that reconnects is served by the one consumer that existed before.
#[tokio::test]
async fn a22_a_herd_creates_no_consumers_and_reconnects_spread_out() -> Result<()> {
    let mut broker = BrokerWithNats::start(|_| {}).await?;
    broker.publish("0").await?;
    let herd = async |broker: &BrokerWithNats| -> Result<Vec<RawResponse>> {
        let coming = (0..100).map(|i| async move {
            broker
                .subscribe(
                    HTTP_VERSIONS[i % 2],
                    "",
                    &[("Last-Event-ID", &*cursor_of(broker).await?)],
                )
                .await
        });
        try_join_all(coming).await
    };
    let consumers = async |broker: &BrokerWithNats| -> Result<usize> {
        let jetstream = broker.nats.jetstream().await?;
        let mut stream = jetstream.get_stream("SSE_default_demo").await?;
        Ok(stream.info().await?.state.consumer_count)
    };
    let mut streams = herd(&broker).await?;
    ensure!(consumers(&broker).await? <= 1, "one a broker");
    broker.terminate()?;
    let mut retries = std::collections::BTreeSet::new();
    for stream in &mut streams {
        retries.insert(stream.read_closing().await?.1);
    }
    ensure!(retries.len() > 50, "they would come back together: {retries:?}");
    broker.wait_exit(WAIT_TIMEOUT).await?;
    broker.restart().await?;
    let mut streams = herd(&broker).await?;
    ensure!(consumers(&broker).await? <= 2, "one a broker, and the last one's until it expires");
    broker.publish("1").await?;
    for stream in &mut streams {
        assert_eq!(stream.data().await?, "1");
    }
    Ok(())
}

/// The newest cursor.
async fn cursor_of(broker: &BrokerWithNats) -> Result<String> {
    let response =
        broker.request(Version::Http1, "GET", "/channels/default/demo", &[]).await?.json().await?;
    Ok(response["last"].as_str().context("no last")?.to_owned())
}

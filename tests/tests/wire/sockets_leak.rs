//! A hundred thousand connections that come and go, in every unfinished state, leak nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    eventually,
    http::{Http1Connection, Version},
    sinks::SHARD_COUNTS,
    wire::{BrokerWithNats, EVENTS},
};
use tokio::{task::JoinSet, time::timeout};

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;
/// Connections that come and go, of each sink.
const CONNECTIONS: u64 = 100_000;
/// Connections at once.
const PARALLEL: u64 = 16;

/// Connects and leaves, half of the time before the response is there. The reset leaves no TIME_WAIT behind.
async fn connect_and_leave(address: &str, kind: u64) -> Result<()> {
    let query = ["", "?topic=user.1", "?from=last:3"][fastrand::usize(..3)];
    let get = format!("GET {EVENTS}{query} HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut connection = Http1Connection::connect(address).await?;
    match kind % 8 {
        0 => {} // nothing is asked
        1 => connection.send(&get[..fastrand::usize(1..get.len() - 1)]).await?,
        2 => connection.send(&get).await?, // and no answer is waited for
        3 => {
            connection.send(&get).await?;
            let moment = Duration::from_micros(fastrand::u64(..2000));
            drop(timeout(moment, connection.read_head()).await);
        }
        _ => {
            connection.send(&get).await?;
            ensure!(connection.read_head().await?.status == 200);
        }
    }
    connection.cut()
}

/// `count` connections, [`PARALLEL`] at once.
async fn connections(broker: &BrokerWithNats, count: u64) -> Result<()> {
    let mut clients = JoinSet::new();
    for _ in 0..PARALLEL {
        let address = broker.address().to_owned();
        clients.spawn(async move {
            for n in 0..count / PARALLEL {
                connect_and_leave(&address, n).await.with_context(|| format!("connection {n}"))?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(())
}

/// The broker has noticed that every client is gone: its gauges, and no more open files than `files`.
async fn empty(broker: &BrokerWithNats, files: usize) -> Result<()> {
    for gauge in ["eventcast_subscribers", "eventcast_connections"] {
        broker.wait_for_metric(gauge, &[], WAIT_TIMEOUT, |n| n == 0.0).await?;
    }
    // the connection of the scrape itself may be among them for a moment
    eventually("files are closed", WAIT_TIMEOUT, || async {
        let open = broker.open_files()?;
        ensure!(open <= files, "{open} open, {files} before");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_connections_leak_nothing() -> Result<()> {
    for shards in SHARD_COUNTS {
        let broker = BrokerWithNats::with_shards(shards, |_| {}).await?;
        broker.publish_numbers(0..10, 10..=1000).await?;
        connections(&broker, CONNECTIONS / 20).await?; // allocator, threads, connections to NATS: what is kept for good
        for gauge in ["eventcast_subscribers", "eventcast_connections"] {
            broker.wait_for_metric(gauge, &[], WAIT_TIMEOUT, |n| n == 0.0).await?;
        }
        let files = broker.open_files()?;
        connections(&broker, CONNECTIONS / 2).await?;
        empty(&broker, files).await?;
        let half = broker.rss()?;
        connections(&broker, CONNECTIONS / 2).await?;
        empty(&broker, files).await?;
        let grown = broker.rss()?.saturating_sub(half);
        ensure!(grown < 8 * MIB, "{shards} shards: {} KiB more than at half time", grown >> 10);
        let counted = broker.metric("eventcast_connects_total", &[]).await?;
        ensure!(counted >= CONNECTIONS as f64 / 2.0, "only {counted} became streams");
        let mut stream = broker.open_stream(Version::Http1, "").await?;
        broker.publish("as ever").await?;
        assert_eq!(stream.data().await?, "as ever");
    }
    Ok(())
}

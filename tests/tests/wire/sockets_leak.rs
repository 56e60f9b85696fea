//! A hundred thousand connections that come and go, in every unfinished state: nothing of them stays.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    eventually,
    http::{RawConn, Version},
    sinks::SINKS,
    wire::{EVENTS, Site},
};
use tokio::{task::JoinSet, time::timeout};

const SOON: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;
/// Connections that come and go, of each sink.
const VISITS: u64 = 100_000;
/// Connections at once.
const PARALLEL: u64 = 16;

/// Comes and goes: half of the time before it has what it came for. Its reset leaves no TIME_WAIT behind.
async fn visit(address: &str, kind: u64) -> Result<()> {
    let query = ["", "?topic=user.1", "?from=last:3"][fastrand::usize(..3)];
    let get = format!("GET {EVENTS}{query} HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut connection = RawConn::connect(address).await?;
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

/// `count` visits, [`PARALLEL`] at once.
async fn visits(site: &Site, count: u64) -> Result<()> {
    let mut visitors = JoinSet::new();
    for _ in 0..PARALLEL {
        let address = site.broker.address().to_owned();
        visitors.spawn(async move {
            for n in 0..count / PARALLEL {
                visit(&address, n).await.with_context(|| format!("visit {n}"))?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = visitors.join_next().await {
        ended??;
    }
    Ok(())
}

/// Everybody has gone, as the broker sees it: gauges, and as many open files as `files`.
async fn empty(site: &Site, files: usize) -> Result<()> {
    for gauge in ["eventcast_subscribers", "eventcast_connections"] {
        site.metric(gauge, &[], SOON, |n| n == 0.0).await?;
    }
    // the connection of the scrape itself may be among them for a moment
    eventually("files are closed", SOON, || async {
        let open = site.open_files()?;
        ensure!(open <= files, "{open} open, {files} before");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_hundred_thousand_connections_stays() -> Result<()> {
    for shards in SINKS {
        let site = Site::with_shards(shards, |_| {}).await?;
        site.publish_numbers(0..10, 10..=1000).await?;
        visits(&site, VISITS / 20).await?; // allocator, threads, connections to NATS: what is kept for good
        for gauge in ["eventcast_subscribers", "eventcast_connections"] {
            site.metric(gauge, &[], SOON, |n| n == 0.0).await?;
        }
        let files = site.open_files()?;
        visits(&site, VISITS / 2).await?;
        empty(&site, files).await?;
        let half = site.broker.rss()?;
        visits(&site, VISITS / 2).await?;
        empty(&site, files).await?;
        let grown = site.broker.rss()?.saturating_sub(half);
        ensure!(grown < 8 * MIB, "{shards} shards: {} KiB more than at half time", grown >> 10);
        let counted = site.broker.metric("eventcast_connects_total", &[]).await?;
        ensure!(counted >= VISITS as f64 / 2.0, "only {counted} became streams");
        let mut stream = site.listen(Version::One, "").await?;
        site.publish("as ever").await?;
        assert_eq!(stream.data().await?, "as ever");
    }
    Ok(())
}

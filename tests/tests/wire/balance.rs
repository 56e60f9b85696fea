//! Closing streams for balance: an order of the operator, its pace, its bounds, and whom it spares.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::{
    broker_status::{self, BrokerStatus},
    config::{BrokerConfig, Probe},
    orders::{FORMAT, Order},
};
use eventcast_tests::{
    broker::Broker,
    eventually,
    http::{Http1Connection, Publish, Version, client},
    init_tracing,
    nats::NatsServer,
    process::folder,
    sse::{EventStream, Subscribe},
    wire::EVENTS,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

const WAIT: Duration = Duration::from_secs(20);
/// Longer than the broker takes to see a new order, and to close the streams of these tests at 100 a second.
const QUIET: Duration = Duration::from_secs(3);

/// The file with the order for a broker.
pub(super) struct OrderFile {
    folder: TempDir,
}

impl OrderFile {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { folder: folder("eventcast-orders-")? })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("orders")
    }

    /// The broker follows what is here, also with new streams.
    pub(super) fn configure(&self, config: &mut BrokerConfig, per_second: u32) {
        config.balancing.orders_file = Some(self.path());
        config.balancing.shed_per_second = per_second;
        config.balancing.min_stream_seconds = 0;
    }

    /// Replaces the content at once, as the kubelet does.
    fn write(&self, content: impl AsRef<[u8]>) -> Result<()> {
        let new = self.folder.path().join("new");
        fs::write(&new, content)?;
        Ok(fs::rename(new, self.path())?)
    }

    pub(super) fn order(&self, id: &str, ceiling: u64, seconds: u64) -> Result<()> {
        self.write(order(id, ceiling, seconds, 0)?)
    }
}

/// An order that was written so many seconds ago.
fn order(id: &str, ceiling: u64, seconds: u64, age: i64) -> Result<Vec<u8>> {
    let at = jiff::Timestamp::now().as_second() - age;
    Ok(serde_json::to_vec(&Order { format: FORMAT, id: id.into(), at, ceiling, seconds })?)
}

pub(super) async fn state(broker: &Broker) -> Result<BrokerStatus> {
    let answer = client(Version::Http1).get(broker.admin_url(broker_status::PATH)).send().await?;
    Ok(serde_json::from_slice(&answer.bytes().await?)?)
}

/// Waits until the broker reports so many streams and closings.
pub(super) async fn settled(broker: &Broker, streams: u64, shed: u64) -> Result<()> {
    eventually("streams and closings", WAIT, || async {
        let state = state(broker).await?;
        let found = (state.streams, state.shed);
        ensure!(found == (Some(streams), Some(shed)), "{found:?}");
        anyhow::Ok(())
    })
    .await
}

/// Waits until the broker has seen the order `id`.
async fn seen(broker: &Broker, id: &str) -> Result<()> {
    eventually("the broker follows the order", WAIT, || async {
        let order = state(broker).await?.order;
        ensure!(order.as_deref() == Some(id), "{order:?}");
        anyhow::Ok(())
    })
    .await
}

async fn open(broker: &Broker, version: Version) -> Result<EventStream> {
    let request = Subscribe { url: broker.events_url(""), version, ..Subscribe::default() };
    let mut stream = EventStream::open(request).await?;
    stream.next_of("eventcast.cursor", WAIT).await?;
    Ok(stream)
}

/// So many streams, each over a connection of its own, in both versions of HTTP.
async fn open_many(broker: &Broker, count: usize) -> Result<Vec<EventStream>> {
    let mut streams = Vec::new();
    for i in 0..count {
        let version = if i % 2 == 0 { Version::Http1 } else { Version::Http2 };
        streams.push(open(broker, version).await?);
    }
    Ok(streams)
}

/// Reads to the end. Returns the reason and the delay that the client is told.
async fn closing(stream: &mut EventStream) -> Result<(String, u64)> {
    let closing = stream.next_of("eventcast.closing", WAIT).await?.json()?;
    let delay = closing["retry_ms"].as_u64().context("no retry_ms")?;
    ensure!(stream.retry() == Some(delay), "retry: says something else");
    let end = timeout(WAIT, stream.next()).await.context("it does not end")??;
    ensure!(end.is_none(), "something follows: {end:?}");
    Ok((closing["reason"].as_str().unwrap_or_default().to_owned(), delay))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_closed_at_an_even_pace_down_to_the_ceiling() -> Result<()> {
    const STREAMS: u64 = 60;
    const CEILING: u64 = 35;
    const PACE: u32 = 10; // in a second
    init_tracing();
    let (nats, file) = (NatsServer::start().await?, OrderFile::new()?);
    let broker = Broker::start(&nats.url(), |config| file.configure(config, PACE)).await?;
    let rebalance = [("reason", "rebalance")];
    let metrics = broker.metrics().await?;
    ensure!(metrics.metric("eventcast_disconnects_total", &rebalance).abs() < 0.1);
    ensure!(metrics.metric("eventcast_shed_ceiling", &[]).abs() < 0.1);
    let mut tasks = JoinSet::new();
    for mut stream in open_many(&broker, usize::try_from(STREAMS)?).await? {
        tasks.spawn(async move {
            let (reason, delay) = closing(&mut stream).await?;
            anyhow::Ok((Instant::now(), reason, delay))
        });
    }
    settled(&broker, STREAMS, 0).await?;
    let began = Instant::now();
    file.order("one", CEILING, 300)?;
    let mut ends = Vec::new();
    while ends.len() < usize::try_from(STREAMS - CEILING)? {
        let ended = timeout(WAIT, tasks.join_next()).await.context("too few are closed")?;
        ends.push(ended.context("no stream is left")???);
    }
    let took = began.elapsed();
    let even = Duration::from_secs(STREAMS - CEILING) / PACE;
    ensure!(took > even - Duration::from_millis(400), "too fast: {took:?}");
    ends.sort_unstable();
    let first_half = ends[ends.len() / 2].0 - began;
    ensure!(first_half > even / 3, "not even: half within {first_half:?}");
    for (_, reason, delay) in &ends {
        ensure!(reason == "rebalance", "{reason}");
        ensure!((1000..=3000).contains(delay), "not the reconnect delay of the channel: {delay}");
    }
    settled(&broker, CEILING, STREAMS - CEILING).await?;
    sleep(QUIET).await;
    settled(&broker, CEILING, STREAMS - CEILING).await.context("below the ceiling")?;
    ensure!(state(&broker).await?.order.as_deref() == Some("one"));
    let metrics = broker.metrics().await?;
    let counted = metrics.metric("eventcast_disconnects_total", &rebalance);
    ensure!((counted - 25.0).abs() < 0.1, "{counted}");
    let ceiling = metrics.metric("eventcast_shed_ceiling", &[]);
    ensure!((ceiling - 35.0).abs() < 0.1, "{ceiling}");

    // A stream that comes while the order is in force is one too many.
    let newcomer = open(&broker, Version::Http1).await?;
    settled(&broker, CEILING, STREAMS - CEILING + 1).await?;
    drop(newcomer);
    Ok(())
}

#[tokio::test]
async fn whatever_is_ordered_no_more_are_closed_than_there_were() -> Result<()> {
    init_tracing();
    let (nats, file) = (NatsServer::start().await?, OrderFile::new()?);
    let broker = Broker::start(&nats.url(), |config| file.configure(config, 100)).await?;
    let mut streams = open_many(&broker, 21).await?;
    file.order("one", 5, 300)?;
    settled(&broker, 5, 16).await?;
    // Of those that come back, five more may be closed: as many in all as there were.
    streams.extend(open_many(&broker, 16).await?);
    file.order("two", 0, 300)?;
    settled(&broker, 16, 21).await?;
    file.order("three", 1, 300)?;
    seen(&broker, "three").await?;
    sleep(QUIET).await;
    settled(&broker, 16, 21).await
}

#[tokio::test]
async fn young_streams_those_behind_and_probes_stay() -> Result<()> {
    init_tracing();
    let (nats, file) = (NatsServer::start().await?, OrderFile::new()?);
    let mut broker = Broker::start(&nats.url(), |config| {
        file.configure(config, 100);
        config.balancing.min_stream_seconds = 3600;
    })
    .await?;
    let line = format!("{}\n", json!({"data": "x".repeat(8 << 10)}));
    let batch = Publish::new(line.repeat(400)).header("Content-Type", "application/x-ndjson");
    ensure!(batch.send(&client(Version::Http1), &broker.events_url("")).await?.status == 201);
    let mut behind = Vec::new();
    for _ in 0..3 {
        let url = broker.events_url("from=earliest");
        let request = Subscribe { url, receive_buffer: Some(4096), ..Subscribe::default() };
        behind.push(EventStream::open(request).await?);
    }
    let mut at_head = open_many(&broker, 2).await?;
    let url = broker.events_url("");
    broker.reconfigure(|config| {
        let channel = &mut config.channels[0];
        channel.delivery.heartbeat_seconds = 1;
        channel.probe = Some(Probe { stream_seconds: 8, ..Probe::new(&url) });
    })?;
    let probing = [("channel", "default/demo")];
    eventually("the stream of the probe is open", WAIT, || async {
        let metrics = broker.metrics().await?;
        let connections = metrics.metric("eventcast_stream_connections", &[]);
        ensure!(connections > 5.5, "{connections}");
        let subscribers = metrics.metric("eventcast_subscribers", &probing);
        ensure!((subscribers - 5.0).abs() < 0.1, "the probe is counted: {subscribers}");
        anyhow::Ok(())
    })
    .await?;
    ensure!(state(&broker).await?.streams == Some(5), "the probe is no stream of a client");
    file.order("one", 0, 300)?;
    seen(&broker, "one").await?;
    sleep(QUIET).await;
    settled(&broker, 5, 0).await.context("all are too young")?;
    // The configuration is followed while an order is in force.
    broker.reconfigure(|config| config.balancing.min_stream_seconds = 0)?;
    settled(&broker, 3, 2).await?;
    for stream in &mut at_head {
        ensure!(closing(stream).await?.0 == "rebalance");
    }
    let report = broker.delivery_report(&url).await?;
    ensure!(report.problems.is_empty(), "the probe was cut: {:?}", report.problems);
    Ok(())
}

#[tokio::test]
async fn an_order_ends_and_does_not_begin_again() -> Result<()> {
    init_tracing();
    let (nats, file) = (NatsServer::start().await?, OrderFile::new()?);
    let broker = Broker::start(&nats.url(), |config| file.configure(config, 1)).await?;
    let _streams = open_many(&broker, 20).await?;
    let ended = async |id: &str| {
        seen(&broker, id).await?;
        eventually("the order has ended", WAIT, || async {
            let ceiling = broker.metric("eventcast_shed_ceiling", &[]).await?;
            ensure!(ceiling.abs() < 0.1, "{ceiling}");
            anyhow::Ok(())
        })
        .await?;
        let state = state(&broker).await?;
        anyhow::Ok((state.streams.unwrap_or_default(), state.shed.unwrap_or_default()))
    };
    file.order("one", 3, 5)?;
    let (streams, shed) = ended("one").await?;
    ensure!((1..=6).contains(&shed) && streams + shed == 20, "{streams}, {shed} closed");
    // Written anew with the same id it is the same order.
    file.order("one", 3, 300)?;
    sleep(QUIET).await;
    settled(&broker, streams, shed).await?;
    // One that is taken back ends at once.
    file.order("two", 3, 300)?;
    seen(&broker, "two").await?;
    file.write("")?;
    let (streams, shed) = ended("two").await?;
    sleep(QUIET).await;
    settled(&broker, streams, shed).await
}

#[tokio::test]
async fn rubbish_and_old_orders_are_ignored() -> Result<()> {
    init_tracing();
    let (nats, file) = (NatsServer::start().await?, OrderFile::new()?);
    let mut broker = Broker::start(&nats.url(), |config| file.configure(config, 100)).await?;
    let mut streams = open_many(&broker, 4).await?;
    let ignored = |broker: &Broker| broker.log().matches("ignored an order").count();
    let other = String::from_utf8(order("x", 0, 60, 0)?)?.replace(r#""format":1"#, r#""format":9"#);
    let unusable = [b"{".to_vec(), other.into(), order("old", 0, 60, 400)?, vec![0xff; 2 << 20]];
    for (known, content) in unusable.into_iter().enumerate() {
        file.write(content)?;
        eventually("it is ignored", WAIT, || async {
            let count = ignored(&broker);
            ensure!(count > known, "{count}");
            anyhow::Ok(())
        })
        .await?;
        sleep(QUIET).await;
        ensure!(ignored(&broker) == known + 1, "one warning for each:\n{}", broker.log());
    }
    settled(&broker, 4, 0).await?;
    ensure!(state(&broker).await?.order.is_none());
    // Without the file there is no order, whatever is in it.
    broker.reconfigure(|config| config.balancing.orders_file = None)?;
    sleep(QUIET).await;
    file.order("new", 0, 60)?;
    sleep(QUIET).await;
    settled(&broker, 4, 0).await?;
    broker.reconfigure(|config| file.configure(config, 100))?;
    settled(&broker, 0, 4).await?;
    ensure!(state(&broker).await?.order.as_deref() == Some("new"));
    streams.clear();
    Ok(())
}

#[tokio::test]
async fn nothing_is_closed_for_balance_in_a_shutdown_or_without_nats() -> Result<()> {
    init_tracing();
    let (mut nats, file) = (NatsServer::start().await?, OrderFile::new()?);
    let mut broker = Broker::start(&nats.url(), |config| {
        file.configure(config, 100);
        config.shutdown.delay_seconds = 4;
    })
    .await?;
    let mut streams = open_many(&broker, 8).await?;
    let connected = async |broker: &Broker, wanted: f64| {
        eventually("the connection to NATS", WAIT, || async {
            let connected = broker.metric("eventcast_nats_connected", &[]).await?;
            ensure!((connected - wanted).abs() < 0.1, "{connected}");
            anyhow::Ok(())
        })
        .await
    };
    nats.kill9()?;
    connected(&broker, 0.0).await?;
    file.order("one", 6, 300)?;
    seen(&broker, "one").await?;
    sleep(QUIET).await;
    settled(&broker, 8, 0).await?;
    nats.restart().await?;
    connected(&broker, 1.0).await?;
    settled(&broker, 6, 2).await?;
    broker.terminate()?;
    file.order("two", 0, 300)?;
    let mut reasons = Vec::new();
    for stream in &mut streams {
        reasons.push(closing(stream).await?.0);
    }
    reasons.sort_unstable();
    let expected = [&["draining"; 6][..], &["rebalance"; 2]].concat();
    ensure!(reasons == expected, "{reasons:?}");
    ensure!(broker.wait_exit(WAIT).await?.success());
    Ok(())
}

/// A client that keeps its connection would come back to the same broker.
#[tokio::test]
async fn the_socket_of_http1_closes_after_the_closing_frames() -> Result<()> {
    init_tracing();
    let (nats, file) = (NatsServer::start().await?, OrderFile::new()?);
    let broker = Broker::start(&nats.url(), |config| file.configure(config, 100)).await?;
    let mut connections = Vec::new();
    for _ in 0..2 {
        let mut connection = Http1Connection::connect(broker.address()).await?;
        connection.send(format!("GET {EVENTS} HTTP/1.1\r\nHost: x\r\n\r\n")).await?;
        ensure!(connection.read_head().await?.status == 200);
        connections.push(connection);
    }
    settled(&broker, 2, 0).await?;
    file.order("one", 1, 300)?;
    settled(&broker, 1, 1).await?;
    let mut ended = JoinSet::new();
    for mut connection in connections {
        ended.spawn(async move {
            let body = String::from_utf8(connection.body().await?)?;
            ensure!(body.contains(r#"{"reason":"rebalance""#), "{body}");
            connection.closed().await
        });
    }
    timeout(WAIT, ended.join_next()).await?.context("no connection")??
}

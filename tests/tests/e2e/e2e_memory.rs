//! Memory of idle streams in the image that is released: a debug build allocates otherwise, so the other suites cannot see it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    e2e::{Channel, WAIT_TIMEOUT, scenario, skipped},
    eventually,
    metrics::Metrics,
};
use reqwest::Url;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};

const STREAMS: usize = 3_000;
/// Connections before those that are measured: what the first ones allocate once is not theirs.
const WARM_UP: usize = 200;
/// Measured: 2.6 KB. Once a leftover of accepting connections made it 16 KB.
const MAX_BYTES_PER_STREAM: f64 = 5_000.0;
/// What is freed late is freed by then.
const SETTLE_TIME: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn an_idle_stream_takes_few_kilobytes() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let channel = Channel::create(cluster, "memory").await?;
        channel.scale(1).await?;
        let reach = channel.reach().await?;
        if reach.is_forwarded() {
            skipped("memory of idle streams", "the Service has no route from here")?;
            return channel.leave().await;
        }
        let url = Url::parse(&reach.events("from=latest"))?;
        let mut streams = open(&url, WARM_UP).await?;
        let before = settled(&channel, WARM_UP).await?;
        streams.extend(open(&url, STREAMS).await?);
        let after = settled(&channel, WARM_UP + STREAMS).await?;
        let each = (after - before) / STREAMS as f64;
        ensure!(each < MAX_BYTES_PER_STREAM, "{each:.0} bytes per idle stream");
        tracing::info!(bytes = each, "memory of an idle stream");
        drop(streams);
        channel.leave().await
    })
    .await
}

async fn open(url: &Url, count: usize) -> Result<Vec<TcpStream>> {
    let address = url.socket_addrs(|| None)?.pop().context("no address")?;
    let (path, query) = (url.path(), url.query().unwrap_or_default());
    let request = format!("GET {path}?{query} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        ensure!(&status == b"HTTP/1.1 200", "{}", String::from_utf8_lossy(&status));
        streams.push(stream);
    }
    Ok(streams)
}

/// Resident memory of the broker, in bytes, once it has so many subscribers.
async fn settled(channel: &Channel<'_>, subscribers: usize) -> Result<f64> {
    let metrics = async || {
        let pods = channel.pods().await?;
        let [pod] = pods.as_slice() else { anyhow::bail!("one broker, not {pods:?}") };
        let namespace = &channel.namespace;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:9090/proxy/metrics");
        Metrics::parse(&channel.kubectl(&["get", "--raw", &path]).await?)
    };
    eventually("everyone subscribed", WAIT_TIMEOUT, || async {
        let open = metrics().await?.metric("eventcast_subscribers", &[]);
        ensure!((open - subscribers as f64).abs() < 0.5, "{open} of {subscribers}");
        Ok(())
    })
    .await?;
    sleep(SETTLE_TIME).await;
    Ok(metrics().await?.metric("process_resident_memory_bytes", &[]))
}

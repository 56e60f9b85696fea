//! Addresses: a broker that trusts the proxy knows its clients apart, whatever they claim.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::ProxyProtocol;
use eventcast_tests::{
    broker::networks,
    http::Version,
    proxy::{Kind, Proxy, Setting},
    tls::{KeyFiles, Socket},
    wire::{BrokerWithNats, EVENTS, HTTP_VERSIONS, RawResponse},
};
use tokio::net::TcpSocket;

use super::proxy;

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Subscribes from this address; whether the stream is open, or was sent away.
async fn subscribe_from(
    client: &str,
    proxy: &Proxy,
    version: Version,
    headers: &[(&str, &str)],
) -> Result<(RawResponse, bool)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(format!("{client}:0").parse()?)?;
    let socket =
        Socket::of(socket.connect(proxy.address().parse()?).await?, version.alpn()).await?;
    let mut stream = RawResponse::over(version, socket, "GET", EVENTS, headers, b"").await?;
    ensure!(stream.head.status == 200, "{:?}", stream.head);
    let first = String::from_utf8(stream.read_until(b"\n\n").await?)?;
    Ok((stream, !first.contains("eventcast.closing")))
}

/// Opens streams from two clients, of which one claims another address; each may have one.
async fn expect_one_stream_per_client(broker: &BrokerWithNats, proxy: &Proxy) -> Result<()> {
    for version in HTTP_VERSIONS {
        let claim = [("X-Forwarded-For", "203.0.113.7")];
        let (first, is_open) = subscribe_from("127.0.0.9", proxy, version, &[]).await?;
        ensure!(is_open, "{version:?}: the first stream of a client");
        let (_, is_open) = subscribe_from("127.0.0.9", proxy, version, &claim).await?;
        ensure!(!is_open, "{version:?}: the same client, with a claim");
        let (other, is_open) = subscribe_from("127.0.0.10", proxy, version, &claim).await?;
        ensure!(is_open, "{version:?}: another client");
        drop((first, other));
        broker
            .wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, |n| n == 0.0)
            .await
            .with_context(|| format!("{version:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn the_limit_per_address_counts_clients_and_believes_no_claim() -> Result<()> {
    let broker = BrokerWithNats::start(|config| {
        config.limits.trusted_proxies = networks(["127.0.0.1/32"]);
        config.limits.subscribers_per_address = 1;
    })
    .await?;
    for kind in Kind::ALL {
        let proxy = proxy(kind, Setting::Documented, &broker).await?;
        let clients = expect_one_stream_per_client(&broker, &proxy).await;
        clients.with_context(|| format!("{kind:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn clients_behind_a_tcp_load_balancer_are_known_by_the_proxy_protocol() -> Result<()> {
    let files = KeyFiles::new()?;
    let broker = BrokerWithNats::start(|config| {
        config.tls = Some(files.config());
        config.limits.proxy_protocol = ProxyProtocol::Required;
        config.limits.trusted_proxies = networks(["127.0.0.1/32"]);
        config.limits.subscribers_per_address = 1;
    })
    .await?;
    let proxy = proxy(Kind::HaProxyTcp, Setting::Documented, &broker).await?;
    expect_one_stream_per_client(&broker, &proxy).await
}

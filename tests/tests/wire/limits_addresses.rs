//! The address of a client: what trusted proxies say about it, in every header and protocol they use.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::{BrokerConfig, ProxyProtocol};
use eventcast_tests::{
    broker::networks,
    http::{Http1Connection, Version},
    wire::{BrokerWithNats, EVENTS, HTTP_VERSIONS, Http2Connection, RawResponse},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};

const WAIT_TIMEOUT: Duration = Duration::from_secs(8);

/// One stream for each client.
async fn start(change: impl FnOnce(&mut BrokerConfig)) -> Result<BrokerWithNats> {
    BrokerWithNats::start(|config| {
        config.limits.trusted_proxies = networks(["127.0.0.0/8", "10.0.0.0/8"]);
        config.limits.subscribers_per_address = 1;
        change(config);
    })
    .await
}

/// Whether the stream is open, or was sent away.
async fn is_open(stream: &mut RawResponse) -> Result<bool> {
    let first = String::from_utf8(stream.read_until(b"\n\n").await?)?;
    Ok(!first.contains("eventcast.closing"))
}

#[tokio::test]
async fn a_client_is_the_same_in_every_spelling_and_whatever_it_claims() -> Result<()> {
    let broker = start(|_| {}).await?;
    for (held, same, other) in [
        (
            ("X-Forwarded-For", "203.0.113.7"),
            ("X-Forwarded-For", "9.9.9.1, 203.0.113.7:40000"),
            "203.0.113.8",
        ),
        (
            ("X-Forwarded-For", "2001:db8::1"),
            ("X-Forwarded-For", "[2001:db8::2]:443, 10.0.0.1:80"),
            "2001:db8:0:1::1",
        ),
        (
            ("X-Forwarded-For", "::ffff:198.51.100.1"),
            ("Forwarded", "for=\"198.51.100.1:80\";proto=https"),
            "198.51.100.2",
        ),
        (
            ("Forwarded", "for=\"[2001:db8:5::1]:1\", for=10.0.0.1"),
            ("X-Forwarded-For", "unknown, 2001:db8:5::9"),
            "2001:db8:6::1",
        ),
        (
            ("X-Forwarded-For", "6.6.6.6, unknown"),
            ("Forwarded", "for=6.6.6.7, for=_hidden"),
            "192.0.2.1",
        ),
    ] {
        for version in HTTP_VERSIONS {
            let mut first = broker.subscribe(version, "", &[held]).await?;
            ensure!(is_open(&mut first).await?, "{held:?}");
            let mut second = broker.subscribe(version, "", &[same]).await?;
            ensure!(!is_open(&mut second).await?, "{same:?} is {held:?}");
            let mut third = broker.subscribe(version, "", &[("X-Forwarded-For", other)]).await?;
            ensure!(is_open(&mut third).await?, "{other} is another");
            drop((first, second, third));
            broker
                .wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, |n| n == 0.0)
                .await?;
        }
    }
    Ok(())
}

/// A header of version 2 for a TCP connection from `client`.
fn binary(client: &str, command: u8) -> Result<Vec<u8>> {
    let client: SocketAddr = client.parse()?;
    let (family, addresses) = match client {
        SocketAddr::V4(c) => (0x11, [&c.ip().octets()[..], &[10, 0, 0, 1]].concat()),
        SocketAddr::V6(c) => (0x21, [&c.ip().octets()[..], &[0xfd; 16]].concat()),
    };
    let extension = [0xea, 0, 3, 1, 2, 3];
    let rest = [&addresses[..], &client.port().to_be_bytes(), &[0x1f, 0x90], &extension].concat();
    let length = u16::try_from(rest.len())?.to_be_bytes();
    Ok([b"\r\n\r\n\0\r\nQUIT\n", &[0x20 | command, family][..], &length, &rest].concat())
}

/// Subscribes over a connection that begins with `header`.
async fn behind(
    broker: &BrokerWithNats,
    version: Version,
    header: &[u8],
    more: &str,
) -> Result<bool> {
    let address = broker.address();
    if version == Version::Http2 {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(header).await?;
        let mut two = Http2Connection::over(socket, &h2::client::Builder::new()).await?;
        let headers: Vec<_> = more.trim().split_once(": ").into_iter().collect();
        return is_open(&mut two.request("GET", EVENTS, &headers, b"").await?).await;
    }
    let mut connection = Http1Connection::connect(address).await?;
    for piece in header.chunks(7) {
        connection.send(piece).await?;
    }
    connection.send(format!("GET {EVENTS} HTTP/1.1\r\nHost: a\r\n{more}\r\n")).await?;
    connection.read_head().await?;
    let mut said = Vec::new();
    while !said.ends_with(b"\n\n") {
        said.extend(connection.chunk().await?.context("it ended")?);
        if said.ends_with(b"\n:\n") {
            return Ok(true);
        }
    }
    Ok(!String::from_utf8(said)?.contains("eventcast.closing"))
}

#[tokio::test]
async fn the_proxy_protocol_gives_the_address_of_the_client() -> Result<()> {
    let broker = start(|config| config.limits.proxy_protocol = ProxyProtocol::Required).await?;
    let address = broker.address().to_owned();
    let line = b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 8080\r\n";
    let mut holds = Http1Connection::connect(&address).await?;
    holds.send(line).await?;
    holds.send(format!("GET {EVENTS} HTTP/1.1\r\nHost: a\r\n\r\n")).await?;
    holds.read_head().await?;
    for version in HTTP_VERSIONS {
        ensure!(!behind(&broker, version, line, "").await?, "{version:?}: the same client");
        let v2 = binary("203.0.113.7:50000", 1)?;
        ensure!(!behind(&broker, version, &v2, "").await?, "{version:?}: version 2");
        let claim = "X-Forwarded-For: 9.9.9.9\r\n";
        ensure!(
            !behind(&broker, version, &v2, claim).await?,
            "{version:?}: its claim is worth nothing"
        );
        let other = b"PROXY TCP6 2001:db8::1 fd00::1 40000 8080\r\n";
        ensure!(behind(&broker, version, other, "").await?, "{version:?}: another client");
        broker.wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, |n| n == 1.0).await?;
        let v6 = binary("[2001:db8::1]:443", 1)?;
        ensure!(behind(&broker, version, &v6, "").await?, "{version:?}: IPv6 in version 2");
        broker.wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, |n| n == 1.0).await?;
        let proxies = b"PROXY TCP4 10.0.0.9 10.0.0.1 40000 8080\r\n";
        let through = "X-Forwarded-For: 203.0.113.7\r\n";
        ensure!(
            !behind(&broker, version, proxies, through).await?,
            "{version:?}: two proxies in a row"
        );
        for speaks_for_itself in [&b"PROXY UNKNOWN\r\n"[..], &binary("203.0.113.7:1", 0)?] {
            ensure!(
                behind(&broker, version, speaks_for_itself, "").await?,
                "{version:?}: a health check"
            );
            broker
                .wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, |n| n == 1.0)
                .await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn without_a_proxy_protocol_header_nothing_is_served_where_it_is_required() -> Result<()> {
    let broker = start(|config| config.limits.proxy_protocol = ProxyProtocol::Required).await?;
    let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let long = [&b"PROXY TCP4 "[..], &[b'1'; 200], b"\r\n", get].concat();
    let huge = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"[..], &[0; 100]].concat();
    let refused =
        [&get[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"PROXY nonsense\r\n", &long, &huge];
    for bytes in refused {
        let mut connection = Http1Connection::connect(broker.address()).await?;
        connection.send(bytes).await?;
        connection.closed().await.with_context(|| String::from_utf8_lossy(bytes).into_owned())?;
    }
    let counted = [("reason", "proxy-protocol")];
    let all = |n| n == 5.0;
    broker
        .wait_for_metric("eventcast_connections_refused_total", &counted, WAIT_TIMEOUT, all)
        .await?;
    let mut slow = Http1Connection::connect(broker.address()).await?;
    slow.send("PROXY TCP4 ").await?;
    timeout(Duration::from_secs(14), async { while slow.closed().await.is_err() {} }).await?;
    Ok(())
}

#[tokio::test]
async fn a_proxy_protocol_header_of_a_stranger_is_never_believed() -> Result<()> {
    let line = "PROXY TCP4 203.0.113.7 10.0.0.1 40000 8080\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let broker = start(|config| {
        config.limits.proxy_protocol = ProxyProtocol::Required;
        config.limits.trusted_proxies = networks(["10.0.0.0/8"]);
    })
    .await?;
    let mut connection = Http1Connection::connect(broker.address()).await?;
    connection.send(line).await?;
    connection.closed().await?;
    let broker = start(|_| {}).await?;
    let mut connection = Http1Connection::connect(broker.address()).await?;
    connection.send(line).await?;
    assert_eq!(connection.read_head().await?.status, 400, "off: it is no HTTP");
    Ok(())
}

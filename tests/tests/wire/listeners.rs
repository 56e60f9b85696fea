//! Listeners for both families of addresses: every port of a broker, and what a client with IPv4 counts as there.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::BrokerConfig;
use eventcast_tests::{
    broker::networks,
    http::{Version, client},
    tls::{KeyFiles, Socket, client_config},
    wire::{BrokerWithNats, EVENTS, HTTP_VERSIONS, RawResponse},
};
use tokio::net::{TcpSocket, TcpStream};

const WAIT_TIMEOUT: Duration = Duration::from_secs(8);
/// How clients on this machine reach a wildcard.
const HOSTS: [&str; 2] = ["127.0.0.1", "[::1]"];

fn wildcards(config: &mut BrokerConfig) -> Result<()> {
    let wildcard = "[::]:0".parse()?;
    (config.listen, config.admin) = (wildcard, wildcard);
    Ok(())
}

/// The port at the end of an address.
fn port(address: &str) -> Result<u16> {
    let (_, port) = address.rsplit_once(':').context("no port")?;
    Ok(port.parse()?)
}

/// Connects to `host`, from `from` if that is not empty.
async fn connect(host: &str, port: u16, from: &str) -> Result<TcpStream> {
    let to: SocketAddr = format!("{host}:{port}").parse()?;
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if !from.is_empty() {
        socket.bind(SocketAddr::new(from.parse()?, 0))?;
    }
    Ok(socket.connect(to).await?)
}

/// Whether a stream is open, or was sent away.
async fn is_open(stream: &mut RawResponse) -> Result<bool> {
    let first = String::from_utf8(stream.read_until(b"\n\n").await?)?;
    Ok(!first.contains("eventcast.closing"))
}

#[tokio::test]
async fn every_port_is_reached_with_both_families() -> Result<()> {
    let files = KeyFiles::new()?;
    let broker = BrokerWithNats::start(|config| {
        wildcards(config).expect("an address");
        config.tls = Some(files.config());
        if let Some(tls) = &mut config.tls {
            (tls.listen, tls.plaintext) = (config.listen, true);
        }
    })
    .await?;
    ensure!(broker.address().starts_with("[::]:"), "printed: {}", broker.address());
    let ports = [
        ("http", port(broker.address())?, "/channels/default/demo"),
        ("https", port(broker.secure_address())?, "/channels/default/demo"),
        ("http", port(&broker.admin_url(""))?, "/readyz"),
    ];
    for (scheme, port, path) in ports {
        for host in HOSTS {
            let url = format!("{scheme}://{host}:{port}{path}");
            let answer = client(Version::Http1).get(&url).send().await.context(url.clone())?;
            ensure!(answer.status() == 200, "{url}: {}", answer.status());
        }
    }
    let tls = connect("[::1]", ports[1].1, "").await?;
    let tls = Socket::tls(tls, client_config(&["h2"])).await?;
    let mut stream = RawResponse::over(Version::Http2, tls, "GET", EVENTS, &[], b"").await?;
    ensure!(is_open(&mut stream).await?, "a stream with TLS over ::1");
    Ok(())
}

/// With mapped addresses, all of IPv4 would be one network of IPv6, `::/64`, to which `::1` belongs as well.
#[tokio::test]
async fn a_client_with_ipv4_is_one_of_ipv4_on_a_listener_for_both() -> Result<()> {
    let broker = BrokerWithNats::start(|config| {
        wildcards(config).expect("an address");
        config.limits.subscribers_per_address = 1;
    })
    .await?;
    let port = port(broker.address())?;
    for version in HTTP_VERSIONS {
        let subscribe = async |host: &str, from: &str| {
            let socket = connect(host, port, from).await?.into();
            RawResponse::over(version, socket, "GET", EVENTS, &[], b"").await
        };
        let mut held = Vec::new();
        for (host, from, open) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", true),
            ("[::1]", "", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("[::1]", "", false),
        ] {
            let mut stream = subscribe(host, from).await?;
            ensure!(is_open(&mut stream).await? == open, "{version:?}: {host} from {from}");
            held.push(stream);
        }
        drop(held);
        broker.wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, |n| n == 0.0).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_proxy_with_ipv4_is_trusted_on_a_listener_for_both() -> Result<()> {
    let broker = BrokerWithNats::start(|config| {
        wildcards(config).expect("an address");
        config.limits.trusted_proxies = networks(["127.0.0.1/32"]);
        config.limits.subscribers_per_address = 1;
    })
    .await?;
    let port = port(broker.address())?;
    let subscribe = async |from: &str, client: &str| {
        let socket = connect("127.0.0.1", port, from).await?.into();
        let headers = [("X-Forwarded-For", client)];
        RawResponse::over(Version::Http1, socket, "GET", EVENTS, &headers, b"").await
    };
    let mut held = Vec::new();
    for (from, client, open) in [
        ("127.0.0.1", "203.0.113.1", true),
        ("127.0.0.1", "203.0.113.2", true),
        ("127.0.0.1", "::ffff:203.0.113.2", false),
        ("127.0.0.2", "203.0.113.3", true),
        ("127.0.0.2", "203.0.113.4", false), // no proxy of ours: both are 127.0.0.2
    ] {
        let mut stream = subscribe(from, client).await?;
        ensure!(is_open(&mut stream).await? == open, "{client} by {from}");
        held.push(stream);
    }
    Ok(())
}

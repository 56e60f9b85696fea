//! A20: a peer that vanishes without a FIN. A filter on the peer's own socket drops everything that arrives, so nothing is
//! acknowledged any more; this needs no privileges and no firewall. The test takes most of a minute, because the kernel's
//! time-outs do.

use std::time::Duration;

use anyhow::{Context as _, Result};
use eventcast_tests::{
    http::Version,
    wire::{BrokerWithNats, EVENTS, Http2Connection},
};
use socket2::{SockFilter, SockRef};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// TCP_USER_TIMEOUT (45 s), a heartbeat, and room; for HTTP/2 two times 20 s for a ping and its answer.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(55);

/// Lets nothing in: `BPF_RET` of 0 bytes.
const NOTHING: [SockFilter; 1] = [SockFilter::new(0x06, 0, 0, 0)];

/// A20: a subscriber that vanished is gone within the heartbeat and TCP_USER_TIMEOUT, and the gauges say so; a connection of
/// HTTP/2 that asks for nothing and answers no ping is not kept either (A1).
#[tokio::test]
async fn a20_a_peer_that_vanishes_is_gone_within_a_minute() -> Result<()> {
    let broker = BrokerWithNats::start(|config| {
        config.channels[0].delivery.heartbeat_seconds = 1;
    })
    .await?;
    let mut stays = broker.open_stream(Version::Http1, "").await?;

    let mut one = TcpStream::connect(broker.address()).await?;
    one.write_all(format!("GET {EVENTS} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await?;
    one.read_exact(&mut [0; 256]).await.context("the head")?;

    let two = std::net::TcpStream::connect(broker.address())?;
    let same = two.try_clone()?;
    two.set_nonblocking(true)?;
    let builder = h2::client::Builder::new();
    let mut connection = Http2Connection::over(TcpStream::from_std(two)?, &builder).await?;
    let mut stream = connection.request("GET", EVENTS, &[], b"").await?;
    stream.read_retry().await?;

    let mut mute = TcpStream::connect(broker.address()).await?;
    mute.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;

    broker
        .wait_for_metric("eventcast_connections", &[], DISCONNECT_TIMEOUT, |open| open == 4.0)
        .await?;
    SockRef::from(&one).attach_filter(&NOTHING)?;
    SockRef::from(&same).attach_filter(&NOTHING)?;

    broker
        .wait_for_metric("eventcast_subscribers", &[], DISCONNECT_TIMEOUT, |open| open == 1.0)
        .await?;
    broker
        .wait_for_metric("eventcast_connections", &[], DISCONNECT_TIMEOUT, |open| open == 1.0)
        .await?;
    let client = [("reason", "client")];
    assert_eq!(broker.metric("eventcast_disconnects_total", &client).await?, 2.0);
    broker.publish("still here").await?;
    assert_eq!(stays.data().await?, "still here");
    drop((one, stream, connection, same, mute));
    Ok(())
}

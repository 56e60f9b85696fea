//! A20 of sse.md, section 5: a peer that vanishes without a FIN. A filter on its own socket drops all that comes in, so that
//! nothing is acknowledged ever after: no privileges, no firewall. Takes most of a minute, because the kernel does.

use std::time::Duration;

use anyhow::{Context as _, Result};
use eventcast_tests::{
    http::Version,
    wire::{EVENTS, Site, Two},
};
use socket2::{SockFilter, SockRef};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// TCP_USER_TIMEOUT (45 s), a heartbeat, and room; for HTTP/2 two times 20 s for a ping and its answer.
const GONE: Duration = Duration::from_secs(55);

/// Lets nothing in: `BPF_RET` of 0 bytes.
const NOTHING: [SockFilter; 1] = [SockFilter::new(0x06, 0, 0, 0)];

/// A20: a subscriber that vanished is gone within the heartbeat and TCP_USER_TIMEOUT, and the gauges say so; a connection of
/// HTTP/2 that asks for nothing and answers no ping is not kept either (A1).
#[tokio::test]
async fn a20_a_peer_that_vanishes_is_gone_within_a_minute() -> Result<()> {
    let site = Site::start(|config| {
        config.channels[0].delivery.heartbeat_seconds = 1;
    })
    .await?;
    let mut stays = site.listen(Version::One, "").await?;

    let mut one = TcpStream::connect(site.broker.address()).await?;
    one.write_all(format!("GET {EVENTS} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await?;
    one.read_exact(&mut [0; 256]).await.context("the head")?;

    let two = std::net::TcpStream::connect(site.broker.address())?;
    let same = two.try_clone()?;
    two.set_nonblocking(true)?;
    let builder = h2::client::Builder::new();
    let mut connection = Two::over(TcpStream::from_std(two)?, &builder).await?;
    let mut stream = connection.ask("GET", EVENTS, &[], b"").await?;
    stream.opening().await?;

    let mut mute = TcpStream::connect(site.broker.address()).await?;
    mute.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;

    site.metric("eventcast_connections", &[], GONE, |open| open == 4.0).await?;
    SockRef::from(&one).attach_filter(&NOTHING)?;
    SockRef::from(&same).attach_filter(&NOTHING)?;

    site.metric("eventcast_subscribers", &[], GONE, |open| open == 1.0).await?;
    site.metric("eventcast_connections", &[], GONE, |open| open == 1.0).await?;
    let client = [("reason", "client")];
    assert_eq!(site.broker.metric("eventcast_disconnects_total", &client).await?, 2.0);
    site.publish("still here").await?;
    assert_eq!(stays.data().await?, "still here");
    drop((one, stream, connection, same, mute));
    Ok(())
}

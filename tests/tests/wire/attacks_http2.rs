//! Attacks on HTTP/2: A16 (rapid reset), A17 (CONTINUATION flood), A18 (floods of SETTINGS and PING frames, windows of zero).
//! Only the attacking connection suffers.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    eventually,
    http::{Http1Connection, Version},
    wire::{BrokerWithNats, EVENTS, Http2Connection},
};
use tokio::{net::TcpStream, time::timeout};

const WAIT_TIMEOUT: Duration = Duration::from_secs(8);
const MIB: u64 = 1 << 20;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Sends `frames` again and again, until the broker ends the connection or reads no more, or `count` times.
async fn flood(
    broker: &BrokerWithNats,
    first: &[u8],
    frames: &[u8],
    count: usize,
) -> Result<Http1Connection> {
    let mut connection = Http1Connection::connect(broker.address()).await?;
    let settings = frame(4, 0, 0, &[]);
    connection.send([PREFACE, &settings, first].concat()).await?;
    for _ in 0..count {
        let sent = timeout(Duration::from_secs(2), connection.send(frames)).await;
        if !matches!(sent, Ok(Ok(()))) {
            break;
        }
    }
    Ok(connection)
}

/// A16: streams opened and reset at once, by the thousand, neither occupy the broker nor stay.
#[tokio::test]
async fn a16_rapid_resets_leave_nothing_behind() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let mut other = broker.open_stream(Version::Http2, "").await?;
    let before = broker.rss()?;
    for _ in 0..5 {
        let mut connection = Http2Connection::connect(broker.address()).await?;
        for _ in 0..2000 {
            match timeout(WAIT_TIMEOUT, connection.send("GET", EVENTS, &[], b"")).await {
                Ok(Ok(answer)) => drop(answer), // a reset
                Ok(Err(_)) | Err(_) => break,   // GOAWAY: enough is enough
            }
        }
    }
    broker.publish("still here").await?;
    assert_eq!(other.data().await?, "still here");
    broker.wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, |open| open == 1.0).await?;
    broker.wait_for_metric("eventcast_connections", &[], WAIT_TIMEOUT, |open| open == 1.0).await?;
    let grown = broker.rss()?.saturating_sub(before) / MIB;
    ensure!(grown < 64, "{grown} MiB more than before");
    Ok(())
}

/// A17: a head that goes on and on in CONTINUATION frames ends the connection.
#[tokio::test]
async fn a17_a_flood_of_continuations_ends_the_connection() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let mut other = broker.open_stream(Version::Http2, "").await?;
    let before = broker.rss()?;
    let headers = frame(1, 1, 1, &[0x82]); // :method: GET, END_STREAM, no END_HEADERS
    let empty = frame(9, 0, 1, &[]).repeat(100);
    // literal header fields without indexing, `a: a`
    let full = frame(9, 0, 1, &[0, 1, b'a', 1, b'a'].repeat(3000)).repeat(4);
    for (what, frames) in [("empty ones", empty), ("header fields", full)] {
        let ours = flood(&broker, &headers, &frames, 1000).await?;
        let ended = |open| open == 1.0;
        let ended = broker.wait_for_metric("eventcast_connections", &[], WAIT_TIMEOUT, ended).await;
        ended.with_context(|| format!("a flood of {what} is still read"))?;
        drop(ours);
    }
    broker.publish("still here").await?;
    assert_eq!(other.data().await?, "still here");
    let grown = broker.rss()?.saturating_sub(before) / MIB;
    ensure!(grown < 64, "{grown} MiB more than before");
    Ok(())
}

/// A18: a hundred thousand SETTINGS, PING and WINDOW_UPDATE frames whose replies are not read cost no memory.
#[tokio::test]
async fn a18_floods_of_settings_and_pings_cost_no_memory() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let mut other = broker.open_stream(Version::Http2, "").await?;
    let before = broker.rss()?;
    for (kind, payload) in [(4, &[][..]), (6, &[0; 8]), (8, &[0, 0, 0, 1])] {
        // ended, held back or read: all are right as long as they cost nothing
        flood(&broker, &[], &frame(kind, 0, 0, payload).repeat(200), 1000).await?;
        let grown = broker.rss()?.saturating_sub(before) / MIB;
        ensure!(grown < 64, "{grown} MiB more than before, by frames of type {kind}");
    }
    broker.publish("still here").await?;
    assert_eq!(other.data().await?, "still here");
    broker.wait_for_metric("eventcast_connections", &[], WAIT_TIMEOUT, |open| open == 1.0).await?;
    Ok(())
}

/// A18: a stream whose window stays shut is reset at the stall deadline; the others on its connection live on.
#[tokio::test]
async fn a18_a_stream_that_stops_reading_is_reset_and_its_neighbours_live_on() -> Result<()> {
    let broker = BrokerWithNats::start(|config| {
        config.channels[0].delivery.stall_seconds = 1;
    })
    .await?;
    let mut connection = Http2Connection::connect(broker.address()).await?;
    let mut stalled_stream = connection.request("GET", EVENTS, &[], b"").await?;
    let mut reader = connection.request("GET", EVENTS, &[], b"").await?;
    reader.read_retry().await?;
    for n in 0..3 {
        broker.publish(format!("{n} {}", "x".repeat(100 << 10))).await?;
        ensure!(reader.data().await?.starts_with(&n.to_string()), "{n}");
    }
    stalled(&broker, 1.0).await?;
    let mut bytes = 0;
    let end = loop {
        match stalled_stream.next_chunk().await {
            Ok(Some(piece)) => bytes += piece.len(),
            Ok(None) => {
                anyhow::bail!("a clean end after {bytes} bytes: it was cut within an event")
            }
            Err(error) => break error,
        }
    };
    let reset = end.downcast_ref::<h2::Error>().and_then(h2::Error::reason);
    assert_eq!(reset, Some(h2::Reason::CANCEL), "{end:#}");
    ensure!(bytes <= 65_535, "{bytes} bytes beyond the window");
    broker.publish("after").await?;
    assert_eq!(reader.data().await?, "after");
    Ok(())
}

/// A18: a client that never opens a window is no better: its streams are reset at the stall deadline too.
#[tokio::test]
async fn a18_a_window_that_was_never_open_is_reset_too() -> Result<()> {
    let broker = BrokerWithNats::start(|config| {
        config.channels[0].delivery.stall_seconds = 1;
        config.channels[0].delivery.heartbeat_seconds = 1;
    })
    .await?;
    let mut other = broker.open_stream(Version::Http2, "").await?;
    let socket = TcpStream::connect(broker.address()).await?;
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(0);
    let mut connection = Http2Connection::over(socket, &settings).await?;
    let mut shut = Vec::new();
    for _ in 0..3 {
        shut.push(connection.request("GET", EVENTS, &[], b"").await?);
    }
    stalled(&broker, 3.0).await?;
    for stream in &mut shut {
        ensure!(stream.next_chunk().await.is_err(), "it was not reset");
    }
    broker.publish("after").await?;
    assert_eq!(other.data().await?, "after");
    Ok(())
}

/// Waits until this many were disconnected because they did not read.
async fn stalled(broker: &BrokerWithNats, count: f64) -> Result<()> {
    eventually("those that do not read are ended", WAIT_TIMEOUT, || async {
        let labels = [("reason", "stalled")];
        let ended = broker.metric("eventcast_disconnects_total", &labels).await?;
        let open = broker.metric("eventcast_subscribers", &[]).await?;
        ensure!(ended == count && open == 1.0, "{ended} ended, {open} open");
        Ok(())
    })
    .await
}

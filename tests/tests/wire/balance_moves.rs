//! Closing streams for balance: whole connections of HTTP/2, and clients that move between two brokers and miss nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    broker::Broker,
    http::Version,
    init_tracing,
    ledger::{Ledger, Plan},
    nats::NatsServer,
    tls::{KeyFiles, Socket},
    wire::{BrokerWithNats, EVENTS, Http2Connection, RawResponse},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::balance::{OrderFile, settled, state};

const WAIT: Duration = Duration::from_secs(20);
/// Streams of each of two connections.
const STREAMS: u64 = 6;

/// A connection with streams.
async fn connect(broker: &Broker) -> Result<(Http2Connection, Vec<RawResponse>)> {
    let mut connection = Http2Connection::connect(broker.address()).await?;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut stream = connection.request("GET", EVENTS, &[], b"").await?;
        ensure!(stream.head.status == 200, "{:?}", stream.head);
        stream.read_until(b"\n:\n").await?;
        streams.push(stream);
    }
    Ok((connection, streams))
}

/// Waits until the broker asks the client of one of the connections to leave. Returns that one first.
async fn leaving<T>(mut pair: [(Http2Connection, T); 2]) -> Result<[(Http2Connection, T); 2]> {
    let asked = async {
        loop {
            for (index, (connection, _)) in pair.iter_mut().enumerate() {
                // A client that has got GOAWAY opens no further streams.
                if connection.send("HEAD", EVENTS, &[], b"").await.is_err() {
                    return index;
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let index = timeout(WAIT, asked).await.context("no client was asked to leave")?;
    pair.rotate_left(index);
    Ok(pair)
}

/// All streams of one connection end with the closing frames, and the connection with them. The other one does not notice.
#[tokio::test]
async fn a_connection_of_http2_is_closed_with_all_its_streams() -> Result<()> {
    let file = OrderFile::new()?;
    let broker = BrokerWithNats::start(|config| file.configure(config, 100)).await?;
    let pair = [connect(&broker).await?, connect(&broker).await?];
    settled(&broker, 2 * STREAMS, 0).await?;
    file.order("one", STREAMS, 300)?;
    let [(left, ended), (mut kept, mut going_on)] = leaving(pair).await?;
    for mut stream in ended {
        let (reason, _) = stream.read_closing().await?;
        ensure!(reason == "rebalance", "{reason}");
    }
    timeout(WAIT, left.connection).await.context("the connection stays open")???;
    settled(&broker, STREAMS, STREAMS).await?;
    broker.publish("on").await?;
    for stream in &mut going_on {
        ensure!(stream.data().await? == "on", "a stream of the other connection");
    }
    kept.request("HEAD", EVENTS, &[], b"").await?;
    Ok(())
}

/// Frames of HTTP/2 that matter here: a response has ended; no more requests are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    End,
    GoAway,
}

/// Opens streams, and returns what comes until all of them have ended.
async fn frames(address: String) -> Result<Vec<Frame>> {
    let tcp = TcpStream::connect(&address).await?;
    let mut socket = Socket::of(tcp, Version::Http2.alpn()).await?;
    let scheme = if socket.is_secure() { 0x87 } else { 0x86 }; // of the static table of HPACK
    let mut head = vec![0x82, scheme, 0x01, 1, b'a', 0x04, u8::try_from(EVENTS.len())?];
    head.extend(EVENTS.bytes());
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for stream in 0..u8::try_from(STREAMS)? {
        out.extend([0, 0, u8::try_from(head.len())?, 1, 5, 0, 0, 0, 2 * stream + 1]);
        out.extend(&head);
    }
    socket.write_all(&out).await?;
    socket.flush().await?;
    let mut seen = Vec::new();
    while seen.iter().filter(|frame| **frame == Frame::End).count() < usize::try_from(STREAMS)? {
        let mut start = [0; 9];
        socket.read_exact(&mut start).await?;
        let length = u32::from_be_bytes([0, start[0], start[1], start[2]]);
        socket.read_exact(&mut vec![0; usize::try_from(length)?]).await?;
        match (start[3], start[4] & 1) {
            (0, 1) => seen.push(Frame::End),
            (7, _) => seen.push(Frame::GoAway),
            _ => {}
        }
    }
    Ok(seen)
}

/// A client that reconnects at once must not do it over the same connection.
#[tokio::test]
async fn goaway_comes_before_the_end_of_a_stream() -> Result<()> {
    let file = OrderFile::new()?;
    let broker = BrokerWithNats::start(|config| file.configure(config, 100)).await?;
    let mut connections = JoinSet::new();
    for _ in 0..2 {
        connections.spawn(frames(broker.address().to_owned()));
    }
    settled(&broker, 2 * STREAMS, 0).await?;
    file.order("one", STREAMS, 300)?;
    let closed = timeout(WAIT, connections.join_next()).await?.context("no connection")???;
    ensure!(closed[0] == Frame::GoAway, "{closed:?}");
    Ok(())
}

/// If fewer are due than a connection has, the others go on over it, and are the next.
#[tokio::test]
async fn the_ceiling_is_exact_whatever_the_size_of_connections() -> Result<()> {
    let file = OrderFile::new()?;
    let broker = BrokerWithNats::start(|config| file.configure(config, 100)).await?;
    let pair = [connect(&broker).await?, connect(&broker).await?];
    settled(&broker, 2 * STREAMS, 0).await?;
    file.order("one", 2 * STREAMS - 2, 300)?;
    settled(&broker, 2 * STREAMS - 2, 2).await?;
    sleep(Duration::from_secs(2)).await;
    settled(&broker, 2 * STREAMS - 2, 2).await?;
    let [(left, streams), (mut kept, mut others)] = leaving(pair).await?;
    broker.publish("on").await?;
    let mut going_on = Vec::new();
    for mut stream in streams {
        let block = stream.next_block_with("\ndata: ").await;
        let block = match block {
            Ok(block) if block.contains("eventcast.cursor") => stream.next_block().await?,
            other => other?,
        };
        if block.contains(r#""reason":"rebalance""#) {
            ensure!(stream.next_chunk().await?.is_none(), "something follows");
        } else {
            ensure!(block.contains("data: on"), "{block}");
            going_on.push(stream);
        }
    }
    ensure!(going_on.len() == 4, "two of six are closed");
    file.order("two", STREAMS, 300)?;
    for mut stream in going_on {
        ensure!(stream.read_closing().await?.0 == "rebalance");
    }
    timeout(WAIT, left.connection).await.context("the connection stays open")???;
    settled(&broker, STREAMS, STREAMS).await?;
    for stream in &mut others {
        ensure!(stream.data().await? == "on", "a stream of the other connection");
    }
    kept.request("HEAD", EVENTS, &[], b"").await?;
    Ok(())
}

/// Clients are moved to and fro between two brokers, one of which has TLS: each event comes once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_are_moved_miss_nothing() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start_with("1m").await?;
    let (keys, files) = (KeyFiles::new()?, [OrderFile::new()?, OrderFile::new()?]);
    let [here, there] = [
        Broker::start(&nats.url(), |config| {
            files[0].configure(config, 20);
            config.memory.tail_events = 256;
        })
        .await?,
        Broker::start(&nats.url(), |config| {
            files[1].configure(config, 20);
            config.tls = Some(keys.config());
        })
        .await?,
    ];
    let plan = Plan { subscribers: 80, http2: 0.5, stay: WAIT, ..Plan::default() };
    let ledger = Ledger::start(plan, vec![here.events_url(""), there.events_url("")]);
    ledger.progress(200, Duration::from_secs(60)).await?;
    // To and fro, so that the streams that come have somewhere to go.
    for round in 0..6 {
        files[round % 2].order(&format!("order {round}"), 20, 300)?;
        files[(round + 1) % 2].order(&format!("order {round}"), 60, 300)?;
        sleep(Duration::from_secs(2)).await;
    }
    ledger.finish(Duration::from_secs(60)).await?.assert_nothing_lost();
    for broker in [&here, &there] {
        let shed = state(broker).await?.shed.unwrap_or_default();
        ensure!(shed >= 5, "only {shed} streams were moved");
    }
    let moved = here.metric("eventcast_disconnects_total", &[("reason", "rebalance")]).await?;
    ensure!(moved >= 5.0, "{moved}");
    Ok(())
}

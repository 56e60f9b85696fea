//! TLS: streams over it, in shards and without them.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use eventcast_crds::config::BrokerConfig;
use eventcast_tests::{
    http::{Http1Connection, Publish, Version},
    ledger::{Ledger, Plan},
    sinks::SHARD_COUNTS,
    tls::{KeyFiles, Socket, TLS_VERSIONS, client_config_of},
    wire::{BrokerWithNats, EVENTS, HTTP_VERSIONS},
};
use rustls::{SupportedProtocolVersion, version::TLS13};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(8);

/// A stream over a connection of its own, once it is open.
async fn stream(
    broker: &BrokerWithNats,
    version: &'static SupportedProtocolVersion,
) -> Result<Http1Connection> {
    let socket = TcpStream::connect(broker.secure_address()).await?;
    let config = client_config_of(&[Version::Http1.alpn()], &[version]);
    let mut connection = Http1Connection::over(Socket::tls(socket, config).await?);
    let request = format!("GET {EVENTS} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n");
    connection.send(request).await?;
    let head = connection.read_head().await?;
    ensure!(head.status == 200, "{head:?}");
    read(&mut connection, "\n:\n").await?;
    Ok(connection)
}

/// Reads the body up to the chunk that completes `wanted`.
async fn read(connection: &mut Http1Connection, wanted: &str) -> Result<()> {
    let mut body = String::new();
    while !body.contains(wanted) {
        let chunk = timeout(WAIT_TIMEOUT, connection.chunk()).await.context("nothing came")??;
        body += str::from_utf8(&chunk.context("the end")?)?;
    }
    Ok(())
}

fn tls(connection: &mut Http1Connection) -> &mut tokio_rustls::client::TlsStream<TcpStream> {
    match connection.socket() {
        Socket::Tls(stream) => stream,
        Socket::Plain(_) => unreachable!("it has TLS"),
    }
}

/// Live events and replay; the largest events have many records, and all of them arrive whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_any_size_arrive_in_both_protocols_and_sinks() -> Result<()> {
    for shards in SHARD_COUNTS {
        let files = KeyFiles::new()?;
        let broker = BrokerWithNats::with_shards(shards, |config| {
            config.tls = Some(files.config());
            config.channels[0].publishing.max_event_bytes = 1 << 20;
        })
        .await?;
        let sizes = [1, 100, 16_000, 16_384, 20_000, 50_000, 300_000, 900_000];
        let text = |n: usize| format!("{n} {}", "abcdefghijklmnop".repeat(n / 16 + 1));
        let mut live = Vec::new();
        for version in HTTP_VERSIONS {
            live.push(broker.open_stream(version, "").await?);
        }
        // a small receive buffer, so that records do not fit into the socket
        let address = broker.address();
        let mut narrow = Http1Connection::connect_with(address, Some(4096)).await?;
        narrow
            .send(format!("GET {EVENTS} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n"))
            .await?;
        let head = narrow.read_head().await?;
        let in_shard = head.header("connection") == Some("close");
        assert_eq!(in_shard, shards > 0, "the stream is in a shard: {head:?}");
        for n in sizes {
            broker.publish(text(n)).await?;
        }
        for stream in &mut live {
            for n in sizes {
                assert!(stream.data().await? == text(n), "{shards} shards: {n} live");
            }
        }
        for n in sizes {
            let found = read(&mut narrow, &format!("data: {}\n", text(n))).await;
            found.with_context(|| format!("{shards} shards: {n} through a narrow socket"))?;
        }
        for version in HTTP_VERSIONS {
            let mut replay = broker.subscribe(version, "?from=earliest", &[]).await?;
            for n in sizes {
                assert!(replay.data().await? == text(n), "{shards} shards: {n} replayed");
            }
        }
    }
    Ok(())
}

/// A client that says goodbye has gone, whatever becomes of its TCP connection.
#[tokio::test]
async fn close_notify_of_the_client_ends_its_stream() -> Result<()> {
    let files = KeyFiles::new()?;
    let broker = BrokerWithNats::start(|config| config.tls = Some(files.config())).await?;
    for version in TLS_VERSIONS {
        let mut stays = stream(&broker, version).await?;
        let mut leaves = stream(&broker, version).await?;
        let stream = tls(&mut leaves);
        stream.get_mut().1.send_close_notify();
        stream.flush().await?;
        broker.wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, |n| n == 1.0).await?;
        // it is answered in kind
        let mut rest = Vec::new();
        timeout(WAIT_TIMEOUT, stream.read_to_end(&mut rest)).await??;
        ensure!(rest.is_empty(), "{rest:?}");
        broker.publish("still here").await?;
        read(&mut stays, "data: still here\n").await?;
        drop(stays);
        broker.wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, |n| n == 0.0).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_client_may_update_its_keys() -> Result<()> {
    for shards in SHARD_COUNTS {
        let files = KeyFiles::new()?;
        let broker = BrokerWithNats::with_shards(shards, |config| {
            config.tls = Some(files.config());
        })
        .await?;
        let mut connection = stream(&broker, &TLS13).await?;
        for n in 0..20 {
            let stream = tls(&mut connection);
            stream.get_mut().1.refresh_traffic_keys()?;
            stream.flush().await?;
            broker.publish(format!("{n} of many")).await?;
            read(&mut connection, &format!("data: {n} of many\n")).await?;
        }
    }
    Ok(())
}

/// Bytes that are no TLS end the stream, with an alert, and no other stream.
#[tokio::test]
async fn garbage_ends_the_stream_with_an_alert() -> Result<()> {
    for shards in SHARD_COUNTS {
        let files = KeyFiles::new()?;
        let broker = BrokerWithNats::with_shards(shards, |config| {
            config.tls = Some(files.config());
        })
        .await?;
        let mut stays = stream(&broker, &TLS13).await?;
        let forged = [&[23, 3, 3, 0, 64][..], &[7; 64]].concat();
        let endless = [&[23, 3, 3, 0xff, 0xff][..], &[7; 30_000]].concat();
        for garbage in [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), forged, endless] {
            let mut connection = stream(&broker, &TLS13).await?;
            let stream = tls(&mut connection);
            stream.get_mut().0.write_all(&garbage).await?;
            let mut rest = Vec::new();
            let error = match timeout(WAIT_TIMEOUT, stream.read_to_end(&mut rest)).await? {
                Ok(_) => bail!("an orderly end"),
                Err(error) => error,
            };
            ensure!(error.to_string().contains("received fatal alert"), "{error}");
            broker
                .wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, |n| n == 1.0)
                .await?;
        }
        broker.publish("still here").await?;
        read(&mut stays, "data: still here\n").await?;
        assert_eq!(broker.metric("eventcast_panics_total", &[]).await?, 0.0);
    }
    Ok(())
}

/// Closing frames, the last chunk, `close_notify`: the client knows that nothing was cut off.
#[tokio::test]
async fn a_shutdown_ends_streams_and_their_sessions() -> Result<()> {
    for shards in SHARD_COUNTS {
        let files = KeyFiles::new()?;
        let mut broker = BrokerWithNats::with_shards(shards, |config| {
            config.tls = Some(files.config());
        })
        .await?;
        let mut connections = Vec::new();
        for version in TLS_VERSIONS {
            connections.push(stream(&broker, version).await?);
        }
        let mut two = broker.open_stream(Version::Http2, "").await?;
        broker.publish("before the end").await?;
        broker.terminate()?;
        for connection in &mut connections {
            let body = String::from_utf8(connection.body().await?)?;
            ensure!(body.contains("data: before the end\n"), "{body}");
            ensure!(body.contains("event: eventcast.closing\n"), "{body}");
            // an end without close_notify would be an error
            let mut rest = Vec::new();
            timeout(WAIT_TIMEOUT, tls(connection).read_to_end(&mut rest)).await??;
            ensure!(rest.is_empty(), "{shards} shards: {rest:?}");
        }
        assert_eq!(two.read_closing().await?.0, "draining");
        ensure!(broker.wait_exit(WAIT_TIMEOUT).await?.success(), "a clean end");
    }
    Ok(())
}

/// A reader that stalls is closed, costs little, and the ledger of the broker holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_reader_is_closed_and_every_event_is_accounted_for() -> Result<()> {
    let files = KeyFiles::new()?;
    let change = |config: &mut BrokerConfig| {
        config.tls = Some(files.config());
        config.channels[0].delivery.stall_seconds = 2;
        config.memory.tail_bytes = 4 << 20;
    };
    let broker = BrokerWithNats::with_shards(1, change).await?;
    let mut reader = broker.open_stream(Version::Http1, "").await?;
    let mut stalled_connections = Vec::new();
    for query in ["", "?topic=a", "?from=earliest"].repeat(5) {
        let mut connection = Http1Connection::connect_with(broker.address(), Some(4096)).await?;
        let request =
            format!("GET {EVENTS}{query} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n");
        connection.send(request).await?;
        connection.read_head().await?;
        stalled_connections.push(connection);
    }
    for n in 0..120 {
        let event = Publish::new(format!("{n} {}", "x".repeat(64 << 10))).topic("a");
        ensure!(broker.send(&event).await?.status == 201);
        ensure!(reader.data().await?.starts_with(&format!("{n} ")), "not {n}");
    }
    let stalled = [("reason", "stalled")];
    let all = |n| n == 15.0;
    broker.wait_for_metric("eventcast_disconnects_total", &stalled, WAIT_TIMEOUT, all).await?;
    for (tls, open) in [("true", 1.0), ("false", 0.0)] {
        for gauge in ["eventcast_connections", "eventcast_stream_connections"] {
            let labels = [("tls", tls)];
            broker.wait_for_metric(gauge, &labels, WAIT_TIMEOUT, |n| n == open).await?;
        }
    }
    let metrics = broker.metrics().await?;
    let outcome = |name| metrics.metric("eventcast_subscriber_events_total", &[("outcome", name)]);
    ensure!(outcome("delivered") >= 120.0, "{} delivered", outcome("delivered"));
    assert_eq!(outcome("lost"), 0.0);
    Ok(())
}

/// Many subscribers that come and go, some slowly, over TLS: each event is delivered once, or declared lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_holds_over_tls() -> Result<()> {
    let files = KeyFiles::new()?;
    let broker = BrokerWithNats::with_shards(2, |config| {
        config.tls = Some(files.config());
        config.memory.tail_events = 64;
        config.channels[0].delivery.from = "last:5".into();
    })
    .await?;
    let plan = Plan { slow: 0.3, padding: 30_000, subscribers: 60, ..Plan::default() };
    let ledger = Ledger::start(plan, vec![broker.events_url("")]);
    ledger.progress(600, Duration::from_secs(60)).await?;
    ledger.finish(Duration::from_secs(40)).await?.assert_nothing_lost();
    Ok(())
}

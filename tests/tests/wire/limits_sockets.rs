//! Sockets run out: streams, idle connections, half-sent heads and slow bodies do not starve other clients, and rejected
//! connections are told so and counted.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    broker::Broker,
    eventually,
    http::{Http1Connection, Publish, Version},
    nats::NatsServer,
    wire::{BrokerWithNats, EVENTS, HTTP_VERSIONS, Http2Connection, RawResponse},
};
use futures_util::future::{join_all, try_join_all};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(8);

/// Opens streams until one is sent away.
async fn fill(broker: &BrokerWithNats) -> Result<Vec<RawResponse>> {
    let mut open = Vec::new();
    loop {
        let mut stream = broker.subscribe(Version::Http1, "", &[]).await?;
        let first = String::from_utf8(stream.read_until(b"\n\n").await?)?;
        if first.contains("eventcast.closing") {
            ensure!(first.contains("overloaded"), "{first}");
            return Ok(open);
        }
        open.push(stream);
    }
}

/// Requests of every kind are answered, on connections of their own.
async fn requests_are_answered(broker: &BrokerWithNats) -> Result<()> {
    for version in HTTP_VERSIONS {
        let ask = |target: &'static str, accept| broker.request(version, "GET", target, accept);
        let json = [("Accept", "application/json")];
        let history = ask(EVENTS, &json).await?.json().await?;
        ensure!(history["events"].is_array(), "history: {history}");
        ensure!(ask("/channels/default/demo/stats", &[]).await?.head.status == 200, "statistics");
        ensure!(ask("/channels/default/demo", &[]).await?.head.status == 200, "the channel");
        let post =
            RawResponse::request(version, broker.address(), "POST", EVENTS, &[], b"x").await?;
        ensure!(post.head.status == 201, "{version:?}: {:?}", post.head);
    }
    Ok(())
}

#[tokio::test]
async fn a_stream_never_takes_the_last_sockets() -> Result<()> {
    let broker = BrokerWithNats::start(|config| config.limits.connections = 32).await?;
    let mut shared = Http2Connection::connect(broker.address()).await?;
    let mut first = shared.request("GET", EVENTS, &[], b"").await?;
    first.read_retry().await?;
    let mut open = fill(&broker).await?;
    assert_eq!(open.len(), 23, "of 32 connections streams may take 24");
    let metric = async |name: &str| broker.metric(name, &[]).await;
    assert_eq!(metric("eventcast_stream_connections").await?, 24.0);
    assert_eq!(metric("eventcast_stream_connections_max").await?, 24.0);
    assert_eq!(metric("eventcast_connections_max").await?, 32.0);
    let mut second = shared.request("GET", EVENTS, &[], b"").await?;
    second.read_retry().await.context("a connection that has a stream may have more")?;
    for version in HTTP_VERSIONS {
        let mut refused = broker.subscribe(version, "", &[]).await?;
        assert_eq!(refused.read_closing().await?.0, "overloaded");
    }
    let reason = [("reason", "limit-connections")];
    assert_eq!(broker.metric("eventcast_rejects_total", &reason).await?, 3.0);
    requests_are_answered(&broker).await?;
    assert_eq!(first.data().await?, "x");
    open.pop();
    broker
        .wait_for_metric("eventcast_stream_connections", &[], WAIT_TIMEOUT, |n| n == 23.0)
        .await?;
    open.push(broker.open_stream(Version::Http2, "").await?);
    drop((first, second, shared));
    broker
        .wait_for_metric("eventcast_stream_connections", &[], WAIT_TIMEOUT, |n| n == 23.0)
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_low_limit_of_open_files_is_taken_into_account() -> Result<()> {
    let broker = BrokerWithNats::start_with_files(Some(256), |_| {}).await?;
    ensure!(broker.log().contains("too few open files"), "it says so");
    let max = broker.metric("eventcast_stream_connections_max", &[]).await?;
    ensure!((100.0..200.0).contains(&max), "{max}");
    let open = fill(&broker).await?;
    assert_eq!(open.len() as f64, max);
    requests_are_answered(&broker).await?;
    let idle = try_join_all((0..300).map(|_| Http1Connection::connect(broker.address()))).await?;
    eventually("a moment later", WAIT_TIMEOUT, async || requests_are_answered(&broker).await)
        .await?;
    assert_eq!(broker.metric("eventcast_accept_errors_total", &[]).await?, 0.0);
    drop((open, idle));
    Ok(())
}

#[tokio::test]
async fn a_broker_that_may_open_hardly_any_files_says_what_to_do() -> Result<()> {
    let nats = NatsServer::start().await?;
    let launched = Broker::launch_with_files(&nats.url(), Some(64), |_| {}).await;
    let said = match launched {
        Ok(mut broker) => {
            assert_eq!(broker.wait_exit(WAIT_TIMEOUT).await?.code(), Some(1));
            broker.log()
        }
        Err(error) => format!("{error:#}"), // it ended before it was looked at
    };
    ensure!(said.contains("raise the limit of open files"), "{said}");
    Ok(())
}

/// A connection that holds a socket and gives nothing for it.
async fn occupy(broker: &BrokerWithNats, kind: &str) -> Result<TcpStream> {
    let mut socket = TcpStream::connect(broker.address()).await?;
    let post = format!("POST {EVENTS} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf");
    let bytes: &[u8] = match kind {
        "kept alive" => b"HEAD /channels/default/demo HTTP/1.1\r\nHost: a\r\n\r\n",
        "half a head" => b"GET /channels/default/demo HTTP/1.1\r\nHo",
        "half a body" => post.as_bytes(),
        "HTTP/2 without a stream" => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        "half a preface" => b"PRI * HTTP/2.0\r\n",
        _ => b"",
    };
    socket.write_all(bytes).await?;
    if kind == "kept alive" {
        socket.read_exact(&mut [0; 64]).await?;
    }
    Ok(socket)
}

#[tokio::test]
async fn connections_that_wait_for_their_clients_make_room_for_others() -> Result<()> {
    let broker = BrokerWithNats::start(|config| config.limits.connections = 32).await?;
    let mut stream = broker.open_stream(Version::Http1, "").await?;
    for (kind, phase) in [
        ("silent", "idle"),
        ("kept alive", "idle"),
        ("half a head", "head"),
        ("half a preface", "idle"),
        ("HTTP/2 without a stream", "idle"),
        ("half a body", "body"),
    ] {
        let evicted = [("phase", phase)];
        let before = broker.metric("eventcast_connections_evicted_total", &evicted).await?;
        let mut held = Vec::new();
        for _ in 0..60 {
            // one that is refused is closed, and so cannot be spoken to
            held.extend(occupy(&broker, kind).await.ok());
        }
        eventually(kind, WAIT_TIMEOUT, async || broker.publish("through").await).await?;
        assert_eq!(stream.data().await?, "through", "{kind}");
        let after = broker.metric("eventcast_connections_evicted_total", &evicted).await?;
        ensure!(after >= before + 4.0, "{kind}: {before} {after}");
    }
    requests_are_answered(&broker).await
}

#[tokio::test]
async fn a_connection_that_makes_room_is_ended_properly() -> Result<()> {
    let broker = BrokerWithNats::start(|config| config.limits.connections = 32).await?;
    let mut idle = Http1Connection::connect(broker.address()).await?;
    idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    idle.read_head().await?;
    idle.body().await?;
    let mut two = Http2Connection::connect(broker.address()).await?;
    two.request("HEAD", "/", &[], b"").await?;
    let mut half = Http1Connection::connect(broker.address()).await?;
    half.send("GET / HT").await?;
    broker.wait_for_metric("eventcast_connections", &[], WAIT_TIMEOUT, |n| n == 3.0).await?;
    let flood = try_join_all((0..80).map(|_| occupy(&broker, "silent"))).await?;
    idle.closed().await.context("without a byte")?;
    timeout(WAIT_TIMEOUT, &mut two.connection).await???;
    drop(flood);
    let flood = try_join_all((0..80).map(|_| occupy(&broker, "half a head"))).await?;
    assert_eq!(half.read_head().await?.status, 503, "half a head gets an answer");
    ensure!(String::from_utf8(half.body().await?)?.contains("too-many-connections"), "a problem");
    drop(flood);
    Ok(())
}

/// Requests that are being answered are not cut off: what does not fit beside them is refused.
#[tokio::test]
async fn connections_beyond_the_limit_are_refused_and_not_left_waiting() -> Result<()> {
    let broker = BrokerWithNats::start(|config| config.limits.connections = 16).await?;
    broker.nats.pause()?;
    let post = format!("POST {EVENTS} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    let mut busy = Vec::new();
    for _ in 0..16 {
        let mut connection = Http1Connection::connect(broker.address()).await?;
        connection.send(&post).await?;
        busy.push(connection);
    }
    // each has its body read, and waits for NATS
    broker.wait_for_metric("eventcast_body_kibibytes", &[], WAIT_TIMEOUT, |n| n == 16.0).await?;
    let refused = join_all((0..60).map(|n| {
        let broker = &broker;
        async move {
            let mut connection = Http1Connection::connect(broker.address()).await?;
            // those beyond the spare sockets are refused before they have asked
            if n % 2 == 0 {
                connection.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
            }
            let head = connection.read_head().await?;
            ensure!(head.status == 503, "{head:?}");
            ensure!(head.header("content-type") == Some("application/problem+json"), "{head:?}");
            ensure!(head.header("connection") == Some("close"), "{head:?}");
            ensure!(head.header("retry-after").is_some(), "{head:?}");
            let body = String::from_utf8(connection.body().await?)?;
            ensure!(body.contains("limits.connections"), "{body}");
            anyhow::Ok(())
        }
    }))
    .await;
    let answered = refused.iter().filter(|r| r.is_ok()).count();
    ensure!(answered >= 32, "{answered} of 60 were answered: {refused:?}");
    let limit = [("reason", "limit")];
    let counted = |n| n == 60.0;
    broker
        .wait_for_metric("eventcast_connections_refused_total", &limit, WAIT_TIMEOUT, counted)
        .await?;
    let mut two = TcpStream::connect(broker.address()).await?;
    two.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
    let mut told = Vec::new();
    timeout(WAIT_TIMEOUT, two.read_to_end(&mut told)).await??;
    ensure!(told.get(9 + 3) == Some(&7), "HTTP/2 is told to go away: {told:?}");
    broker.nats.resume()?;
    for mut connection in busy {
        assert_eq!(connection.read_head().await?.status, 201, "nobody was cut off");
    }
    eventually("there is room again", WAIT_TIMEOUT, async || broker.send(&Publish::new("y")).await)
        .await?;
    Ok(())
}

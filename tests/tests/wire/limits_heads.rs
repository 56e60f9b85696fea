//! Request heads and the time between them: their size, slow heads and idle connections, over HTTP/1.1 and HTTP/2.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::BrokerConfig;
use eventcast_tests::{
    http::{Http1Connection, Version},
    wire::{BrokerWithNats, EVENTS, HTTP_VERSIONS, Http2Connection},
};
use futures_util::future::try_join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, interval, sleep, timeout},
};

const APP: &str = "https://app.example.com";
/// A head has 10 s.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const TOLERANCE: Duration = Duration::from_secs(4);

async fn start(change: impl FnOnce(&mut BrokerConfig)) -> Result<BrokerWithNats> {
    BrokerWithNats::start(|config| {
        config.channels[0].access.allowed_origins = vec![APP.into()];
        change(config);
    })
    .await
}

#[tokio::test]
async fn a_cookie_of_20_kb_is_refused_with_words_that_a_page_can_read() -> Result<()> {
    let broker = start(|_| {}).await?;
    let cookie = "x".repeat(20_000);
    for version in HTTP_VERSIONS {
        for (method, target) in [
            ("GET", EVENTS),
            ("POST", EVENTS),
            ("OPTIONS", EVENTS),
            ("GET", "/channels/default/demo/stats"),
        ] {
            let headers = [("Cookie", &*cookie), ("Origin", APP)];
            let response = broker.request(version, method, target, &headers).await?;
            assert_eq!(
                response.header_values("access-control-allow-origin"),
                [APP],
                "{version:?} {method}"
            );
            let body = response.expect_problem(431).await?;
            ensure!(
                body["detail"].as_str().is_some_and(|d| d.contains("limits.headBytes")),
                "{body}"
            );
        }
        let foreign = [("Cookie", &*cookie), ("Origin", "https://evil.example")];
        let response = broker.request(version, "GET", EVENTS, &foreign).await?;
        assert_eq!(response.header_values("access-control-allow-origin"), [""; 0], "{version:?}");
        let target = format!("{EVENTS}?topic={}", "a".repeat(20_000));
        let response = broker.request(version, "GET", &target, &[("Origin", APP)]).await?;
        assert_eq!(response.header_values("access-control-allow-origin"), [APP], "{version:?}");
        response.expect_problem(414).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_size_of_heads_can_be_raised_while_the_broker_runs() -> Result<()> {
    let mut broker = start(|_| {}).await?;
    let cookie = "x".repeat(60_000);
    broker.reconfigure(|config| config.limits.head_bytes = 64 << 10)?;
    let applied = [("outcome", "applied")];
    broker
        .wait_for_metric("eventcast_config_reloads_total", &applied, TOLERANCE, |n| n == 1.0)
        .await?;
    for version in HTTP_VERSIONS {
        let mut stream = broker.subscribe(version, "", &[("Cookie", &cookie)]).await?;
        stream.read_retry().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_hyper_refuses_by_itself_has_a_body_too() -> Result<()> {
    let broker = start(|_| {}).await?;
    let many: String = (0..101).map(|i| format!("X-{i}: 1\r\n")).collect();
    let long = "x".repeat(200 << 10);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nBad Header: 1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/9.9\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {long}\r\n\r\n"), 431),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 431),
    ] {
        let mut connection = Http1Connection::connect(broker.address()).await?;
        // a request before it changes nothing
        connection.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
        assert_eq!(connection.read_head().await?.status, 200);
        connection.send(&request).await?;
        let head = connection.read_head().await?;
        let line = &request[..request.len().min(40)];
        assert_eq!(head.status, status, "{line}");
        assert_eq!(head.header("content-type"), Some("application/problem+json"), "{line}");
        assert_eq!(head.header("connection"), Some("close"), "{line}");
        let body: serde_json::Value = serde_json::from_slice(&connection.body().await?)?;
        assert_eq!(body["status"], status, "{body}");
        connection.closed().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_root_answers_load_balancers() -> Result<()> {
    let broker = start(|_| {}).await?;
    for version in HTTP_VERSIONS {
        let mut response = broker.request(version, "GET", "/", &[]).await?;
        assert_eq!((response.head.status, response.read_to_end().await?), (200, b"ok\n".to_vec()));
        let response = broker.request(version, "HEAD", "/", &[]).await?;
        assert_eq!(
            (response.head.status, response.head.header("content-length")),
            (200, Some("3"))
        );
        broker.request(version, "DELETE", "/", &[]).await?.expect_problem(405).await?;
    }
    Ok(())
}

/// Publishes on a connection that was idle for a while.
async fn publish_after(broker: &BrokerWithNats, version: Version, pause: Duration) -> Result<()> {
    let post = format!("POST {EVENTS} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    let (mut one, mut two) = (None, None);
    for _ in 0..2 {
        let status = match version {
            Version::Http1 => {
                if one.is_none() {
                    one = Some(Http1Connection::connect(broker.address()).await?);
                }
                let connection = one.as_mut().context("connected")?;
                connection.send(&post).await?;
                let head = connection.read_head().await?;
                connection.body().await?;
                head.status
            }
            Version::Http2 => {
                if two.is_none() {
                    two = Some(Http2Connection::connect(broker.address()).await?);
                }
                let mut response =
                    two.as_mut().context("connected")?.request("POST", EVENTS, &[], b"x").await?;
                response.read_to_end().await?;
                response.head.status
            }
        };
        ensure!(status == 201, "{version:?} after {pause:?}: {status}");
        sleep(pause).await;
    }
    Ok(())
}

/// The moment at which such connections used to be closed, on every side of it.
#[tokio::test]
async fn idle_connections_outlast_the_time_for_a_head() -> Result<()> {
    let broker = start(|_| {}).await?;
    let pauses = (0..40).map(|n| Duration::from_millis(9_500 + 50 * n));
    let all = pauses
        .flat_map(|pause| HTTP_VERSIONS.map(|version| publish_after(&broker, version, pause)));
    try_join_all(all).await?;
    Ok(())
}

#[tokio::test]
async fn idle_connections_are_closed_after_their_own_time() -> Result<()> {
    let broker = start(|config| config.limits.idle_seconds = 2).await?;
    let mut one = Http1Connection::connect(broker.address()).await?;
    one.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    one.read_head().await?;
    one.body().await?;
    let began = Instant::now();
    let mut two = Http2Connection::connect(broker.address()).await?;
    two.request("HEAD", "/", &[], b"").await?;
    let mut busy = Http2Connection::connect(broker.address()).await?;
    let mut stream = busy.request("GET", EVENTS, &[], b"").await?;
    stream.read_retry().await?;
    one.closed().await?;
    ensure!((1900..3500).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    timeout(Duration::from_secs(24), &mut two.connection).await???;
    broker.publish("still here").await?;
    assert_eq!(stream.data().await?, "still here", "a connection with a stream is not idle");
    Ok(())
}

/// Drips bytes until the broker has had enough; returns when that was, and what it said.
async fn drip(mut socket: TcpStream, drops: &'static [u8]) -> Result<(Duration, Vec<u8>)> {
    let began = Instant::now();
    let (mut read, mut write) = socket.split();
    let mut said = Vec::new();
    let dripping = async {
        let mut tick = interval(Duration::from_millis(200));
        loop {
            tick.tick().await;
            if write.write_all(drops).await.is_err() {
                std::future::pending::<()>().await; // the reader sees it, too
            }
        }
    };
    tokio::select! {
        ended = timeout(HEAD_TIMEOUT + TOLERANCE, read.read_to_end(&mut said)) => {
            if let Err(error) = ended.context("still open")? {
                tracing::debug!(%error, "reset");
            }
        }
        () = dripping => {}
    }
    Ok((began.elapsed(), said))
}

async fn slow(
    broker: &BrokerWithNats,
    before: &[u8],
    drops: &'static [u8],
) -> Result<(Duration, String)> {
    let mut socket = TcpStream::connect(broker.address()).await?;
    socket.write_all(before).await?;
    let (after, said) = drip(socket, drops).await?;
    ensure!(after >= HEAD_TIMEOUT - Duration::from_secs(1), "closed after {after:?}");
    Ok((after, String::from_utf8_lossy(&said).into_owned()))
}

#[tokio::test]
async fn slow_heads_are_cut_off_ten_seconds_after_their_first_byte() -> Result<()> {
    let broker = start(|_| {}).await?;
    let kept = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nX: ";
    let settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let headers = [&settings[..], b"\0\x40\0\x01\0\0\0\0\x01"].concat();
    let continued =
        [&settings[..], b"\0\0\x01\x01\0\0\0\0\x01\x82\0\x40\0\x09\0\0\0\0\x01"].concat();
    let (first, second, two, more, preface, silent) = tokio::try_join!(
        slow(&broker, b"GET / HTTP/1.1\r\nX: ", b"x"),
        slow(&broker, kept, b"x"),
        slow(&broker, &headers, b"\0"),
        slow(&broker, &continued, b"\0"),
        slow(&broker, &settings[..16], b""),
        slow(&broker, b"", b""),
    )?;
    ensure!(first.1.starts_with("HTTP/1.1 408 "), "{first:?}");
    ensure!(second.1.contains("HTTP/1.1 408 "), "{second:?}");
    drop((two, more, preface, silent));
    Ok(())
}

/// The time begins with the first byte, not with the end of the last answer.
#[tokio::test]
async fn a_head_has_its_whole_time_however_long_its_connection_was_idle() -> Result<()> {
    let broker = start(|_| {}).await?;
    let mut connection = Http1Connection::connect(broker.address()).await?;
    connection.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    connection.read_head().await?;
    sleep(Duration::from_secs(7)).await;
    connection.send("HEAD / HTTP/1.1\r\n").await?;
    sleep(Duration::from_secs(7)).await;
    connection.send("Host: a\r\n\r\n").await?;
    assert_eq!(connection.read_head().await?.status, 200);
    Ok(())
}

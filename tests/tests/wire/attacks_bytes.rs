//! Attacks with malformed HTTP: A1 to A8, A34. The broker rejects them, closes the connection, and keeps serving everybody else.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    http::{Head, Http1Connection, Publish, Version},
    wire::{BrokerWithNats, EVENTS, HTTP_VERSIONS, RawResponse},
};
use tokio::time::{interval, timeout};

const WAIT_TIMEOUT: Duration = Duration::from_secs(8);
/// Beyond every deadline of ten seconds.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(14);

/// A connection with these bytes sent.
async fn sent(broker: &BrokerWithNats, bytes: impl AsRef<[u8]>) -> Result<Http1Connection> {
    let mut connection = Http1Connection::connect(broker.address()).await?;
    connection.send(bytes).await?;
    Ok(connection)
}

/// A request with these lines below its first: what is answered, and the connection.
async fn asked(
    broker: &BrokerWithNats,
    first: &str,
    lines: &str,
    body: &str,
) -> Result<(Head, Http1Connection)> {
    let mut connection = sent(broker, format!("{first}\r\n{lines}\r\n{body}")).await?;
    Ok((connection.read_head().await?, connection))
}

/// Other clients are still served: the last check of every test here.
async fn alive(broker: &BrokerWithNats) -> Result<()> {
    let mut stream = broker.open_stream(Version::Http1, "").await?;
    broker.publish("alive").await?;
    ensure!(stream.data().await? == "alive", "something else came");
    Ok(())
}

/// A1: heads that never end (slowloris), that never begin, and half of a preface are closed after ten seconds.
#[tokio::test]
async fn a1_a_head_that_does_not_end_is_closed() -> Result<()> {
    let broker = BrokerWithNats::start(|config| config.limits.idle_seconds = 10).await?;
    let mut stream = broker.open_stream(Version::Http1, "").await?;
    let silent = Http1Connection::connect(broker.address()).await?;
    let preface = sent(&broker, "PRI * HTTP/2.0\r\n\r\nSM").await?;
    let mut kept = sent(&broker, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    kept.read_head().await?; // and then nothing more, on a connection that is kept
    let mut slow = sent(&broker, "GET / HTTP/1.1\r\nHost: a\r\nX: ").await?;
    let dripping = tokio::spawn(async move {
        let mut tick = interval(Duration::from_millis(200));
        while slow.send("x").await.is_ok() {
            tick.tick().await;
        }
    });
    broker.wait_for_metric("eventcast_connections", &[], WAIT_TIMEOUT, |open| open == 5.0).await?;
    broker.wait_for_metric("eventcast_connections", &[], CLOSE_TIMEOUT, |open| open == 1.0).await?;
    timeout(WAIT_TIMEOUT, dripping).await??;
    drop((silent, preface, kept));
    broker.publish("still here").await?;
    assert_eq!(stream.data().await?, "still here");
    alive(&broker).await
}

/// A2: a body that stops coming is given up with `408`, and nothing is stored.
#[tokio::test]
async fn a2_a_body_that_stops_coming_is_a_408() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let post = format!("POST {EVENTS} HTTP/1.1\r\nHost: a\r\n");
    let mut lengthy = sent(&broker, format!("{post}Content-Length: 100\r\n\r\nhalf")).await?;
    let chunks = format!("{post}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    let mut chunked = sent(&broker, chunks).await?;
    let refused = [("outcome", "refused")];
    broker
        .wait_for_metric("eventcast_publish_total", &refused, CLOSE_TIMEOUT, |count| count == 2.0)
        .await?;
    for connection in [&mut lengthy, &mut chunked] {
        assert_eq!(connection.read_head().await?.status, 408);
        connection.body().await?;
        connection.closed().await?;
    }
    alive(&broker).await
}

/// A3: a head of 300 KiB or 101 headers is not read to its end (R20 has the limits).
#[tokio::test]
async fn a3_a_head_of_300_kib_is_not_read() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let long = "x".repeat(300 << 10);
    let many: String = (0..101).map(|i| format!("X-{i}: 1\r\n")).collect();
    for lines in [format!("X: {long}\r\n"), many, format!("Last-Event-ID: {long}\r\n")] {
        let request = format!("GET {EVENTS} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let mut connection = Http1Connection::connect(broker.address()).await?;
        // the broker closes before it has read all: then the answer may be lost with the connection
        if connection.send(request).await.is_ok()
            && let Ok(head) = connection.read_head().await
        {
            assert_eq!(head.status, 431);
        }
    }
    for name in ["x-long", "last-event-id"] {
        if let Ok(response) = broker.request(Version::Http2, "GET", EVENTS, &[(name, &long)]).await
        {
            assert_eq!(response.head.status, 431);
        }
    }
    assert_eq!(broker.metric("eventcast_connects_total", &[]).await?, 0.0, "no stream");
    alive(&broker).await
}

/// A4: a body over the limit is refused before it is read, or at the limit where no length was announced.
#[tokio::test]
async fn a4_a_body_over_the_limit_is_refused_at_the_limit() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let post = format!("POST {EVENTS} HTTP/1.1");
    let over = (256 << 10) + 1;
    for expect in ["", "Expect: 100-continue\r\n"] {
        let lines = format!("Host: a\r\nContent-Length: {over}\r\n{expect}");
        let (head, mut connection) = asked(&broker, &post, &lines, "").await?;
        assert_eq!(head.status, 413, "nothing of the body was sent: {expect:?}");
        connection.body().await?;
        connection.closed().await?;
    }
    let chunk = format!("{over:x}\r\n{}\r\n", "x".repeat(over));
    let lines = "Host: a\r\nTransfer-Encoding: chunked\r\n";
    let (head, mut connection) = asked(&broker, &post, lines, &chunk).await?;
    assert_eq!(head.status, 413, "at the limit");
    connection.body().await?;
    connection.closed().await?;
    let body = "x".repeat(over);
    let address = broker.address();
    let response =
        RawResponse::request(Version::Http2, address, "POST", EVENTS, &[], body.as_bytes()).await?;
    response.expect_problem(413).await?;
    let lines = "Host: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n";
    let (head, mut connection) = asked(&broker, &post, lines, "").await?;
    assert_eq!(head.status, 100, "who asks first is told to go on");
    connection.send("ok").await?;
    assert_eq!(connection.read_head().await?.status, 201);
    alive(&broker).await
}

/// A5: an encoded body is not decoded, so no bomb goes off.
#[tokio::test]
async fn a5_encoded_bodies_are_refused() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    for coding in ["gzip", "br", "deflate", "zstd", "identity", "gzip, gzip"] {
        let bomb = Publish::new(vec![0x1f, 0x8b, 8, 0]).header("Content-Encoding", coding);
        assert_eq!(broker.send(&bomb).await?.status, 415, "{coding}");
    }
    alive(&broker).await
}

/// A6: where two parties could see two requests, neither is served: `400`, and the connection ends.
#[tokio::test]
async fn a6_what_could_be_read_in_two_ways_is_refused_and_closed() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let post = format!("POST {EVENTS} HTTP/1.1");
    let get = format!("GET {EVENTS} HTTP/1.1");
    let chunked = "1\r\nx\r\n0\r\n\r\n";
    let mut wrong = Vec::new();
    for (what, first, lines, body) in [
        ("two lengths", &*post, "Host: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n", "xx"),
        ("a signed length", &*post, "Host: a\r\nContent-Length: +1\r\n", "x"),
        ("TE not chunked", &*post, "Host: a\r\nTransfer-Encoding: identity\r\n", ""),
        ("TE before chunked", &*post, "Host: a\r\nTransfer-Encoding: chunked, gzip\r\n", chunked),
        ("TE besides chunked", &*post, "Host: a\r\nTransfer-Encoding: gzip, chunked\r\n", chunked),
        (
            "TE twice",
            &*post,
            "Host: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            chunked,
        ),
        ("no host", &*get, "", ""),
        ("an empty host", &*get, "Host:\r\n", ""),
        ("two hosts", "GET /channels/default/demo HTTP/1.1", "Host: a\r\nHost: b\r\n", ""),
        ("bad version", "GET / HTTP/3.0", "Host: a\r\n", ""),
        ("no version", "GET /", "Host: a\r\n", ""),
        ("a space before the colon", &*get, "Host : a\r\n", ""),
    ] {
        let Ok((head, mut connection)) = asked(&broker, first, lines, body).await else {
            continue; // closed without a word: not served either
        };
        let refused = matches!(head.status, 400 | 501 | 505);
        let closed = connection.body().await.is_ok() && connection.closed().await.is_ok();
        if !(refused && closed) {
            wrong.push(format!("{what}: {}, closed {closed}", head.status));
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    let stored = [("outcome", "stored")];
    assert_eq!(broker.metric("eventcast_publish_total", &stored).await?, 0.0, "nothing");
    alive(&broker).await
}

/// A6: a length and chunks in one request, whichever comes first.
#[tokio::test]
async fn a6_a_length_beside_chunks_is_ignored_and_nothing_behind_is_served() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let post = format!("POST {EVENTS} HTTP/1.1");
    let (length, chunks) = ("Content-Length: 4\r\n", "Transfer-Encoding: chunked\r\n");
    let hidden = format!("1\r\nx\r\n0\r\n\r\n{post}\r\nHost: a\r\nContent-Length: 1\r\n\r\ny");
    let mut statuses = Vec::new();
    for lines in [format!("Host: a\r\n{length}{chunks}"), format!("Host: a\r\n{chunks}{length}")] {
        let (head, mut connection) = asked(&broker, &post, &lines, &hidden).await?;
        connection.body().await?;
        connection.closed().await.with_context(|| format!("not closed: {lines:?}"))?;
        statuses.push(head.status);
    }
    // RFC 9112, section 6.1: the chunks count, the length is dropped, and the connection is closed after the answer. What
    // a proxy in front might have taken for a second request is never served.
    assert_eq!(statuses, [201, 201]);
    let stored = [("outcome", "stored")];
    assert_eq!(broker.metric("eventcast_publish_total", &stored).await?, 2.0);
    alive(&broker).await
}

/// RFC 9110, section 9.3.7: proxies ask the server as a whole whether it is there.
#[tokio::test]
async fn the_server_as_a_whole_says_what_it_can_do() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let (head, _connection) = asked(&broker, "OPTIONS * HTTP/1.1", "Host: a\r\n", "").await?;
    let allowed = head.headers.iter().find(|(name, _)| name == "allow");
    assert_eq!((head.status, allowed.map(|(_, value)| value.contains("POST"))), (204, Some(true)));
    Ok(())
}

/// A7: what is pipelined behind a subscription is never served, and does not hide that the client has gone.
#[tokio::test]
async fn a7_pipelined_bytes_are_not_served_and_hide_no_end() -> Result<()> {
    let broker = BrokerWithNats::start(|config| {
        config.channels[0].delivery.heartbeat_seconds = 1;
    })
    .await?;
    let get = format!("GET {EVENTS} HTTP/1.1\r\nHost: a\r\n\r\n");
    let post = format!("POST {EVENTS} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    for behind in [get.repeat(3), post, "\r\n".into(), "x".repeat(100_000)] {
        let mut connection = sent(&broker, format!("{get}{behind}")).await?;
        assert_eq!(connection.read_head().await?.status, 200);
        connection.read_until(b"\n:\n").await?;
        broker
            .wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, |open| open == 1.0)
            .await?;
        drop(connection);
        broker
            .wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, |open| open == 0.0)
            .await?;
    }
    assert_eq!(broker.metric("eventcast_connects_total", &[]).await?, 4.0, "one each");
    let stored = [("outcome", "stored")];
    assert_eq!(broker.metric("eventcast_publish_total", &stored).await?, 0.0, "not served");
    alive(&broker).await
}

/// A8: folded lines, NUL and control characters in a head are refused.
#[tokio::test]
async fn a8_folded_lines_and_control_characters_are_refused() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    for lines in [
        "Host: a\r\nX: a\r\n b\r\n",
        "Host: a\r\nX: a\0b\r\n",
        "Host: a\r\nLast-Event-ID: \x01\r\n",
        "Host: a\r\nX: a\rb\r\n",
        "Host: a\r\nX\x01: a\r\n",
        "Host: a\r\n: a\r\n",
        "Host: a\r\nX y: a\r\n",
    ] {
        let (head, mut connection) =
            asked(&broker, &format!("GET {EVENTS} HTTP/1.1"), lines, "").await?;
        assert_eq!(head.status, 400, "{lines:?}");
        connection.body().await?;
        connection.closed().await?;
    }
    for target in ["/\0", "/channels/default/demo/events?\x01", "/ /x"] {
        let (head, _) =
            asked(&broker, &format!("GET {target} HTTP/1.1"), "Host: a\r\n", "").await?;
        assert_eq!(head.status, 400, "{target:?}");
    }
    alive(&broker).await
}

/// A34: other protocols and methods get nothing: an upgrade is ignored, tunnels and traces are refused, and a body that
/// comes with them is not read.
#[tokio::test]
async fn a34_upgrades_tunnels_and_other_methods_get_nothing() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    for upgrade in [
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n",
    ] {
        let lines = format!("Host: a\r\n{upgrade}");
        let (head, _) = asked(&broker, &format!("GET {EVENTS} HTTP/1.1"), &lines, "").await?;
        assert_eq!(head.status, 200, "ignored");
        assert_eq!(head.header("content-type"), Some("text/event-stream; charset=utf-8"));
        assert_eq!(head.header("upgrade"), None);
    }
    for first in ["CONNECT a:443 HTTP/1.1".into(), format!("TRACE {EVENTS} HTTP/1.1")] {
        let (head, mut connection) =
            asked(&broker, &first, "Host: a:443\r\nX-Secret: s3cr3t\r\n", "").await?;
        ensure!(matches!(head.status, 400 | 404 | 405 | 501), "{first}: {head:?}");
        let body = connection.body().await?;
        ensure!(!String::from_utf8_lossy(&body).contains("s3cr3t"), "traced");
    }
    for method in ["QUERY", "PUT", "PATCH", "PROPFIND", "post"] {
        for version in HTTP_VERSIONS {
            let response = broker.request(version, method, EVENTS, &[]).await?;
            assert_eq!(response.head.status, 405, "{method}");
            ensure!(!response.header_values("allow").is_empty(), "{method}: {:?}", response.head);
        }
        let lines = "Host: a\r\nContent-Length: 1000000000\r\n";
        let (head, mut connection) =
            asked(&broker, &format!("{method} {EVENTS} HTTP/1.1"), lines, "x").await?;
        assert_eq!(head.status, 405, "{method}");
        connection.body().await?;
        connection.closed().await?;
    }
    alive(&broker).await
}

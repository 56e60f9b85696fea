//! TLS: versions and protocols, and what clients may not do to the handshakes of others.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::{Overload, ProxyProtocol, TlsVersion};
use eventcast_tests::{
    broker::networks,
    http::{Http1Connection, Version, client},
    tls::{KeyFiles, Socket, TLS_VERSIONS, client_config, client_config_of},
    wire::{BrokerWithNats, EVENTS, HTTP_VERSIONS, RawResponse},
};
use futures_util::future::try_join_all;
use rustls::{
    AlertDescription, ClientConnection, HandshakeKind, ProtocolVersion, client::Resumption,
    pki_types::ServerName, version::TLS12,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout},
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(8);
/// The alerts `handshake_failure` and `protocol_version`.
const ALERTS_OF_VERSION: [&[u8]; 2] = [&[21, 3, 3, 0, 2, 2, 40], &[21, 3, 3, 0, 2, 2, 70]];
/// An alert `internal_error`.
const ALERT_INTERNAL: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// A broker that serves TLS alone.
async fn broker(files: &KeyFiles) -> Result<BrokerWithNats> {
    BrokerWithNats::start(|config| config.tls = Some(files.config())).await
}

async fn connect(broker: &BrokerWithNats) -> Result<TcpStream> {
    Ok(TcpStream::connect(broker.secure_address()).await?)
}

/// The first message of a client.
fn client_hello() -> Result<Vec<u8>> {
    let name = ServerName::try_from("localhost")?;
    let mut client = ClientConnection::new(Arc::new(client_config(&["http/1.1"])), name)?;
    let mut hello = Vec::new();
    client.write_tls(&mut hello)?;
    Ok(hello)
}

/// Everything until the broker closes the connection, and how long that took.
async fn until_closed(socket: &mut TcpStream) -> Result<(Vec<u8>, Duration)> {
    let (began, mut bytes) = (Instant::now(), Vec::new());
    let closed = timeout(Duration::from_secs(20), socket.read_to_end(&mut bytes)).await;
    drop(closed.context("still open")?); // a reset is an end, too
    Ok((bytes, began.elapsed()))
}

/// A request for a stream.
fn request() -> String {
    format!("GET {EVENTS} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")
}

fn alert_of(error: &anyhow::Error) -> Option<AlertDescription> {
    let io: &std::io::Error = error.downcast_ref()?;
    match io.get_ref()?.downcast_ref()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

#[tokio::test]
async fn both_protocols_and_versions_are_served_and_no_plaintext() -> Result<()> {
    let files = KeyFiles::new()?;
    let broker = broker(&files).await?;
    for version in HTTP_VERSIONS {
        for tls in TLS_VERSIONS {
            let socket = connect(&broker).await?;
            let config = client_config_of(&[version.alpn()], &[tls]);
            let Socket::Tls(stream) = Socket::tls(socket, config).await? else {
                unreachable!("it has TLS")
            };
            let session = stream.get_ref().1;
            assert_eq!(session.protocol_version(), Some(tls.version));
            assert_eq!(session.alpn_protocol(), Some(version.alpn().as_bytes()));
        }
        broker.publish("over TLS").await?;
        let mut stream = broker.subscribe(version, "?from=last:1", &[]).await?;
        assert_eq!(stream.data().await?, "over TLS");
    }
    assert_eq!(
        broker.metric("eventcast_tls_handshakes_total", &[("outcome", "failed")]).await?,
        0.0
    );

    // plain HTTP is told what to do
    let mut plain = Http1Connection::over(connect(&broker).await?.into());
    plain.send(format!("GET {EVENTS} HTTP/1.1\r\nHost: a\r\n\r\n")).await?;
    assert_eq!(plain.read_head().await?.status, 400);
    let body = String::from_utf8(plain.body().await?)?;
    ensure!(body.contains("https-required") && body.contains("use https://"), "{body}");
    plain.closed().await?;
    let plaintext = [("outcome", "plaintext")];
    let one = |n| n == 1.0;
    broker.wait_for_metric("eventcast_tls_handshakes_total", &plaintext, WAIT_TIMEOUT, one).await?;
    Ok(())
}

#[tokio::test]
async fn a_client_without_alpn_has_http_1_and_one_with_another_protocol_is_refused() -> Result<()> {
    let files = KeyFiles::new()?;
    let broker = broker(&files).await?;
    let socket = Socket::tls(connect(&broker).await?, client_config(&[])).await?;
    let mut connection = Http1Connection::over(socket);
    connection.send(request()).await?;
    assert_eq!(connection.read_head().await?.status, 200);
    let refused =
        Socket::tls(connect(&broker).await?, client_config(&["spdy/3"])).await.unwrap_err();
    assert_eq!(alert_of(&refused), Some(AlertDescription::NoApplicationProtocol), "{refused}");
    Ok(())
}

#[tokio::test]
async fn old_versions_are_refused() -> Result<()> {
    let files = KeyFiles::new()?;
    let broker = broker(&files).await?;
    for minor in [1, 2] {
        // TLS 1.0 and 1.1, and ciphers that every client of that time has
        let mut hello = vec![1, 0, 0, 47, 3, minor];
        hello.extend([7; 32]);
        hello.extend([0, 0, 8, 0xc0, 0x13, 0xc0, 0x14, 0, 0x2f, 0, 0x35, 1, 0]);
        hello[3] = u8::try_from(hello.len() - 4)?;
        let mut record = vec![22, 3, 1, 0, u8::try_from(hello.len())?];
        record.extend(hello);
        let mut socket = connect(&broker).await?;
        socket.write_all(&record).await?;
        let (answer, _) = until_closed(&mut socket).await?;
        ensure!(ALERTS_OF_VERSION.contains(&&*answer), "version 3.{minor}: {answer:?}");
    }
    let broker = BrokerWithNats::start(|config| {
        let tls = config.tls.insert(files.config());
        tls.listen.set_port(0);
        tls.min_version = TlsVersion::Tls13;
    })
    .await?;
    let old = client_config_of(&["http/1.1"], &[&TLS12]);
    let refused = Socket::tls(connect(&broker).await?, old).await.unwrap_err();
    assert_eq!(alert_of(&refused), Some(AlertDescription::ProtocolVersion), "{refused}");
    broker.open_stream(Version::Http1, "").await?;
    Ok(())
}

/// A client that resumes a session may not send a request with its first message: it could be replayed.
#[tokio::test]
async fn sessions_are_resumed_and_have_no_early_data() -> Result<()> {
    let files = KeyFiles::new()?;
    let broker = broker(&files).await?;
    for tls in TLS_VERSIONS {
        let mut config = client_config_of(&["http/1.1"], &[tls]);
        config.enable_early_data = true;
        config.resumption = Resumption::in_memory_sessions(8);
        for round in 0..2 {
            let socket = Socket::tls(connect(&broker).await?, config.clone()).await?;
            let mut connection = Http1Connection::over(socket);
            connection.send("GET /none HTTP/1.1\r\nHost: a\r\n\r\n").await?;
            connection.read_head().await?;
            connection.body().await?;
            let Socket::Tls(stream) = connection.socket() else { unreachable!("it has TLS") };
            let session = stream.get_mut().1;
            ensure!(!session.is_early_data_accepted(), "early data");
            ensure!(session.early_data().is_none(), "early data was offered");
            let wanted = [HandshakeKind::Full, HandshakeKind::Resumed][round];
            assert_eq!(session.handshake_kind(), Some(wanted), "{tls:?}");
            if session.protocol_version() == Some(ProtocolVersion::TLSv1_3) && round == 0 {
                assert_eq!(session.tls13_tickets_received(), 1);
            }
        }
    }
    assert_eq!(
        broker.metric("eventcast_tls_handshakes_total", &[("outcome", "resumed")]).await?,
        2.0
    );
    Ok(())
}

#[tokio::test]
async fn slow_handshakes_and_heads_are_closed() -> Result<()> {
    let files = KeyFiles::new()?;
    let broker = broker(&files).await?;
    let hello = client_hello()?;
    let mut silent = connect(&broker).await?;
    let mut begun = connect(&broker).await?;
    begun.write_all(&hello[..20]).await?;
    let mut half = connect(&broker).await?;
    half.write_all(&hello).await?;
    let idle = Socket::tls(connect(&broker).await?, client_config(&["http/1.1"])).await?;
    let mut idle = Http1Connection::over(idle);
    let late = Socket::tls(connect(&broker).await?, client_config(&["http/1.1"])).await?;
    let mut late = Http1Connection::over(late);
    let began = Instant::now();
    let ((_, silent), (_, begun), (answer, half), late, idle) = tokio::try_join!(
        until_closed(&mut silent),
        until_closed(&mut begun),
        until_closed(&mut half),
        async {
            // the head begins late, and has what is left of the time
            tokio::time::sleep(Duration::from_secs(6)).await;
            late.send("GET / HTTP/1.1\r\nHost: a\r\n").await?;
            assert_eq!(late.read_head().await?.status, 408);
            Ok(began.elapsed())
        },
        async {
            idle.closed().await.ok();
            Ok(began.elapsed())
        },
    )?;
    let about = |took: Duration, seconds: f64| (took.as_secs_f64() - seconds).abs() < 1.2;
    ensure!(about(silent, 2.0), "no byte: {silent:?}");
    ensure!(about(begun, 2.0), "a part of the first message: {begun:?}");
    ensure!(about(half, 10.0), "half a handshake: {half:?}");
    ensure!(!answer.is_empty(), "the broker did its half");
    ensure!(about(late, 10.0), "half a head: {late:?}");
    ensure!(about(idle, 10.0), "no head: {idle:?}");
    let slow = broker.metric("eventcast_tls_handshakes_total", &[("outcome", "timeout")]).await?;
    assert_eq!(slow, 3.0);
    Ok(())
}

/// Handshakes that one client leaves half-open hold up neither newcomers from elsewhere nor those who are connected.
#[tokio::test]
async fn a_thousand_half_open_handshakes_hold_nobody_else_up() -> Result<()> {
    let files = KeyFiles::new()?;
    let broker = broker(&files).await?;
    let mut connected = broker.open_stream(Version::Http1, "").await?;
    let hello = client_hello()?;
    let address: SocketAddr = broker.secure_address().parse()?;
    let half = || async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 2], 0).into())?;
        let mut socket = socket.connect(address).await?;
        socket.write_all(&hello).await?;
        anyhow::Ok(socket)
    };
    let half_open = try_join_all((0..1000).map(|_| half())).await?;
    let full = broker
        .wait_for_metric("eventcast_tls_handshakes_in_progress", &[], WAIT_TIMEOUT, |n| n >= 32.0)
        .await?;
    ensure!(full <= 32.0, "{full} handshakes of one client");
    for n in 0..20 {
        let began = Instant::now();
        let mut stream = broker.open_stream(HTTP_VERSIONS[n % 2], "").await?;
        broker.publish(format!("event {n}")).await?;
        for stream in [&mut stream, &mut connected] {
            assert_eq!(stream.data().await?, format!("event {n}"));
        }
        ensure!(began.elapsed() < Duration::from_secs(1), "held up for {:?}", began.elapsed());
    }
    drop(half_open);
    broker.wait_for_metric("eventcast_connections", &[], WAIT_TIMEOUT, |open| open < 50.0).await?;
    Ok(())
}

#[tokio::test]
async fn a_connection_beyond_the_limit_gets_an_alert() -> Result<()> {
    let files = KeyFiles::new()?;
    let broker = BrokerWithNats::start(|config| {
        config.tls = Some(files.config());
        config.limits.connections = 16;
    })
    .await?;
    // half of the sockets have streams, and the others requests that must not be cut off at once
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(broker.open_stream(Version::Http1, "").await?);
    }
    let half = format!("POST {EVENTS} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
    let busy = try_join_all((0..8).map(|_| async {
        let mut connection = Http1Connection::connect(broker.address()).await?;
        connection.send(&half).await?;
        anyhow::Ok(connection)
    }))
    .await?;
    let mut beyond = connect(&broker).await?;
    let (answer, _) = until_closed(&mut beyond).await?;
    assert_eq!(answer, ALERT_INTERNAL);
    drop((busy, streams));
    Ok(())
}

#[tokio::test]
async fn the_proxy_protocol_comes_before_tls() -> Result<()> {
    let files = KeyFiles::new()?;
    let broker = BrokerWithNats::start(|config| {
        let tls = config.tls.insert(files.config());
        tls.plaintext = true; // so that the harness does not connect with TLS by itself
        config.limits.proxy_protocol = ProxyProtocol::Required;
        config.limits.trusted_proxies = networks(["127.0.0.1/32"]);
        config.limits.subscribers_per_address = 1;
        config.limits.overload = Overload::Status;
    })
    .await?;
    let mut streams = Vec::new();
    for (client, status) in [("203.0.113.7", 200), ("203.0.113.8", 200), ("203.0.113.7", 503)] {
        let mut socket = connect(&broker).await?;
        socket.write_all(format!("PROXY TCP4 {client} 10.0.0.1 4000 443\r\n").as_bytes()).await?;
        let socket = Socket::tls(socket, client_config(&["http/1.1"])).await?;
        let mut connection = Http1Connection::over(socket);
        connection.send(request()).await?;
        let head = connection.read_head().await?;
        ensure!(head.status == status, "{client}: {head:?}");
        streams.push(connection);
    }
    let mut without = connect(&broker).await?;
    without.write_all(&client_hello()?).await?;
    let (answer, _) = until_closed(&mut without).await?;
    ensure!(answer.is_empty(), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn plaintext_is_served_beside_tls_where_it_is_asked_for() -> Result<()> {
    let files = KeyFiles::new()?;
    let broker = BrokerWithNats::start(|config| {
        config.tls.insert(files.config()).plaintext = true;
    })
    .await?;
    let mut plain = broker.open_stream(Version::Http1, "").await?;
    let url = format!("https://{}{EVENTS}", broker.secure_address());
    let secure = client(Version::Http2).get(&url).header("Accept", "text/event-stream").send();
    assert_eq!(secure.await?.status(), 200);
    broker.publish("to both").await?;
    assert_eq!(plain.data().await?, "to both");
    let address = broker.address();
    let answer = RawResponse::request(Version::Http2, address, "GET", EVENTS, &[], b"").await?;
    assert_eq!(answer.head.status, 200);
    Ok(())
}

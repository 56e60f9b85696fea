//! The delivery probe: a broker subscribes to its own channel through the URL that clients use, and says whether events arrive.

use std::time::Duration;

use anyhow::{Result, ensure};
use eventcast_crds::{
    broker_status::{DeliveryReason, DeliveryReport, PATH},
    config::{Access, Probe},
};
use eventcast_tests::{
    broker::Broker,
    eventually,
    http::{Version, client, created},
    init_tracing,
    issuer::Issuer,
    nats::NatsServer,
    sse::EventStream,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(40);
const DEMO: [(&str, &str); 1] = [("channel", "default/demo")];

/// Probes `url` with a short stream.
fn probe(broker: &mut Broker, url: &str) -> Result<()> {
    broker.reconfigure(|config| {
        let channel = &mut config.channels[0];
        channel.delivery.heartbeat_seconds = 1;
        channel.probe = Some(Probe { stream_seconds: 2, ..Probe::new(url) });
    })
}

fn reasons(report: &DeliveryReport) -> Vec<DeliveryReason> {
    report.problems.iter().map(|problem| problem.reason).collect()
}

#[tokio::test]
async fn a_probe_sees_what_clients_see_and_leaves_no_trace() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut broker =
        Broker::start(&nats.url(), |config| config.channels[0].delivery.max_subscribers = 2)
            .await?;
    created(&broker.events_url(""), "one", &[]).await?;
    let mut stream = EventStream::connect(&broker.events_url("from=earliest"), None).await?;
    ensure!(stream.next_data(WAIT_TIMEOUT).await?.data == "one");

    let url = broker.events_url("");
    probe(&mut broker, &url)?;
    let report = broker.delivery_report(&url).await?;
    ensure!(report.problems.is_empty(), "{:?}", report.problems);
    ensure!(report.first_byte_ms.is_some() && report.delay_ms.is_some(), "{report:?}");
    let version = if url.starts_with("https") { "HTTP/2" } else { "HTTP/1.1" };
    ensure!(report.http_version.as_deref() == Some(version), "{report:?}");

    let metrics = broker.metrics().await?;
    let verified = [("channel", "default/demo"), ("outcome", "verified")];
    ensure!(metrics.metric("eventcast_delivery_probes_total", &verified) >= 1.0);
    let buffered = [("channel", "default/demo"), ("reason", "Buffered")];
    ensure!(metrics.metric("eventcast_delivery_problem", &buffered) < 0.1);
    // No subscriber, no event and no message of the log is the probe's.
    ensure!((metrics.metric("eventcast_subscribers", &DEMO) - 1.0).abs() < 0.1);
    let connects = [("channel", "default/demo"), ("start", "latest")];
    ensure!(metrics.metric("eventcast_connects_total", &connects) < 0.1);
    let mut log = nats.jetstream().await?.get_stream("SSE_default_demo").await?;
    ensure!(log.info().await?.state.messages == 1, "probes are stored");
    created(&broker.events_url(""), "two", &[]).await?;
    let next = stream.next_data(WAIT_TIMEOUT).await?;
    ensure!(next.data == "two", "a subscriber has received {:?}", next.raw);
    Ok(())
}

#[tokio::test]
async fn a_probe_needs_no_credential_of_the_channel_and_any_broker_may_serve_it() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let issuer = Issuer::new()?;
    let closed = || Access { tokens: vec![issuer.trusted()], ..Access::default() };
    for access in [closed(), Access::default()] {
        let other = Broker::start(&nats.url(), |config| {
            config.channels[0].access = access.clone();
            config.channels[0].delivery.heartbeat_seconds = 1;
            // It takes tickets of probes, since it probes, too.
            config.channels[0].probe =
                Some(Probe::new("http://127.0.0.1:9/channels/default/demo/events"));
        })
        .await?;
        let mut broker =
            Broker::start(&nats.url(), |config| config.channels[0].access = access.clone()).await?;
        let url = other.events_url("");
        probe(&mut broker, &url)?;
        let report = broker.delivery_report(&url).await?;
        ensure!(report.problems.is_empty(), "{:?}", report.problems);
        let anonymous = client(Version::Http1).get(&url).send().await?;
        ensure!(anonymous.status() == 401, "the channel is not closed: {}", anonymous.status());
    }
    Ok(())
}

#[tokio::test]
async fn what_does_not_answer_as_a_channel_is_reported() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut broker = Broker::start(&nats.url(), |_| {}).await?;
    let login =
        answering("HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n").await?;
    let page =
        answering("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi")
            .await?;
    let silent = answering("").await?;
    for (address, reason, text) in [
        (login, DeliveryReason::UnexpectedAnswer, "a redirect (302) to /login"),
        (page, DeliveryReason::UnexpectedAnswer, "status 200 and type text/html"),
        (silent, DeliveryReason::Unreachable, "no answer within"),
        ("127.0.0.1:9".to_owned(), DeliveryReason::Unreachable, "cannot connect"),
        ("169.254.169.254".to_owned(), DeliveryReason::Unreachable, "metadata services"),
    ] {
        let url = format!("http://{address}/channels/default/demo/events");
        probe(&mut broker, &url)?;
        let report = broker.delivery_report(&url).await?;
        ensure!(reasons(&report) == [reason], "{address}: {report:?}");
        ensure!(report.problems[0].detail.contains(text), "{address}: {report:?}");
        let labels = [("channel", "default/demo"), ("reason", reason.as_str())];
        let found = broker.metric("eventcast_delivery_problem", &labels).await?;
        ensure!((found - 1.0).abs() < 0.1, "{address}");
    }
    broker.reconfigure(|config| config.channels[0].probe = None)?;
    eventually("the report is gone", WAIT_TIMEOUT, || async {
        let state = client(Version::Http1).get(broker.admin_url(PATH)).send().await?.text().await?;
        ensure!(!state.contains("delivery"), "{state}");
        Ok(())
    })
    .await
}

/// A broker refuses streams with `200` and closing frames: that is no proof that events arrive.
#[tokio::test]
async fn a_stream_that_a_broker_refuses_proves_nothing() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut broker = Broker::start(&nats.url(), |config| config.limits.subscribers = 1).await?;
    let _only = EventStream::connect(&broker.events_url(""), None).await?;
    let url = broker.events_url("");
    probe(&mut broker, &url)?;
    let inconclusive = [("channel", "default/demo"), ("outcome", "inconclusive")];
    eventually("a probe has ended", WAIT_TIMEOUT, || async {
        let ended = broker.metric("eventcast_delivery_probes_total", &inconclusive).await?;
        ensure!(ended >= 1.0, "none yet");
        Ok(())
    })
    .await?;
    let state = client(Version::Http1).get(broker.admin_url(PATH)).send().await?.text().await?;
    ensure!(!state.contains("delivery"), "{state}");
    Ok(())
}

/// A server that gives this answer to every request, or none. Its address.
async fn answering(answer: &'static str) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while socket.read(&mut request).await.is_ok_and(|length| length > 0) {
                    if !answer.is_empty() && socket.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}

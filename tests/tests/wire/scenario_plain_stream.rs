//! Scenario: a plain stream with heartbeats and clean-up. Open the URL, receive events of every form as they arrive, see that the
//! stream is alive in between, disconnect, and leave nothing behind.

use std::time::Duration;

use anyhow::{Result, ensure};
use eventcast_tests::{
    broker::Broker,
    eventually,
    http::{Publish, Version, client, created},
    init_tracing,
    nats::NatsServer,
    sse::EventStream,
};
use tokio::time::{Instant, timeout};

const WAIT_TIMEOUT: Duration = Duration::from_secs(5);

async fn broker(nats: &NatsServer) -> Result<Broker> {
    Broker::start(&nats.url(), |config| {
        config.channels[0].delivery.heartbeat_seconds = 1;
        config.channels[0].delivery.retry_milliseconds = 3000;
    })
    .await
}

#[tokio::test]
async fn events_of_every_form_arrive_as_they_are_published() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = broker(&nats).await?;
    let url = broker.events_url("");
    let mut stream = EventStream::connect(&url, None).await?;
    let bodies = [
        "one line",
        "",
        "two\nlines",
        "{\"json\":\n  true}",
        " leading space",
        "ümläut 🎈",
        "a\r\nb\rc",
    ];
    for body in bodies {
        created(&url, body, &[]).await?;
    }
    Publish::new("typed").kind("order.paid").send(&client(Version::Http1), &url).await?;
    for body in bodies {
        let event = stream.next_data(WAIT_TIMEOUT).await?;
        assert_eq!(event.data, body.replace("\r\n", "\n").replace('\r', "\n"));
        assert_eq!(event.event_type, "message");
        assert_eq!(event.id.as_deref(), stream.cursor(), "every event has a cursor");
    }
    assert_eq!(stream.next_data(WAIT_TIMEOUT).await?.event_type, "order.paid");
    let retry = stream.retry().unwrap_or(0);
    assert!((1500..=4500).contains(&retry), "told how long to wait before a reconnect: {retry}");
    Ok(())
}

#[tokio::test]
async fn a_quiet_stream_stays_alive_and_a_script_can_ask_to_see_it() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = broker(&nats).await?;
    let mut visible = EventStream::connect(&broker.events_url("heartbeat=event"), None).await?;
    let beat = visible.next_of("eventcast.heartbeat", WAIT_TIMEOUT).await?;
    assert!(beat.json()?["time"].is_string());
    assert_eq!(beat.id, None, "a heartbeat moves no cursor");

    let mut plain = EventStream::connect(&broker.events_url(""), None).await?;
    let began = Instant::now();
    while plain.comments() < 3 {
        assert!(
            began.elapsed() < WAIT_TIMEOUT,
            "the first bytes and at least two heartbeats: {}",
            plain.comments()
        );
        // The next comment comes with no event: look again after a moment of reading.
        drop(timeout(Duration::from_millis(100), plain.next()).await);
    }
    created(&broker.events_url(""), "late", &[]).await?;
    assert_eq!(plain.next_data(WAIT_TIMEOUT).await?.data, "late");
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_leaves_nothing_behind() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = broker(&nats).await?;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(EventStream::connect(&broker.events_url(""), None).await?);
    }
    let open = async || broker.metric("eventcast_subscribers", &[]).await;
    assert!((open().await? - 20.0).abs() < 0.5);
    drop(streams);
    eventually("everyone gone", WAIT_TIMEOUT, || async {
        let (subscribers, sockets) =
            (open().await?, broker.metric("eventcast_connections", &[]).await?);
        ensure!(
            subscribers == 0.0 && sockets == 0.0,
            "{subscribers} subscribers, {sockets} sockets"
        );
        Ok(())
    })
    .await?;
    let left = broker.metric("eventcast_disconnects_total", &[("reason", "client")]).await?;
    assert!((left - 20.0).abs() < 0.5, "{left}");
    Ok(())
}

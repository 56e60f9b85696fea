//! Scenario: resume with `Last-Event-ID`, without repetitions. A client that is cut off anywhere reconnects with its cursor and
//! resumes at the next event: from memory, from the log, after restarts, and with a gap if retention has moved on.

use std::time::Duration;

use anyhow::{Context as _, Result};
use eventcast_tests::{
    broker::Broker,
    http::created,
    init_tracing,
    nats::NatsServer,
    sse::{EventStream, Subscribe},
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(8);

async fn numbers(stream: &mut EventStream, count: usize) -> Result<Vec<u32>> {
    let mut out = Vec::new();
    for _ in 0..count {
        out.push(stream.next_data(WAIT_TIMEOUT).await?.data.parse()?);
    }
    Ok(out)
}

#[tokio::test]
async fn cut_off_at_every_place_a_client_gets_each_event_once() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    // A tail of 16: resumes from further back are read from pages.
    let broker = Broker::start(&nats.url(), |c| c.memory.tail_events = 16).await?;
    let url = broker.events_url("");
    for n in 0..300 {
        created(&url, &n.to_string(), &[]).await?;
    }
    let mut stream = EventStream::connect(&broker.events_url("from=earliest"), None).await?;
    let mut seen = Vec::new();
    for step in [1, 2, 50, 100, 100, 30, 10, 6] {
        seen.extend(numbers(&mut stream, step).await?);
        stream = stream.reconnect().await?;
    }
    for n in 300..310 {
        created(&url, &n.to_string(), &[]).await?;
    }
    seen.extend(numbers(&mut stream, 11).await?);
    assert_eq!(seen, (0..310).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn a_client_cut_off_before_the_first_event_resumes_where_it_began() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |_| {}).await?;
    let url = broker.events_url("");
    created(&url, "before", &[]).await?;
    let mut stream = EventStream::connect(&url, None).await?;
    stream.next_of("eventcast.cursor", WAIT_TIMEOUT).await?;
    let cursor = stream.cut().context("a cursor from the start")?;
    created(&url, "meanwhile", &[]).await?;
    let mut stream = EventStream::connect(&url, Some(&cursor)).await?;
    assert_eq!(stream.next_data(WAIT_TIMEOUT).await?.data, "meanwhile");
    Ok(())
}

#[tokio::test]
async fn a_quiet_filtered_client_resumes_from_where_the_log_is_not_from_its_last_event()
-> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker =
        Broker::start(&nats.url(), |c| c.channels[0].delivery.heartbeat_seconds = 1).await?;
    let mut stream = EventStream::connect(&broker.events_url("topic=user.1"), None).await?;
    let begun = stream.next_of("eventcast.cursor", WAIT_TIMEOUT).await?.id;
    created(&broker.events_url(""), "for another", &[("topic", "user.2")]).await?;
    let moved = stream.next_of("eventcast.cursor", WAIT_TIMEOUT).await?;
    assert_ne!(moved.id, begun, "the cursor moved although nothing passed the filter");
    assert_eq!(moved.json()?["cursor"].as_str(), moved.id.as_deref());
    created(&broker.events_url(""), "for me", &[("topic", "user.1")]).await?;
    let mut again = stream.reconnect().await?;
    assert_eq!(again.next_data(WAIT_TIMEOUT).await?.data, "for me");
    Ok(())
}

#[tokio::test]
async fn cursors_survive_the_death_of_broker_and_nats() -> Result<()> {
    init_tracing();
    let mut nats = NatsServer::start().await?;
    let mut broker = Broker::start(&nats.url(), |_| {}).await?;
    let url = broker.events_url("");
    let mut stream = EventStream::connect(&url, None).await?;
    for n in 0..10 {
        created(&url, &n.to_string(), &[]).await?;
    }
    assert_eq!(numbers(&mut stream, 5).await?, (0..5).collect::<Vec<_>>());
    let cursor = stream.cut().context("a cursor")?;
    broker.kill9()?;
    nats.kill9()?;
    nats.restart().await?;
    broker.restart().await?;
    created(&url, "10", &[]).await?;
    let mut stream = EventStream::connect(&url, Some(&cursor)).await?;
    assert_eq!(numbers(&mut stream, 6).await?, (5..11).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn expired_events_are_declared_with_their_count_and_delivery_continues() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |c| {
        c.memory.tail_events = 16;
        c.channels[0].retention.max_events = 40;
    })
    .await?;
    let url = broker.events_url("");
    let cursor = created(&url, "0", &[]).await?.cursor().context("a cursor")?.to_owned();
    for n in 1..100 {
        created(&url, &n.to_string(), &[]).await?;
    }
    let mut stream = EventStream::connect(&url, Some(&cursor)).await?;
    assert_eq!(stream.header("eventcast-gap"), Some("expired"));
    let gap = stream.next_of("eventcast.gap", WAIT_TIMEOUT).await?;
    assert_eq!(gap.json()?["lost"], 59, "1..=59 of 0..=99 are gone");
    assert_eq!(gap.json()?["requested"], *cursor);
    assert_eq!(gap.json()?["resumed_at"].as_str(), gap.id.as_deref());
    assert_eq!(numbers(&mut stream, 40).await?, (60..100).collect::<Vec<_>>());
    // The gap moved the cursor, so it is declared once.
    let after_gap = Subscribe { url: url.clone(), last_event_id: gap.id, ..Subscribe::default() };
    let mut stream = EventStream::open(after_gap).await?;
    assert_eq!(stream.header("eventcast-gap"), None);
    assert_eq!(numbers(&mut stream, 40).await?, (60..100).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn a_client_may_begin_anywhere() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |c| c.memory.tail_events = 16).await?;
    let url = broker.events_url("");
    let mut cursors = Vec::new();
    for n in 0..100 {
        let topic = format!("t.{}", n % 4);
        cursors.push(
            created(&url, &n.to_string(), &[("topic", &topic)])
                .await?
                .cursor()
                .unwrap_or_default()
                .to_owned(),
        );
    }
    let first = async |query: &str| {
        let mut stream = EventStream::connect(&broker.events_url(query), None).await?;
        stream.next_data(WAIT_TIMEOUT).await?.data.parse::<u32>().map_err(anyhow::Error::from)
    };
    assert_eq!(first("from=earliest").await?, 0);
    assert_eq!(first("from=last:3").await?, 97);
    assert_eq!(first("from=last:10&topic=t.1").await?, 61, "the newest ten that pass the filter");
    assert_eq!(first("from=last:1000").await?, 0);
    assert_eq!(first("from=-10m").await?, 0);
    assert_eq!(first(&format!("from={}", cursors[41])).await?, 42);
    assert_eq!(first(&format!("from=earliest&lastEventId={}", cursors[70])).await?, 71);
    assert_eq!(first(&format!("last_event_id={}", cursors[95])).await?, 96);
    let mut latest = EventStream::connect(&broker.events_url("from=latest"), None).await?;
    created(&url, "100", &[]).await?;
    assert_eq!(latest.next_data(WAIT_TIMEOUT).await?.data, "100");
    Ok(())
}

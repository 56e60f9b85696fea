//! Scenario: several brokers on one NATS server, with the latest event on connect. Whichever broker takes the publish and
//! whichever holds the stream, every subscriber receives everything in one order, and a new subscriber receives the present state
//! at once.

use std::time::Duration;

use anyhow::Result;
use eventcast_tests::{
    broker::Broker, http::created, init_tracing, nats::NatsServer, sse::EventStream,
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(8);

#[tokio::test]
async fn events_of_one_broker_are_delivered_by_every_broker_in_one_order() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut brokers = Vec::new();
    for _ in 0..3 {
        brokers.push(Broker::start(&nats.url(), |_| {}).await?);
    }
    let mut streams = Vec::new();
    for broker in &brokers {
        streams.push(EventStream::connect(&broker.events_url(""), None).await?);
    }
    let mut publishers = Vec::new();
    for (at, broker) in brokers.iter().enumerate() {
        let url = broker.events_url("");
        publishers.push(tokio::spawn(async move {
            for n in 0..40 {
                created(&url, &format!("{at}:{n}"), &[]).await?;
            }
            anyhow::Ok(())
        }));
    }
    for publisher in publishers {
        publisher.await??;
    }
    let mut orders = Vec::new();
    for stream in &mut streams {
        let mut order = Vec::new();
        for _ in 0..120 {
            let event = stream.next_data(WAIT_TIMEOUT).await?;
            order.push((event.id, event.data));
        }
        orders.push(order);
    }
    assert_eq!(orders[0], orders[1], "the same events with the same cursors in the same order");
    assert_eq!(orders[0], orders[2]);
    Ok(())
}

#[tokio::test]
async fn a_client_moves_between_brokers_with_its_cursor() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let brokers =
        [Broker::start(&nats.url(), |_| {}).await?, Broker::start(&nats.url(), |_| {}).await?];
    let (mut cursor, mut seen) = (None, Vec::new());
    for round in 0..10_u32 {
        // Published at one broker, read at once at the other: it may not have seen the event yet.
        let here = &brokers[usize::from(round % 2 == 0)];
        let there = &brokers[usize::from(round % 2 == 1)];
        created(&here.events_url(""), &round.to_string(), &[]).await?;
        let mut stream =
            EventStream::connect(&there.events_url("from=earliest"), cursor.as_deref()).await?;
        let event = stream.next_data(WAIT_TIMEOUT).await?;
        seen.push(event.data.parse::<u32>()?);
        cursor = stream.cut();
    }
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn a_newcomer_gets_the_latest_event_on_connect() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let here = Broker::start(&nats.url(), |_| {}).await?;
    // By configuration for every newcomer of the channel, or asked for.
    let there =
        Broker::start(&nats.url(), |c| c.channels[0].delivery.from = "last:1".into()).await?;
    for price in ["100", "101", "102"] {
        created(&here.events_url(""), price, &[("topic", "price.ACME")]).await?;
        created(&here.events_url(""), "7", &[("topic", "price.OTHER")]).await?;
    }
    for url in
        [there.events_url("topic=price.ACME"), here.events_url("topic=price.ACME&from=last:1")]
    {
        let mut stream = EventStream::connect(&url, None).await?;
        assert_eq!(
            stream.next_data(WAIT_TIMEOUT).await?.data,
            "102",
            "the present state, by the filter"
        );
        created(&here.events_url(""), "103", &[("topic", "price.ACME")]).await?;
        assert_eq!(stream.next_data(WAIT_TIMEOUT).await?.data, "103", "and then what changes");
        created(&here.events_url(""), "102", &[("topic", "price.ACME")]).await?;
        // A client with a cursor resumes from it instead.
        let mut stream = stream.reconnect().await?;
        assert_eq!(stream.next_data(WAIT_TIMEOUT).await?.data, "102");
    }
    Ok(())
}

#[tokio::test]
async fn brokers_come_and_go_while_events_flow() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let stays = Broker::start(&nats.url(), |_| {}).await?;
    let mut goes = Broker::start(&nats.url(), |_| {}).await?;
    let mut stream = EventStream::connect(&goes.events_url(""), None).await?;
    created(&stays.events_url(""), "0", &[]).await?;
    assert_eq!(stream.next_data(WAIT_TIMEOUT).await?.data, "0");
    let cursor = stream.cut();
    goes.kill9()?;
    created(&stays.events_url(""), "1", &[]).await?;
    let mut stream = EventStream::connect(&stays.events_url(""), cursor.as_deref()).await?;
    assert_eq!(stream.next_data(WAIT_TIMEOUT).await?.data, "1");
    goes.restart().await?;
    let mut back = EventStream::connect(&goes.events_url(""), stream.cursor()).await?;
    created(&goes.events_url(""), "2", &[]).await?;
    assert_eq!(stream.next_data(WAIT_TIMEOUT).await?.data, "2");
    assert_eq!(back.next_data(WAIT_TIMEOUT).await?.data, "2");
    Ok(())
}

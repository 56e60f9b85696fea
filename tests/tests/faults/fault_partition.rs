//! Brokers that cannot reach a running NATS server, because their connection is cut or frozen. They lose nothing, and they learn
//! what changed meanwhile, even that the log is another one, before they tell clients anything about it.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use eventcast_crds::config::BrokerConfig;
use eventcast_tests::{
    broker::Broker,
    eventually, http, init_tracing,
    issuer::Issuer,
    ledger::{Ledger, Plan},
    link::Link,
    nats::NatsServer,
    sse::{Event, EventStream},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

const STREAM: &str = "SSE_default_demo";
const WAIT_TIMEOUT: Duration = Duration::from_secs(40);
/// Tails of the three brokers, in events.
const TAILS: [usize; 3] = [65_536, 256, 32];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_lose_sight_of_the_server_lose_nothing() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Arc::new(Issuer::new()?));
    let (mut links, mut brokers) = (Vec::new(), Vec::new());
    for tail in TAILS {
        let link = Link::to(&nats.url()).await?;
        let config = |config: &mut BrokerConfig| {
            config.memory.tail_events = tail;
            config.channels[0].delivery.from = "-2s".into();
            config.channels[0].access.tokens = vec![issuer.trusted()];
        };
        brokers.push(Broker::start(&link.url(), config).await?);
        links.push(link);
    }
    let urls = brokers.iter().map(|broker| broker.events_url("")).collect();
    let plan = Plan { issuer: Some(issuer), ..Plan::default() };
    let ledger = Ledger::start(plan, urls);
    for (round, link) in links.iter().cycle().take(9).enumerate() {
        ledger.progress(60, WAIT_TIMEOUT).await?;
        if round % 2 == 0 {
            link.cut();
        } else {
            link.freeze();
        }
        // longer than the broker's patience with a silent consumer, shorter and longer than a publish
        sleep(Duration::from_millis([400, 1200, 4000][round / 3])).await;
        link.mend();
    }
    ledger.progress(60, WAIT_TIMEOUT).await?;
    ledger.finish(WAIT_TIMEOUT).await?.assert_nothing_lost();
    Ok(())
}

/// A broker that cannot reach NATS does not know that the log was recreated. It must not reject clients with cursors of the new log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_missed_the_new_log_resets_no_cursor() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let link = Link::to(&nats.url()).await?;
    let behind = Broker::start(&link.url(), |_| {}).await?;
    let ahead = Broker::start(&nats.url(), |_| {}).await?;
    let publish = async |text: &str| -> Result<String> {
        let urls = [ahead.events_url("")];
        http::publish_retrying(&urls, text, &[], text, WAIT_TIMEOUT).await
    };
    for text in ["old-1", "old-2", "old-3"] {
        publish(text).await?;
    }
    let mut loyal = EventStream::connect(&behind.events_url("from=earliest"), None).await?;
    for text in ["old-1", "old-2", "old-3"] {
        assert_eq!(loyal.next_data(WAIT_TIMEOUT).await?.data, text);
    }

    link.cut();
    nats.remade(STREAM, WAIT_TIMEOUT).await?;
    publish("new-1").await?;
    let url = ahead.events_url("from=earliest");
    let moving = eventually("the other broker has the new log", WAIT_TIMEOUT, || async {
        let mut stream = EventStream::connect(&url, None).await?;
        let first = stream.next_data(WAIT_TIMEOUT).await?.data;
        ensure!(first == "new-1", "it has {first:?}");
        Ok(stream)
    })
    .await?;
    let known = moving.cursor().context("it has a cursor")?.to_owned();

    // to the broker that is behind, with a cursor that it cannot know
    let url = behind.events_url("");
    let arrive = async || -> Result<Option<Event>> {
        let mut stream = EventStream::connect(&url, Some(&known)).await?;
        loop {
            match timeout(Duration::from_secs(2), stream.next()).await {
                Ok(Ok(Some(event))) if event.event_type == "eventcast.cursor" => {}
                Ok(Ok(Some(event))) if event.event_type == "eventcast.closing" => return Ok(None),
                Ok(Ok(Some(event))) => return Ok(Some(event)),
                Ok(Ok(None) | Err(_)) | Err(_) => return Ok(None),
            }
        }
    };
    if let Some(event) = arrive().await? {
        bail!("sent back: {:?}", event.raw);
    }
    link.mend();
    publish("new-2").await?;
    let event = eventually("the broker has caught up", WAIT_TIMEOUT, || async {
        arrive().await.transpose().context("nothing yet")
    })
    .await??;
    assert_eq!(event.data, "new-2", "{:?}", event.raw);
    // a client that was connected all the time is told, and reads the new log from its beginning
    let gap = loyal.next_of("eventcast.gap", WAIT_TIMEOUT).await?;
    assert_eq!(gap.json()?["reason"], "new-incarnation");
    for text in ["new-1", "new-2"] {
        assert_eq!(loyal.next_data(WAIT_TIMEOUT).await?.data, text);
    }
    Ok(())
}

/// Replays wait for a page of the old log, which is gone. No replay may wait for the attempts of the others to fail one by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replays_that_wait_for_a_lost_page_are_answered_soon() -> Result<()> {
    const READERS: usize = 60;
    init_tracing();
    let nats = NatsServer::start().await?;
    let link = Link::to(&nats.url()).await?;
    let config = |config: &mut BrokerConfig| config.memory.tail_events = 32;
    let behind = Broker::start(&link.url(), config).await?;
    // the other broker publishes, because the publisher's broker may have the pages in memory, and recreates the stream
    let ahead = Broker::start(&nats.url(), |_| {}).await?;
    let body = (0..300).map(|number| format!("{{\"data\":\"{number}\"}}\n")).collect::<String>();
    let batch = http::Publish::new(body).header("Content-Type", "application/x-ndjson");
    let client = http::client(http::Version::Http1);
    let answer = batch.send(&client, &ahead.events_url("")).await?;
    ensure!(answer.status == 201, "{} {}", answer.status, answer.json);

    eventually("the broker behind has all of it", WAIT_TIMEOUT, || async {
        let head = behind.metric("eventcast_tail_head_sequence", &[]).await?;
        ensure!(head >= 300.0, "{head}");
        Ok(())
    })
    .await?;
    // the broker has just learned where the log begins, so all of them begin there, and wait for their first page
    let channel = client.get(behind.url("/channels/default/demo")).send().await?;
    ensure!(channel.status() == 200, "{}", channel.status());
    let url = behind.events_url("from=earliest");
    link.freeze();
    let mut connecting = JoinSet::new();
    for _ in 0..READERS {
        let url = url.clone();
        connecting.spawn(async move { EventStream::connect(&url, None).await });
    }
    let readers: Result<Vec<EventStream>> = connecting.join_all().await.into_iter().collect();
    nats.remade(STREAM, WAIT_TIMEOUT).await?;
    link.mend();
    let mut told = JoinSet::new();
    for mut reader in readers? {
        told.spawn(async move { reader.next_of("eventcast.gap", Duration::from_secs(10)).await });
    }
    let told = told.join_all().await;
    let late = told.iter().filter(|gap| gap.is_err()).count();
    assert_eq!(late, 0, "{late} of {READERS} were not told within 10 s: {:?}", told.last());
    Ok(())
}

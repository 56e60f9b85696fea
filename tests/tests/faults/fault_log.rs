//! The log itself changes: it is recreated, restored to an older state, or overtaken by retention; and brokers are killed.
//! Subscribers that missed events are told so, with the exact count if it can be known; the others miss nothing.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::BrokerConfig;
use eventcast_tests::{
    broker::Broker,
    eventually, http, init_tracing,
    issuer::Issuer,
    ledger::{Ledger, Observed, Plan, Publications, PublishOutcome, Published, Seen, Start, judge},
    nats::NatsServer,
    sse::{EventStream, Subscribe},
};

const STREAM: &str = "SSE_default_demo";
const WAIT_TIMEOUT: Duration = Duration::from_secs(40);

async fn brokers<const N: usize>(
    nats: &NatsServer,
    issuer: &Issuer,
    tails: [usize; N],
) -> Result<Vec<Broker>> {
    let mut brokers = Vec::new();
    for tail in tails {
        let config = |config: &mut BrokerConfig| {
            config.memory.tail_events = tail;
            config.channels[0].access.tokens = vec![issuer.trusted()];
        };
        brokers.push(Broker::start(&nats.url(), config).await?);
    }
    Ok(brokers)
}

fn urls(brokers: &[Broker]) -> Vec<String> {
    brokers.iter().map(|broker| broker.events_url("")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recreated_stream_is_declared_and_read_from_its_beginning() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Arc::new(Issuer::new()?));
    let brokers = brokers(&nats, &issuer, [65_536, 32]).await?;
    let arrive = Duration::from_millis(300);
    let plan = Plan { subscribers: 60, arrive, issuer: Some(issuer), ..Plan::default() };
    let ledger = Ledger::start(plan, urls(&brokers));
    for _ in 0..2 {
        ledger.progress(200, WAIT_TIMEOUT).await?;
        let mut paused = ledger.pause().await;
        nats.remade(STREAM, WAIT_TIMEOUT).await?; // the brokers do
        paused.new_log(0);
    }
    ledger.progress(200, WAIT_TIMEOUT).await?;
    let report = ledger.finish(WAIT_TIMEOUT).await?;
    report.assert_clean();
    let gaps = report.gaps();
    assert!(gaps.keys().all(|reason| *reason == "new-incarnation"), "{gaps:?}");
    assert!(gaps["new-incarnation"] >= 60, "nearly every subscriber is told, twice: {gaps:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_store_is_noticed_and_declared() -> Result<()> {
    init_tracing();
    let (mut nats, issuer) = (NatsServer::start().await?, Arc::new(Issuer::new()?));
    let brokers = brokers(&nats, &issuer, [65_536, 32]).await?;
    let plan = Plan { subscribers: 60, issuer: Some(issuer), ..Plan::default() };
    let ledger = Ledger::start(plan, urls(&brokers));
    ledger.progress(300, WAIT_TIMEOUT).await?;
    nats.kill9()?;
    let older = nats.snapshot()?;
    nats.restart().await?;
    ledger.progress(300, WAIT_TIMEOUT).await?;

    let mut paused = ledger.pause().await;
    nats.kill9()?;
    nats.restore(&older)?;
    nats.restart().await?;
    let stream = nats.jetstream().await?.get_stream(STREAM).await?;
    let surviving = stream.cached_info().state.last_sequence;
    ensure!(surviving >= 300, "the older store has {surviving} events");
    paused.new_log(surviving);
    drop(paused);

    // past the old end, so that sequences are used a second time
    ledger.progress(600, WAIT_TIMEOUT).await?;
    let report = ledger.finish(WAIT_TIMEOUT).await?;
    report.assert_clean();
    let gaps = report.gaps();
    assert!(gaps.keys().all(|reason| *reason == "new-incarnation"), "{gaps:?}");
    assert!(!gaps.is_empty(), "subscribers were beyond the older store's end, and none was told");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_drained_brokers_lose_nothing() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Arc::new(Issuer::new()?));
    let mut brokers = brokers(&nats, &issuer, [65_536, 256, 32]).await?;
    let plan = Plan { issuer: Some(issuer), ..Plan::default() };
    let ledger = Ledger::start(plan, urls(&brokers));
    for round in 0..6 {
        ledger.progress(100, WAIT_TIMEOUT).await?;
        let broker = &mut brokers[round % 3];
        if round % 2 == 0 {
            broker.kill9()?;
        } else {
            broker.terminate()?;
            let status = broker.wait_exit(Duration::from_secs(10)).await?;
            assert!(status.success(), "a drained broker ended with {status}");
        }
        ledger.progress(100, WAIT_TIMEOUT).await?;
        broker.restart().await?;
    }
    ledger.finish(WAIT_TIMEOUT).await?.assert_nothing_lost();
    Ok(())
}

/// Events that fill every socket buffer several times over, while the log keeps only the last few hundred.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_overtaken_by_retention_gets_the_exact_count() -> Result<()> {
    const EVENTS: u64 = 4000;
    const KEPT: u64 = 300;
    init_tracing();
    let nats = NatsServer::start_with("1s").await?;
    let config = |config: &mut BrokerConfig| {
        config.memory.tail_events = 64;
        config.channels[0].retention.max_events = KEPT;
        config.channels[0].delivery.stall_seconds = 120;
    };
    let broker = Broker::start(&nats.url(), config).await?;
    let url = broker.events_url("");
    let request = Subscribe {
        url: broker.events_url("from=earliest"),
        receive_buffer: Some(4096),
        ..Subscribe::default()
    };
    let mut slow = EventStream::open(request).await?;
    let client = http::client(http::Version::Http1);
    let mut publications = Publications::default();
    let mut number = 0;
    while number < EVENTS {
        let numbers = number..number + 100;
        let line = |number| {
            let data = serde_json::json!({"number": number, "padding": "x".repeat(4096)});
            serde_json::json!({"data": data.to_string()}).to_string() + "\n"
        };
        let body: String = numbers.clone().map(line).collect();
        let batch = http::Publish::new(body).header("Content-Type", "application/x-ndjson");
        let answer = batch.send(&client, &url).await?;
        ensure!(answer.status == 201, "{} {}", answer.status, answer.json);
        for (number, event) in
            numbers.clone().zip(answer.json["events"].as_array().context("no events")?)
        {
            let cursor = event["cursor"].as_str().context("no cursor")?.to_owned();
            let (topic, kind, began) = (None, None, Duration::ZERO);
            let outcome = PublishOutcome::Stored(cursor);
            publications.published.push(Published { number, topic, kind, began, log: 0, outcome });
        }
        number = numbers.end;
    }

    // only now does it read
    let mut seen = vec![Seen::Opened { at: Duration::ZERO, broker: 0 }];
    let (mut delivered, mut lost) = (0, 0);
    while delivered + lost < EVENTS {
        let event = slow.next_within(WAIT_TIMEOUT).await?;
        let (json, id) = (event.json()?, event.id.clone().unwrap_or_default());
        seen.push(match event.event_type.as_str() {
            "eventcast.gap" => {
                assert_eq!(json["reason"], "expired");
                let count = json["lost"].as_u64().context("the count can be known")?;
                lost += count;
                let requested = json["requested"].as_str().map(str::to_owned);
                Seen::Gap { requested, resumed: id, lost: Some(count), reason: "expired".into() }
            }
            "eventcast.cursor" => Seen::Cursor(id),
            kind => {
                delivered += 1;
                let number = json["number"].as_u64().context("no number")?;
                Seen::Event { number, kind: kind.to_owned(), cursor: id }
            }
        });
    }
    let (name, filter) = ("the slow reader".to_owned(), Default::default());
    let report = judge(
        publications,
        &[Observed { name, filter, start: Start::Earliest, seen, contact: vec![] }],
    );
    report.assert_clean();
    assert!(lost > 0, "it was never overtaken: all {delivered} events came");
    // there may be several gaps, depending on the buffers in between; the ledger has checked their sum
    assert_eq!(report.gaps().into_keys().collect::<Vec<_>>(), ["expired"]);
    Ok(())
}

/// Both logs have the same epoch and the same sequences: what was read of the one must not be given for the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_the_lost_log_are_not_given_for_the_present_one() -> Result<()> {
    const KEPT: usize = 100;
    const ALL: usize = 600; // two full pages and a bit
    init_tracing();
    let (mut nats, issuer) = (NatsServer::start_with("1s").await?, Issuer::new()?);
    let brokers = brokers(&nats, &issuer, [32]).await?;
    let broker = &brokers[0];
    let publish = async |kind: &str, numbers: std::ops::Range<usize>| -> Result<()> {
        let lines = numbers.map(|number| format!("{{\"data\":\"{kind} {number}\"}}\n"));
        let batch = http::Publish::new(lines.collect::<String>());
        let batch = batch.header("Content-Type", "application/x-ndjson").key(kind);
        let answer =
            batch.send(&http::client(http::Version::Http1), &broker.events_url("")).await?;
        ensure!(answer.status == 201, "{} {}", answer.status, answer.json);
        Ok(())
    };
    let read = async || -> Result<Vec<String>> {
        let mut stream = EventStream::connect(&broker.events_url("from=earliest"), None).await?;
        let mut texts = Vec::new();
        while texts.len() < ALL {
            texts.push(stream.next_data(WAIT_TIMEOUT).await?.data);
        }
        Ok(texts)
    };
    publish("kept", 0..KEPT).await?;
    nats.terminate().await?;
    let older = nats.snapshot()?;
    nats.restart().await?;
    eventually("the broker is back", WAIT_TIMEOUT, || publish("lost", KEPT..ALL)).await?;
    read().await?; // the broker has all pages in memory now

    let mut witness = EventStream::connect(&broker.events_url(""), None).await?;
    nats.kill9()?;
    nats.restore(&older)?;
    nats.restart().await?;
    witness.next_of("eventcast.gap", WAIT_TIMEOUT).await?;
    eventually("the broker publishes again", WAIT_TIMEOUT, || publish("new", KEPT..ALL)).await?;
    let texts = read().await?;
    let lost = texts.iter().filter(|text| text.starts_with("lost")).count();
    assert_eq!(lost, 0, "of the log that is gone, first: {:?}", texts[KEPT]);
    Ok(())
}

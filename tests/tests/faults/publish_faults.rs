//! Publishing while NATS fails: which outcome the publisher is told, how soon, and that a repetition with the same key is stored
//! once.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use eventcast_tests::{
    broker::Broker,
    eventually,
    http::{Answer, Publish, Version, client, publish, publish_retrying},
    init_tracing,
    issuer::{Issuer, bearer, request, subscribe},
    nats::NatsServer,
    sse::{EventStream, Subscribe},
};
use serde_json::{Value, json};
use tokio::time::Instant;

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
const STREAM: &str = "SSE_default_demo";

async fn history(broker: &Broker) -> Result<Vec<Value>> {
    let request = client(Version::Http1).get(broker.events_url(""));
    let answer = Answer::read(request.header("Accept", "application/json").send().await?).await?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.json);
    let events = answer.json["events"].as_array().context("no events")?;
    Ok(events.iter().map(|event| event["data"].clone()).collect())
}

fn is_problem(answer: &Answer, status: u16, name: &str) {
    assert_eq!(
        (answer.status, &answer.json["type"]),
        (status, &json!(format!("urn:eventcast:problem:{name}"))),
        "{}",
        answer.json
    );
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
}

fn can_be_repeated_later(answer: &Answer) {
    let wait: u64 = answer.header("retry-after").and_then(|text| text.parse().ok()).unwrap_or(0);
    assert!((1..=60).contains(&wait), "{:?}", answer.headers);
    assert_eq!(answer.json["retry_after"], wait);
}

/// A stream as the operator would make it, changed by `change`.
async fn make_stream(nats: &NatsServer, change: impl FnOnce(&mut Config)) -> Result<()> {
    let mut config = Config {
        name: STREAM.into(),
        subjects: vec!["sse.default.demo.all".into(), "sse.default.demo.t.>".into()],
        allow_direct: true,
        allow_message_ttl: true,
        ..Config::default()
    };
    change(&mut config);
    nats.jetstream().await?.create_stream(config).await?;
    Ok(())
}

#[tokio::test]
async fn without_nats_nothing_is_stored_and_no_client_is_cut_off() -> Result<()> {
    init_tracing();
    let (mut nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let broker = Broker::start(&nats.url(), |config| {
        config.channels[0].delivery.heartbeat_seconds = 1;
        config.channels[0].access.tokens = vec![issuer.trusted()];
    })
    .await?;
    let url = broker.events_url("");
    let mut stream = EventStream::connect(&broker.events_url("heartbeat=event"), None).await?;
    let token = issuer.token("ann", 6, json!({}));
    let mut granted = subscribe(&url, &token, Version::Http1).await?;
    publish(&url, "before", &[]).await?;
    for stream in [&mut stream, &mut granted] {
        assert_eq!(stream.next_data(WAIT_TIMEOUT).await?.data, "before");
    }
    nats.kill9()?;
    eventually("the broker has noticed", WAIT_TIMEOUT, || async {
        let lost = broker.metric("eventcast_nats_connected", &[]).await? == 0.0;
        ensure!(lost, "not yet");
        Ok(())
    })
    .await?;
    let began = Instant::now();
    for _ in 0..3 {
        let answer = publish(&url, "not stored", &[]).await?;
        is_problem(&answer, 503, "unavailable");
        can_be_repeated_later(&answer);
    }
    assert!(began.elapsed() < Duration::from_secs(1), "three refusals took {:?}", began.elapsed());
    for _ in 0..2 {
        stream.next_of("eventcast.heartbeat", WAIT_TIMEOUT).await?;
    }
    // A grant cannot be renewed, but ends, and begins anew with another token: that is known without NATS.
    let notice = granted.next_of("eventcast.expiring", WAIT_TIMEOUT).await?.json()?;
    let renew = broker.url(notice["renew"].as_str().context("no path")?);
    let renewed = request("POST", &renew, &issuer.user("ann"), None).await?;
    is_problem(&renewed, 503, "unavailable");
    can_be_repeated_later(&renewed);
    let closing = granted.next_of("eventcast.closing", WAIT_TIMEOUT).await?;
    assert_eq!(closing.json()?["reason"], "expired");
    let last_event_id = granted.cursor().map(str::to_owned);
    let old = granted.reconnect().await.err().context("a token that has ended")?;
    assert!(old.to_string().contains("\"check\":\"expired\""), "{old}");
    let headers = vec![bearer(&issuer.user("ann"))];
    let again = Subscribe { url: url.clone(), last_event_id, headers, ..Subscribe::default() };
    let mut granted = EventStream::open(again).await?;
    granted.next_of("eventcast.cursor", WAIT_TIMEOUT).await?;
    nats.restart().await?;
    publish_retrying(std::slice::from_ref(&url), "after", &[], "k", WAIT_TIMEOUT).await?;
    assert_eq!(granted.next_data(WAIT_TIMEOUT).await?.data, "after");
    loop {
        let event = stream.next_within(WAIT_TIMEOUT).await?;
        if event.event_type != "eventcast.heartbeat" {
            assert_eq!((event.event_type.as_str(), event.data.as_str()), ("message", "after"));
            break;
        }
    }
    assert_eq!(history(&broker).await?, ["before", "after"]);
    Ok(())
}

#[tokio::test]
async fn an_unknown_outcome_is_reported_with_its_idempotency_key() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |config| {
        config.channels[0].publishing.deadline_seconds = 2;
    })
    .await?;
    let (http, url) = (client(Version::Http1), broker.events_url(""));
    publish(&url, "before", &[]).await?;
    nats.pause()?;
    let lines = "{\"data\":\"b0\"}\n{\"data\":\"b1\"}\n{\"data\":\"b2\"}\n";
    let batch = Publish::new(lines).header("Content-Type", "application/x-ndjson");
    let (single, keyed) = (Publish::new("single"), Publish::new("keyed").key("mine"));
    let began = Instant::now();
    let (one, two, three) =
        tokio::join!(single.send(&http, &url), keyed.send(&http, &url), batch.send(&http, &url));
    let took = began.elapsed();
    let deadline = Duration::from_millis(1900)..Duration::from_secs(4);
    assert!(deadline.contains(&took), "deadlineSeconds is 2, it took {took:?}");
    let mut keys = Vec::new();
    for answer in [one?, two?, three?] {
        is_problem(&answer, 504, "outcome-unknown");
        let key = answer.json["idempotency_key"].as_str().context("no key")?;
        keys.push(key.to_owned());
    }
    assert_eq!(keys[1], "mine");
    nats.resume()?;
    for (event, key) in [single, keyed, batch].into_iter().zip(&keys) {
        let event = if key == "mine" { event } else { event.key(key) };
        for _ in 0..2 {
            eventually("the repetition is acknowledged", WAIT_TIMEOUT, || async {
                let answer = event.send(&http, &url).await?;
                ensure!(answer.status == 201, "{} {}", answer.status, answer.json);
                Ok(())
            })
            .await?;
        }
    }
    let mut events: Vec<String> = history(&broker)
        .await?
        .iter()
        .filter_map(|data| data.as_str().map(str::to_owned))
        .collect();
    events.sort();
    assert_eq!(events, ["b0", "b1", "b2", "before", "keyed", "single"], "each is stored once");
    Ok(())
}

#[tokio::test]
async fn a_deleted_stream_stores_nothing_until_it_is_recreated() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    make_stream(&nats, |_| {}).await?;
    let broker = Broker::start(&nats.url(), |config| {
        config.nats.create_streams = false;
        config.channels[0].publishing.deadline_seconds = 1;
    })
    .await?;
    let url = broker.events_url("");
    let mut stream = EventStream::connect(&url, None).await?;
    assert_eq!(publish(&url, "before", &[]).await?.status, 201);
    assert_eq!(stream.next_data(WAIT_TIMEOUT).await?.data, "before");
    nats.jetstream().await?.delete_stream(STREAM).await?;
    let answer = publish(&url, "nowhere", &[]).await?;
    is_problem(&answer, 503, "no-stream");
    can_be_repeated_later(&answer);
    make_stream(&nats, |_| {}).await?;
    publish_retrying(&[url], "after", &[], "k", WAIT_TIMEOUT).await?;
    let gap = stream.next_of("eventcast.gap", WAIT_TIMEOUT).await?;
    assert_eq!(gap.json()?["reason"], "new-incarnation");
    assert_eq!(stream.next_data(WAIT_TIMEOUT).await?.data, "after");
    Ok(())
}

#[tokio::test]
async fn events_that_nats_rejects_are_refused_before_anything_is_stored() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?; // takes 1 MiB in a message
    let broker = Broker::start(&nats.url(), |config| {
        config.channels[0].publishing.max_event_bytes = 2 << 20;
    })
    .await?;
    let line = |size: usize| format!("{}\n", json!({"data": "y".repeat(size)}));
    let batch = Publish::new(line(10) + &line(1_100_000) + &line(10));
    let batch = batch.header("Content-Type", "application/x-ndjson");
    for (publish, line) in [(batch, json!(2)), (Publish::new("y".repeat(1_100_000)), Value::Null)] {
        let answer = publish.send(&client(Version::Http1), &broker.events_url("")).await?;
        is_problem(&answer, 413, "too-large");
        assert_eq!(answer.json["line"], line, "{}", answer.json);
    }
    let state =
        nats.jetstream().await?.get_stream("SSE_default_demo").await?.get_info().await?.state;
    assert_eq!(state.messages, 0);
    let counted = broker.metric("eventcast_publish_total", &[("outcome", "refused")]).await?;
    assert_eq!(counted, 4.0, "each event once");
    Ok(())
}

#[tokio::test]
async fn full_storage_is_reported() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    make_stream(&nats, |config| {
        config.max_bytes = 64 << 10;
        config.discard = DiscardPolicy::New;
    })
    .await?;
    let broker = Broker::start(&nats.url(), |config| {
        config.nats.create_streams = false;
    })
    .await?;
    let url = broker.events_url("");
    let event = "x".repeat(10 << 10);
    for _ in 0..6 {
        assert_eq!(publish(&url, &event, &[]).await?.status, 201);
    }
    let began = Instant::now();
    is_problem(&publish(&url, &event, &[]).await?, 507, "storage-full");
    assert!(began.elapsed() < Duration::from_secs(2), "nothing is gained by waiting");

    // a batch of which a part fits: what is stored is named
    let line = |size: usize| format!("{}\n", json!({"data": "y".repeat(size)}));
    let batch = Publish::new(line(10) + &line(10 << 10) + &line(10))
        .header("Content-Type", "application/x-ndjson")
        .key("part");
    let answer = batch.send(&client(Version::Http1), &url).await?;
    is_problem(&answer, 507, "storage-full");
    let lines: Vec<_> = answer.json["events"].as_array().into_iter().flatten().collect();
    let lines: Vec<_> = lines.iter().map(|event| &event["line"]).collect();
    assert_eq!(lines, [1, 3], "what was on its way is reported, too: {}", answer.json);
    assert_eq!(answer.json["idempotency_key"], "part");
    let state =
        nats.jetstream().await?.get_stream("SSE_default_demo").await?.get_info().await?.state;
    assert_eq!(state.messages, 8, "and nothing else is stored");
    Ok(())
}

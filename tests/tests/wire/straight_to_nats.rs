//! Publishing straight to NATS: the documented subjects and headers, messages that break the rules, and forged ones.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use async_nats::{HeaderMap, jetstream::context::PublishAckFuture};
use eventcast_tests::{
    broker::Broker,
    http::{Answer, Version, client, publish},
    init_tracing,
    nats::NatsServer,
    sse::{Event, EventStream},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
const ALL: &str = "sse.default.demo.all";

type Headers<'a> = &'a [(&'a str, &'a str)];

async fn small_tail(nats: &NatsServer) -> Result<Broker> {
    Broker::start(&nats.url(), |config| {
        config.memory.tail_events = 16;
        config.channels[0].publishing.max_event_bytes = 1024;
    })
    .await
}

/// Publishes and waits until it is stored; gives whether it was a duplicate.
async fn store(
    nats: &NatsServer,
    subject: &str,
    headers: Headers<'_>,
    data: &[u8],
) -> Result<bool> {
    let mut map = HeaderMap::new();
    headers.iter().for_each(|(name, value)| map.append(*name, *value));
    let jetstream = nats.jetstream().await?;
    let (subject, data) = (subject.to_owned(), data.to_vec());
    let ack: PublishAckFuture = jetstream.publish_with_headers(subject, map, data.into()).await?;
    Ok(ack.await?.duplicate)
}

/// Publishes with a block of headers that no decent client would write.
async fn store_raw(nats: &NatsServer, headers: &str, data: &str) -> Result<()> {
    let mut socket = TcpStream::connect(nats.url().trim_start_matches("nats://")).await?;
    let (head, all) = (headers.len(), headers.len() + data.len());
    let text = format!(
        "CONNECT {{\"verbose\":false,\"headers\":true}}\r\nHPUB {ALL} {head} {all}\r\n{headers}{data}\r\nPING\r\n"
    );
    socket.write_all(text.as_bytes()).await?;
    let mut answer = String::new();
    while !answer.contains("PONG") {
        let mut more = [0; 4096];
        let n = socket.read(&mut more).await?;
        ensure!(n > 0, "closed after {answer}");
        answer += &String::from_utf8_lossy(&more[..n]);
    }
    ensure!(!answer.contains("-ERR"), "{answer}");
    Ok(())
}

async fn history(broker: &Broker, query: &str) -> Result<Vec<Value>> {
    let request = client(Version::Http1).get(broker.events_url(query));
    let answer = Answer::read(request.header("Accept", "application/json").send().await?).await?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.json);
    answer.json["events"].as_array().cloned().context("no events")
}

/// Reads until an event with `data`; it included.
async fn until(stream: &mut EventStream, data: &str) -> Result<Vec<Event>> {
    let mut seen: Vec<Event> = Vec::new();
    while seen.last().is_none_or(|event| event.data != data) {
        let event = stream.next_within(WAIT_TIMEOUT).await;
        seen.push(event.with_context(|| format!("{data} did not come after {seen:#?}"))?);
    }
    Ok(seen)
}

#[tokio::test]
async fn the_documented_subjects_and_headers_make_events() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = small_tail(&nats).await?;
    let mut all = EventStream::connect(&broker.events_url(""), None).await?;
    let mut one =
        EventStream::connect(&broker.events_url("topic=stadt.k%C3%B6ln&type=order.*"), None)
            .await?;
    store(&nats, ALL, &[], "für alle".as_bytes()).await?;
    let headers =
        [("Eventcast-Type", "order.paid"), ("Eventcast-Source", "/shop"), ("Eventcast-Id", "7")];
    store(&nats, "sse.default.demo.t.user.42", &headers, b"one\r\ntwo").await?;
    store(&nats, "sse.default.demo.t.stadt.k%C3%B6ln", &headers, b"there").await?;
    let ce = json!({"specversion": "1.0", "id": "9", "source": "/s", "type": "ce.type", "data": {"a": 1}});
    let structured = [("content-type", "application/cloudevents+json")];
    store(&nats, "sse.default.demo.t.a", &structured, ce.to_string().as_bytes()).await?;

    assert_eq!(all.next_data(WAIT_TIMEOUT).await?.data, "für alle");
    let second = all.next_data(WAIT_TIMEOUT).await?;
    assert_eq!((second.event_type.as_str(), second.data.as_str()), ("order.paid", "one\ntwo"));
    assert_eq!(all.next_data(WAIT_TIMEOUT).await?.data, "there");
    let fourth = all.next_data(WAIT_TIMEOUT).await?;
    assert_eq!((fourth.event_type.as_str(), fourth.json()?), ("ce.type", ce));
    assert_eq!(one.next_data(WAIT_TIMEOUT).await?.data, "there");

    let events = history(&broker, "").await?;
    let of = |key: &str| events.iter().map(|event| event[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("topic"), [Value::Null, json!("user.42"), json!("stadt.köln"), json!("a")]);
    assert_eq!(of("source"), [Value::Null, json!("/shop"), json!("/shop"), json!("/s")]);
    assert_eq!(of("id"), [Value::Null, json!("7"), json!("7"), json!("9")]);
    Ok(())
}

#[tokio::test]
async fn a_message_id_is_stored_once_by_any_publisher() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = small_tail(&nats).await?;
    let id = [("Nats-Msg-Id", "k1")];
    assert!(!store(&nats, ALL, &id, b"first").await?);
    assert!(store(&nats, ALL, &id, b"second").await?);
    publish(&broker.events_url(""), "another", &[]).await?;
    let data: Vec<_> = history(&broker, "").await?.iter().map(|e| e["data"].clone()).collect();
    assert_eq!(data, ["first", "another"]);
    Ok(())
}

#[tokio::test]
async fn what_breaks_a_rule_is_a_gap_of_one_and_the_rest_flows_on() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = small_tail(&nats).await?;
    let mut all = EventStream::connect(&broker.events_url(""), None).await?;
    let mut mine = EventStream::connect(&broker.events_url("topic=user.1"), None).await?;
    let topic = |of: &str| format!("sse.default.demo.t.{of}");
    let large = vec![b'x'; 1025];
    let cases: [(&str, Headers<'_>, &[u8], &str); 9] = [
        ("user.1", &[], b"a\xffb", "not-utf8"),
        ("user.1", &[], b"a\0b", "nul"),
        ("user.1", &[("Eventcast-Type", "eventcast.gap")], b"x", "name"),
        ("user.1", &[("Eventcast-Type", "open")], b"x", "name"),
        ("user.1", &[], &large, "too-large"),
        ("user.1", &[("content-type", "application/cloudevents+json")], b"{}", "cloudevent"),
        ("user.2", &[], b"a\xffb", "not-utf8"),
        ("%41", &[], b"x", "subject"),
        ("%GG", &[], b"x", "subject"),
    ];
    let mut reasons = BTreeMap::<_, f64>::new();
    for (i, (subject, headers, data, reason)) in cases.into_iter().enumerate() {
        store(&nats, &topic(subject), headers, data).await?;
        store(&nats, &topic("user.1"), &[], format!("good {i}").as_bytes()).await?;
        *reasons.entry(reason).or_default() += 1.0;
    }
    let gaps = |events: Vec<Event>| -> Result<usize> {
        let gaps = events.iter().filter(|event| event.event_type == "eventcast.gap");
        for gap in gaps.clone() {
            let json = gap.json()?;
            assert_eq!((&json["reason"], &json["lost"]), (&json!("invalid-event"), &json!(1)));
            assert_eq!(json["resumed_at"].as_str(), gap.id.as_deref());
        }
        let good = events.iter().filter(|event| event.data.starts_with("good"));
        assert_eq!(good.count(), cases.len());
        Ok(gaps.count())
    };
    assert_eq!(gaps(until(&mut all, "good 8").await?)?, 9);
    assert_eq!(gaps(until(&mut mine, "good 8").await?)?, 8, "the one of user.2 is not told");
    for (reason, count) in reasons {
        let metric = broker.metric("eventcast_events_skipped_total", &[("reason", reason)]).await?;
        assert_eq!(metric, count, "{reason}");
    }
    let told = [("reason", "invalid-event")];
    assert_eq!(broker.metric("eventcast_gaps_total", &told).await?, 17.0, "gaps told");
    let lost = [("outcome", "lost")];
    assert_eq!(broker.metric("eventcast_subscriber_events_total", &lost).await?, 17.0, "lost");

    // the same from pages: the tail holds the last 16
    let mut pages = EventStream::connect(&broker.events_url("from=earliest"), None).await?;
    assert_eq!(gaps(until(&mut pages, "good 8").await?)?, 9);
    assert_eq!(history(&broker, "").await?.len(), 9, "history has the good ones");
    Ok(())
}

#[tokio::test]
async fn forged_headers_move_neither_history_nor_cursors() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start_with("1s").await?;
    let broker = small_tail(&nats).await?;
    let forged = [
        ("Nats-Sequence", "7"),
        ("Nats-Last-Sequence", "3"),
        ("Nats-Num-Pending", "0"),
        ("Nats-Time-Stamp", "1999-01-01T00:00:00Z"),
        ("Nats-Subject", "sse.default.demo.t.nobody"),
        ("Nats-Stream", "OTHER"),
        ("Nats-Last-Consumer", "5"),
        ("Nats-Consumer-Stalled", "sse.default.demo.all"),
        ("Status", "404"),
        ("Description", "No Messages"),
    ];
    for i in 0..60 {
        store(&nats, ALL, &forged, i.to_string().as_bytes()).await?;
    }
    let expected: Vec<String> = (0..60).map(|i| i.to_string()).collect();
    broker
        .settled("what went past the broker has reached it", WAIT_TIMEOUT, |metrics| {
            ensure!(metrics.metric("eventcast_tail_head_sequence", &[]) == 60.0);
            Ok(())
        })
        .await?;
    let events = history(&broker, "limit=1000").await?;
    let data: Vec<_> = events.iter().filter_map(|event| event["data"].as_str()).collect();
    assert_eq!(data, expected);
    assert!(events.iter().all(|event| event["topic"].is_null()));
    assert!(
        !events.iter().any(|event| event["time"].as_str().is_none_or(|t| t.starts_with("1999")))
    );
    for from in [0, 30, 50] {
        let cursor = events[from]["cursor"].as_str();
        let mut stream = EventStream::connect(&broker.events_url(""), cursor).await?;
        let seen = until(&mut stream, "59").await?;
        let data = seen.iter().filter(|event| !event.is_control());
        let data: Vec<_> = data.map(|event| event.data.as_str()).collect();
        assert_eq!(data, expected[from + 1..], "resumed after {from}");
    }
    Ok(())
}

/// A header block may begin with a status, as the control messages of NATS do; any publisher can store that.
#[tokio::test]
async fn a_forged_status_does_not_stop_the_channel() -> Result<()> {
    init_tracing();
    let statuses = [
        "100 Idle Heartbeat",
        "100 FlowControl Request\r\nNats-Last-Consumer: 9",
        "404 No Messages\r\nA: b",
        "204 EOB\r\nNats-Num-Pending: 0",
        "503",
    ];
    for status in statuses {
        let nats = NatsServer::start().await?;
        let broker = small_tail(&nats).await?;
        let mut stream = EventStream::connect(&broker.events_url(""), None).await?;
        store_raw(&nats, &format!("NATS/1.0 {status}\r\n\r\n"), "forged").await?;
        for i in 0..20 {
            store(&nats, ALL, &[], i.to_string().as_bytes()).await?;
        }
        let live = until(&mut stream, "19").await.with_context(|| format!("live, {status}"))?;
        let mut pages = EventStream::connect(&broker.events_url("from=earliest"), None).await?;
        let paged = until(&mut pages, "19").await.with_context(|| format!("pages, {status}"))?;
        for seen in [live, paged] {
            let told = |event: &&Event| event.event_type != "eventcast.cursor";
            assert_eq!(seen.iter().filter(told).count(), 21, "{status}: delivered or told");
        }
    }
    Ok(())
}

/// The header of the server's own markers, on an event of a publisher.
#[tokio::test]
async fn a_forged_marker_is_delivered_or_declared() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = small_tail(&nats).await?;
    let mut stream = EventStream::connect(&broker.events_url(""), None).await?;
    store(&nats, ALL, &[("Nats-Marker-Reason", "MaxAge")], b"published all the same").await?;
    store(&nats, ALL, &[], b"next").await?;
    let seen = until(&mut stream, "next").await?;
    let told = seen.iter().filter(|event| event.event_type != "eventcast.cursor").count();
    assert_eq!(told, 2, "an event is gone without a word: {seen:#?}");
    Ok(())
}

//! Publishing while NATS works: what `201` promises, which repetitions are stored once, CloudEvents, time to live, order.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::Action;
use eventcast_tests::{
    broker::Broker,
    cursor::Cursor,
    eventually,
    http::{Answer, Publish, Version, client, publish},
    init_tracing,
    issuer::Issuer,
    nats::NatsServer,
    sse::EventStream,
};
use serde_json::{Value, json};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

async fn broker(nats: &NatsServer) -> Result<Broker> {
    Broker::start(&nats.url(), |_| {}).await
}

/// One page of history.
async fn history(broker: &Broker, query: &str) -> Result<Vec<Value>> {
    let request = client(Version::Http1).get(broker.events_url(query));
    let answer = Answer::read(request.header("Accept", "application/json").send().await?).await?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.json);
    answer.json["events"].as_array().cloned().context("no events")
}

async fn send(event: Publish, broker: &Broker) -> Result<Answer> {
    event.send(&client(Version::Http1), &broker.events_url("")).await
}

fn batch(lines: &[Value]) -> Publish {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    Publish::new(body).header("Content-Type", "application/x-ndjson")
}

/// Cursors and duplicate marks of a stored batch.
fn stored(answer: &Answer) -> Result<Vec<(String, bool)>> {
    ensure!(answer.status == 201, "{} {}", answer.status, answer.json);
    let events = answer.json["events"].as_array().context("no events")?;
    let one = |event: &Value| {
        let cursor = event["cursor"].as_str().context("no cursor")?;
        Ok((cursor.to_owned(), event["duplicate"] == true))
    };
    events.iter().map(one).collect()
}

#[tokio::test]
async fn created_means_durable() -> Result<()> {
    init_tracing();
    let mut nats = NatsServer::start().await?;
    let broker = broker(&nats).await?;
    let answer = publish(&broker.events_url(""), "kept", &[]).await?;
    nats.kill9()?;
    assert_eq!(answer.status, 201);
    nats.restart().await?;
    // by a broker that has nothing in memory
    let other = Broker::start(&nats.url(), |_| {}).await?;
    let events = history(&other, "").await?;
    assert_eq!(events.len(), 1);
    assert_eq!(
        (&events[0]["data"], events[0]["cursor"].as_str()),
        (&json!("kept"), answer.cursor())
    );
    Ok(())
}

#[tokio::test]
async fn a_key_stores_once_here_after_a_restart_and_elsewhere() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let (mut one, two) = (broker(&nats).await?, broker(&nats).await?);
    let first = send(Publish::new("first body").key("order-7"), &one).await?;
    assert_eq!((first.status, &first.json["duplicate"]), (201, &json!(false)));
    let again = async |broker: &Broker| -> Result<()> {
        let answer = send(Publish::new("another body").key("order-7"), broker).await?;
        assert_eq!((answer.status, answer.cursor()), (201, first.cursor()));
        assert_eq!(answer.json["duplicate"], true);
        Ok(())
    };
    again(&one).await?;
    again(&two).await?;
    one.restart().await?;
    again(&one).await?;
    let events = history(&two, "").await?;
    assert_eq!(events.iter().map(|e| &e["data"]).collect::<Vec<_>>(), ["first body"]);
    Ok(())
}

#[tokio::test]
async fn a_batch_numbers_its_key_and_envelopes_bring_their_own() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = broker(&nats).await?;
    let lines: Vec<Value> = (0..5).map(|i| json!({"data": i, "topic": "a.b"})).collect();
    let half = stored(&send(batch(&lines[..3]).key("b"), &broker).await?)?;
    assert!(half.iter().all(|(_, duplicate)| !duplicate));
    let whole = stored(&send(batch(&lines).key("b"), &broker).await?)?;
    let marks: Vec<bool> = whole.iter().map(|(_, duplicate)| *duplicate).collect();
    assert_eq!(marks, [true, true, true, false, false]);
    assert!(half.iter().zip(&whole).all(|(a, b)| a.0 == b.0), "{half:?} {whole:?}");
    for key in ["b", "b:2", "b2", "b:0"] {
        let single = send(Publish::new("x").key(key), &broker).await?;
        assert_eq!(single.json["duplicate"], false, "{key} is the key of no event of a batch");
    }
    let jetstream = nats.jetstream().await?;
    let mut id = async_nats::HeaderMap::new();
    id.insert("Nats-Msg-Id", "b 2");
    let subject = "sse.default.demo.t.a.b";
    let ack = jetstream.publish_with_headers(subject, id, "x".into()).await?.await?;
    assert!(ack.duplicate, "the documented message id of event 2");

    let own = [json!({"data": "x", "id": "mine"}), json!({"data": "y"})];
    let first = stored(&send(batch(&own), &broker).await?)?;
    let second = stored(&send(batch(&own), &broker).await?)?;
    assert_eq!(second[0], (first[0].0.clone(), true));
    assert!(!second[1].1, "an envelope without an id is a new event every time");
    Ok(())
}

#[tokio::test]
async fn a_batch_keeps_its_order() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start_with("1s").await?;
    let broker = broker(&nats).await?;
    let mut stream = EventStream::connect(&broker.events_url("from=earliest"), None).await?;
    let mut last = 0;
    for _ in 0..5 {
        let lines: Vec<Value> = (0..500).map(|i| json!({"data": format!("{i}")})).collect();
        for (i, (cursor, duplicate)) in
            stored(&send(batch(&lines), &broker).await?)?.iter().enumerate()
        {
            let sequence = Cursor::parse(cursor)?.sequence;
            assert!(sequence == last + 1 && !duplicate, "event {i}: {cursor} after {last}");
            last = sequence;
            let event = stream.next_data(WAIT_TIMEOUT).await?;
            assert_eq!((event.data, event.id.as_ref()), (i.to_string(), Some(cursor)));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_publisher_reads_its_own_event_at_once() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start_with("1s").await?;
    let broker = broker(&nats).await?;
    for i in 0..50 {
        let data = i.to_string();
        let answer = publish(&broker.events_url(""), &data, &[("topic", "mine")]).await?;
        let newest = history(&broker, "order=desc&limit=1&topic=mine").await?;
        assert_eq!(
            (&newest[0]["data"], newest[0]["cursor"].as_str()),
            (&json!(data), answer.cursor())
        );
    }
    Ok(())
}

#[tokio::test]
async fn cloudevents_come_three_ways_and_are_known_by_source_and_id() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = broker(&nats).await?;
    let mut stream = EventStream::connect(&broker.events_url(""), None).await?;
    let event = json!({"specversion": "1.0", "id": "7", "source": "/shop", "type": "order.paid",
                       "topic": "user.42", "datacontenttype": "application/json", "data": {"order": 7}});
    let structured = Publish::new(event.to_string())
        .header("Content-Type", "application/cloudevents+json; charset=utf-8");
    let first = send(structured.clone(), &broker).await?;
    assert_eq!((first.status, &first.json["duplicate"]), (201, &json!(false)), "{}", first.json);
    let seen = stream.next_data(WAIT_TIMEOUT).await?;
    assert_eq!((seen.event_type.as_str(), seen.json()?), ("order.paid", event.clone()));
    assert!(!seen.data.contains('\n'), "one line: {}", seen.data);

    let binary = |id: &str| {
        Publish::new(r#"{"order": 7}"#)
            .header("ce-specversion", "1.0")
            .header("ce-id", id)
            .header("ce-source", "/shop")
            .header("ce-type", "order.paid")
            .header("ce-topic", "user.42")
            .header("Content-Type", "application/json")
    };
    for again in [structured, binary("7")] {
        let answer = send(again, &broker).await?;
        assert_eq!((answer.cursor(), &answer.json["duplicate"]), (first.cursor(), &json!(true)));
    }
    assert_eq!(send(binary("8"), &broker).await?.json["duplicate"], false);
    let mut eighth = event.clone();
    eighth["id"] = "8".into();
    assert_eq!(
        stream.next_data(WAIT_TIMEOUT).await?.json()?,
        eighth,
        "binary becomes the same JSON"
    );

    let mut elsewhere = event.clone();
    elsewhere["source"] = "/other".into();
    let many = Publish::new(json!([event, eighth, elsewhere]).to_string())
        .header("Content-Type", "application/cloudevents-batch+json");
    let answer = send(many, &broker).await?;
    let marks: Vec<bool> = stored(&answer)?.into_iter().map(|(_, duplicate)| duplicate).collect();
    assert_eq!(marks, [true, true, false], "another source is another event");
    let events = history(&broker, "source=%2Fshop&topic=user.42").await?;
    let ids: Vec<_> = events.iter().map(|e| &e["id"]).collect();
    assert_eq!(ids, ["7", "8"]);
    Ok(())
}

/// `before`, `short` with a life of a second, `long`, `after`; waits until the log has dropped `short`.
async fn one_of_four_expires(nats: &NatsServer, broker: &Broker) -> Result<[Option<String>; 2]> {
    let url = broker.events_url("");
    let before = publish(&url, "before", &[]).await?;
    let short = publish(&url, "short", &[("ttl", "1")]).await?;
    publish(&url, "long", &[("ttl", "2h")]).await?;
    publish(&url, "after", &[]).await?;
    let stream = nats.jetstream().await?.get_stream("SSE_default_demo").await?;
    eventually("the log has dropped it", WAIT_TIMEOUT, || async {
        let messages = stream.get_info().await?.state.messages;
        ensure!(messages == 3, "{messages} messages");
        Ok(())
    })
    .await?;
    Ok([before, short].map(|answer| answer.cursor().map(str::to_owned)))
}

/// Checks that `broker` serves the log without `short`, in history and to clients that resume before or inside the hole.
async fn short_is_gone(broker: &Broker, cursors: &[Option<String>]) -> Result<()> {
    for cursor in cursors {
        let mut stream = EventStream::connect(&broker.events_url(""), cursor.as_deref()).await?;
        let mut seen = Vec::new();
        while seen.last().is_none_or(|last| last != "after") {
            let event = stream.next_within(WAIT_TIMEOUT).await?;
            assert_ne!(event.event_type, "eventcast.gap", "a hole is no gap: {}", event.raw);
            seen.extend((!event.is_control()).then_some(event.data));
        }
        assert_eq!(seen, ["long", "after"]);
    }
    let events = history(broker, "").await?;
    let data: Vec<_> = events.iter().map(|event| event["data"].clone()).collect();
    assert_eq!(data, ["before", "long", "after"]);
    Ok(())
}

#[tokio::test]
async fn an_event_lives_as_long_as_it_was_given() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = broker(&nats).await?;
    let cursors = one_of_four_expires(&nats, &broker).await?;
    short_is_gone(&broker, &cursors).await
}

#[tokio::test]
async fn a_broker_starts_on_a_log_with_a_hole() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut broker = broker(&nats).await?;
    let cursors = one_of_four_expires(&nats, &broker).await?;
    broker.kill9()?;
    let fresh = Broker::launch(&nats.url(), |_| {}).await;
    let mut fresh = fresh.context("it does not even listen")?;
    fresh.ready(WAIT_TIMEOUT).await?;
    short_is_gone(&fresh, &cursors).await
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_the_limit() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |config| {
        config.channels[0].publishing.max_event_bytes = 1000;
        config.channels[0].publishing.max_batch_events = 3;
    })
    .await?;
    assert_eq!(send(Publish::new("x".repeat(1000)), &broker).await?.status, 201);
    let large = json!({"data": "x".repeat(1001)});
    let fits = json!({"data": "x"});
    for (request, limit) in [
        (Publish::new("x".repeat(1001)), 1000),
        (batch(&[fits.clone(), large]), 1000),
        (batch(&vec![fits; 4]), 3),
    ] {
        let answer = send(request, &broker).await?;
        assert_eq!((answer.status, &answer.json["limit"]), (413, &json!(limit)), "{}", answer.json);
    }
    assert_eq!(history(&broker, "").await?.len(), 1, "a batch is checked whole");
    Ok(())
}

#[tokio::test]
async fn a_batch_beyond_the_rate_limit_is_rejected_and_not_stored() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut broker = Broker::start(&nats.url(), |c| {
        c.channels[0].publishing.max_events_per_second = 5;
        c.channels[0].publishing.max_batch_events = 10;
    })
    .await?;
    let lines = |n: usize| (0..n).map(|i| json!({"data": i.to_string()})).collect::<Vec<_>>();
    ensure!(send(batch(&lines(10)), &broker).await?.status == 201, "a batch passes at once");
    let refused = send(batch(&lines(10)), &broker).await?;
    assert_eq!(refused.status, 429, "{}", refused.json);
    assert_eq!(refused.json["type"], "urn:eventcast:problem:too-fast");
    assert!(refused.json["retry_after"].as_u64().is_some_and(|s| s >= 1), "{}", refused.json);
    assert_eq!(history(&broker, "").await?.len(), 10);
    assert_eq!(broker.metric("eventcast_publish_total", &[("outcome", "throttled")]).await?, 10.0);
    broker.reconfigure(|c| c.channels[0].publishing.max_events_per_second = 0)?;
    eventually("the limit is lifted without a restart", WAIT_TIMEOUT, || async {
        for _ in 0..3 {
            ensure!(send(batch(&lines(10)), &broker).await?.status == 201, "not yet");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_not_anonymous_requires_a_credential() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let reading = Broker::start(&nats.url(), |c| {
        c.channels[0].access.anonymous = vec![Action::Subscribe];
        c.channels[0].access.allowed_origins = vec!["https://app.example".into()];
    })
    .await?;
    EventStream::connect(&reading.events_url(""), None).await?;
    let refused = send(Publish::new("x").header("Origin", "https://app.example"), &reading).await?;
    assert_eq!(
        (refused.status, &refused.json["type"]),
        (401, &"urn:eventcast:problem:credential-required".into())
    );
    let issuer = Issuer::new()?;
    let closed = Broker::start(&nats.url(), |c| {
        c.channels[0].access.anonymous = Vec::new();
        c.channels[0].access.tokens = vec![issuer.trusted()];
    })
    .await?;
    for path in ["/events", "/stats", ""] {
        let url = closed.url(&format!("/channels/default/demo{path}"));
        let answer =
            client(Version::Http1).get(url).header("Authorization", "Bearer x").send().await?;
        assert_eq!(answer.status(), 401, "{path}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer error=\"invalid_token\"");
    }
    Ok(())
}

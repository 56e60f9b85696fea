//! CloudEvents as other systems send them: byte for byte, with long names, by every way of publishing, and with the handshakes of
//! Knative and of webhooks.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::HeaderMap;
use eventcast_crds::config::Action;
use eventcast_tests::{
    broker::open_channel,
    eventually,
    http::{Publish, Version},
    wire::{BrokerWithNats, EVENTS, HTTP_VERSIONS, RawResponse},
};
use serde_json::{Value, json};

const DATA: &str = r#"{"z":1.10,"n":123456789012345678901234567890,"a":[1e2,"\u00e9"],"f":0.1000}"#;
const WAIT_TIMEOUT: Duration = Duration::from_secs(8);
const KIND: &str = "application/cloudevents+json";

fn structured(id: &str) -> String {
    format!(
        r#"{{"type":"t.x","specversion":"1.0","source":"/s","id":"{id}","big":7,"data":{DATA},"subject":"z"}}"#
    )
}

fn binary(id: &str) -> Vec<(&str, &str)> {
    vec![("ce-specversion", "1.0"), ("ce-type", "t.x"), ("ce-source", "/s"), ("ce-id", id)]
}

async fn history(broker: &BrokerWithNats, query: &str) -> Result<Vec<Value>> {
    let target = format!("{EVENTS}?limit=1000&{query}");
    let accept = [("Accept", "application/json")];
    let page = broker.request(Version::Http1, "GET", &target, &accept).await?.json().await?;
    page["events"].as_array().cloned().with_context(|| page.to_string())
}

/// History once it has `count` events: the broker learns of what is stored straight to NATS a moment later.
async fn history_of(broker: &BrokerWithNats, query: &str, count: usize) -> Result<Vec<Value>> {
    eventually(&format!("{count} events with {query}"), WAIT_TIMEOUT, || async {
        let events = history(broker, query).await?;
        ensure!(events.len() == count, "{} events", events.len());
        Ok(events)
    })
    .await
}

/// Publishes straight to NATS and waits until it is stored.
async fn store(broker: &BrokerWithNats, headers: &[(&str, &str)], data: &str) -> Result<()> {
    let mut map = HeaderMap::new();
    headers.iter().for_each(|(name, value)| map.append(*name, *value));
    let jetstream = broker.nats.jetstream().await?;
    let subject = "sse.default.demo.t.a";
    jetstream.publish_with_headers(subject, map, data.to_owned().into()).await?.await?;
    Ok(())
}

#[tokio::test]
async fn an_event_stays_as_it_was_sent_by_every_way_in() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let mut stream = broker.open_stream(Version::Http1, "").await?;
    let mut next = async || -> Result<String> { stream.data().await };
    let post = async |body: String, headers: &[(&str, &str)]| -> Result<()> {
        let event = headers.iter().fold(Publish::new(body), |e, (n, v)| e.header(n, v));
        let answer = broker.send(&event).await?;
        ensure!(answer.status == 201, "{answer:?}");
        Ok(())
    };
    for kind in [KIND, "Application/CloudEvents+JSON; charset=UTF-8"] {
        post(structured(kind), &[("Content-Type", kind)]).await?;
        assert_eq!(next().await?, structured(kind));
    }
    let batch = format!("[{}, {}]", structured("2"), structured("3"));
    post(batch, &[("Content-Type", "application/cloudevents-batch+json")]).await?;
    assert_eq!((next().await?, next().await?), (structured("2"), structured("3")));
    for kind in ["application/json", "application/vnd.x+json"] {
        let headers = [binary(kind), vec![("Content-Type", kind)]].concat();
        post(DATA.to_owned(), &headers).await?;
        let data = next().await?;
        ensure!(data.ends_with(&format!("\"data\":{DATA}}}")), "{data}");
    }
    store(&broker, &[("content-type", KIND)], &structured("4")).await?;
    assert_eq!(next().await?, structured("4"));
    store(&broker, &binary("5"), DATA).await?;
    let data = next().await?;
    ensure!(data.ends_with(&format!("\"data\":{DATA}}}")), "{data}");
    let events = history(&broker, "type=t.x&source=/s").await?;
    assert_eq!(events.len(), 8, "all of them have a type and a source: {events:?}");
    assert_eq!(events[0]["data"], structured(KIND), "history has the same bytes");
    Ok(())
}

#[tokio::test]
async fn a_cloudevent_straight_to_nats_is_one_in_either_mode_and_any_case() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let upper = [
        ("CE-SpecVersion", "1.0"),
        ("Ce-Type", "t.x"),
        ("CE-SOURCE", "/caf%C3%A9"),
        ("ce-id", "1"),
        ("Content-Type", "Text/Plain"),
    ];
    store(&broker, &upper, "words").await?;
    store(&broker, &[("CONTENT-TYPE", "APPLICATION/CLOUDEVENTS+JSON")], &structured("2")).await?;
    store(&broker, &[("eventcast-type", "t.x"), ("EVENTCAST-SOURCE", "/s")], "plain").await?;
    let events = history_of(&broker, "type=t.x", 3).await?;
    let sources: Vec<_> = events.iter().map(|e| e["source"].clone()).collect();
    assert_eq!(sources, ["/café", "/s", "/s"]);
    let first: Value = serde_json::from_str(events[0]["data"].as_str().context("no data")?)?;
    assert_eq!(
        (&first["data"], &first["datacontenttype"]),
        (&json!("words"), &json!("Text/Plain"))
    );
    // as over HTTP: a format that we do not read, and attributes without a version, are no plain events
    for headers in [
        vec![("content-type", "application/cloudevents+xml")],
        vec![("ce-type", "t.x"), ("ce-source", "/s"), ("ce-id", "3")],
        [binary("4"), vec![("CE-ID", "5")]].concat(),
    ] {
        store(&broker, &headers, "{}").await?;
    }
    broker.publish("end").await?;
    let invalid = [("reason", "cloudevent")];
    broker
        .wait_for_metric("eventcast_events_skipped_total", &invalid, WAIT_TIMEOUT, |n| n == 3.0)
        .await?;
    history_of(&broker, "", 4).await?; // three of them, and the end
    let xml = Publish::new("<event/>").header("Content-Type", "application/cloudevents+xml");
    assert_eq!(broker.send(&xml).await?.status, 415);
    Ok(())
}

#[tokio::test]
async fn long_sources_and_ids_are_taken_by_every_way_in_and_deduplicated() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let (source, id) = (format!("/{}", "s/é".repeat(255)), "i".repeat(1024));
    ensure!(source.len() == 1021 && id.len() == 1024);
    let event = json!({"specversion": "1.0", "type": "t", "source": source, "id": id}).to_string();
    let line = json!({"data": "x", "source": source, "id": id}).to_string();
    for (event, kind) in [(event, KIND), (line, "application/x-ndjson")] {
        for duplicate in [false, true] {
            let answer = broker.send(&Publish::new(&*event).header("Content-Type", kind)).await?;
            ensure!(answer.status == 201, "{answer:?}");
            let told = if kind == KIND { &answer.json } else { &answer.json["events"][0] };
            assert_eq!(told["duplicate"], duplicate, "{kind}");
        }
    }
    assert_eq!(broker.send(&Publish::new("x").query("source", &source)).await?.status, 201);
    store(&broker, &[("Eventcast-Source", &source), ("Eventcast-Id", &id)], "x").await?;
    let encoded: String = source.bytes().map(|b| format!("%{b:02X}")).collect();
    let events = history_of(&broker, &format!("source={encoded}"), 4).await?;
    let ids: Vec<_> = events.iter().map(|e| e["id"] == *id).collect();
    assert_eq!(ids, [true, true, false, true]);
    let more = "s".repeat(1025);
    for (field, event) in [
        ("source", Publish::new("x").query("source", &more)),
        ("source", Publish::new("x").header("Eventcast-Source", &more)),
        (
            "id",
            Publish::new(json!({"data": "x", "id": more}).to_string())
                .header("Content-Type", "application/x-ndjson"),
        ),
    ] {
        let answer = broker.send(&event).await?;
        let told = (answer.status, &answer.json["field"], &answer.json["limit"]);
        assert_eq!(told, (400, &json!(field), &json!(1024)), "{}", answer.json);
    }
    Ok(())
}

/// Knative sends an event again if a success has a body that is no event.
#[tokio::test]
async fn knative_gets_a_success_without_a_body_and_the_cursor_in_a_header() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    for version in HTTP_VERSIONS {
        for (i, prefer) in ["reply", "Reply", "respond-async, reply;q=1"].into_iter().enumerate() {
            let id = format!("{version:?}{i}");
            let headers = [binary(&id), vec![("Prefer", prefer)]].concat();
            let address = broker.address();
            let mut response =
                RawResponse::request(version, address, "POST", EVENTS, &headers, b"1").await?;
            assert_eq!(response.head.status, 202, "{prefer}");
            ensure!(response.header_values("content-type").is_empty(), "{:?}", response.head);
            assert_eq!(response.read_to_end().await?, b"");
            let cursor = response.header_values("eventcast-cursor").join("");
            let newest = history(&broker, "order=desc").await?;
            assert_eq!(newest[0]["cursor"], *cursor, "the event is stored");
        }
        let other = [("Prefer", "return=minimal, noreply")];
        let response =
            RawResponse::request(version, broker.address(), "POST", EVENTS, &other, b"1").await?;
        assert_eq!(response.head.status, 201, "nothing that says reply");
        let mut response = response;
        let cursor = response.header_values("eventcast-cursor").join("");
        assert_eq!(response.json().await?["cursor"], *cursor, "the header says what the body says");
    }
    let refused = [("Prefer", "reply"), ("Eventcast-Type", "open")];
    let response =
        RawResponse::request(Version::Http1, broker.address(), "POST", EVENTS, &refused, b"1")
            .await?;
    response.expect_problem(400).await?;
    Ok(())
}

#[tokio::test]
async fn a_webhook_sender_is_told_whether_it_may_send_and_how_fast() -> Result<()> {
    let broker = BrokerWithNats::start(|config| {
        let channel = |name| open_channel("default", name);
        let (mut slow, mut shut, mut reading) =
            (channel("slow"), channel("shut"), channel("reading"));
        slow.publishing.max_events_per_second = 5;
        shut.publishing.enabled = false;
        reading.access.anonymous = vec![Action::Subscribe];
        config.channels.extend([slow, shut, reading]);
    })
    .await?;
    let asks = [
        ("WebHook-Request-Origin", "eventgrid.azure.net"),
        ("WebHook-Request-Rate", "120"),
        ("WebHook-Request-Callback", "https://eventgrid.azure.net/confirm"),
    ];
    for version in HTTP_VERSIONS {
        for (channel, rate) in
            [("demo", Some("*")), ("slow", Some("300")), ("shut", None), ("reading", None)]
        {
            let target = format!("/channels/default/{channel}/events");
            let response = broker.request(version, "OPTIONS", &target, &asks).await?;
            ensure!(matches!(response.head.status, 200 | 204), "{:?}", response.head);
            ensure!(
                response.header_values("allow").join("").contains("POST"),
                "{:?}",
                response.head
            );
            let origin: Vec<_> = rate.iter().map(|_| "eventgrid.azure.net").collect();
            assert_eq!(response.header_values("webhook-allowed-origin"), origin, "{channel}");
            assert_eq!(
                response.header_values("webhook-allowed-rate"),
                Vec::from_iter(rate),
                "{channel}"
            );
        }
        let plain = broker.request(version, "OPTIONS", EVENTS, &[]).await?;
        ensure!(plain.header_values("webhook-allowed-origin").is_empty(), "{:?}", plain.head);
    }
    Ok(())
}

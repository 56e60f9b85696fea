//! Attacks with text in the wrong place: A9 to A14, A31. Invalid names are rejected with a 4xx status; nothing reaches the
//! stream, the log or another channel under a false name.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    broker::open_channel,
    cursor::Cursor,
    eventually,
    http::{Http1Connection, Publish, Version},
    wire::{BrokerWithNats, EVENTS, HTTP_VERSIONS},
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

const WAIT_TIMEOUT: Duration = Duration::from_secs(8);

fn ndjson(line: impl Into<String>) -> Publish {
    Publish::new(line.into()).header("Content-Type", "application/x-ndjson")
}

fn cloud(body: impl Into<String>) -> Publish {
    Publish::new(body.into()).header("Content-Type", "application/cloudevents+json")
}

/// Everything that history has.
async fn stored(broker: &BrokerWithNats) -> Result<Vec<Value>> {
    let accept = [("Accept", "application/json")];
    let target = format!("{EVENTS}?limit=1000");
    let page = broker.request(Version::Http1, "GET", &target, &accept).await?.json().await?;
    page["events"].as_array().cloned().context("no events")
}

/// A9: line ends and control characters in names, ids and cursors make no fields (in data: R9; in types: R8).
#[tokio::test]
async fn a9_line_ends_in_names_and_ids_make_no_fields() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    for evil in ["a\nb", "a\rb", "a\0", "a\u{85}b", "a\u{1b}[31m", "a\u{7f}"] {
        for event in [
            Publish::new("x").topic(evil),
            Publish::new("x").query("source", evil),
            ndjson(json!({"data": "x", "id": evil}).to_string()),
            ndjson(json!({"data": "x", "topic": evil}).to_string()),
            ndjson(json!({"data": "x", "source": evil}).to_string()),
        ] {
            let answer = broker.send(&event).await?;
            assert!(matches!(answer.status, 400 | 422), "{evil:?} in {event:?}: {answer:?}");
        }
    }
    for key in ["a b", "é", &"k".repeat(129), ""] {
        let answer = broker.send(&Publish::new("x").key(key)).await?;
        assert_eq!(answer.status, 400, "key {key:?}: {answer:?}");
    }
    assert_eq!(stored(&broker).await?.len(), 0, "nothing was stored");
    // what only some parsers take for a line end stays where it is
    assert_eq!(broker.send(&Publish::new("x").kind("a\u{2028}b")).await?.status, 201);
    for version in HTTP_VERSIONS {
        let mut stream = broker.subscribe(version, "?from=earliest", &[]).await?;
        ensure!(
            stream.next_block_with("data: x").await?.contains("event: a\u{2028}b\n"),
            "as it is"
        );
        // a cursor is echoed to the client that sent it
        let query = "?lastEventId=a%0A%0Aevent:%20evil%0Adata:%20x%0D%0A%0A%00";
        let mut stream = broker.subscribe(version, query, &[]).await?;
        stream.read_retry().await?;
        let gap = stream.next_block().await?;
        ensure!(
            gap.starts_with("event: eventcast.gap\ndata: {") && gap.lines().count() == 3,
            "{gap}"
        );
        ensure!(!gap.contains('\r') && !gap.contains('\0'), "{gap:?}");
    }
    Ok(())
}

/// A10: invalid UTF-8, lone surrogates and overlong forms are refused and never reach a stream.
#[tokio::test]
async fn a10_what_is_no_unicode_is_refused() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let envelope = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":"#;
    for event in [
        ndjson(r#"{"data":"\ud800"}"#),
        ndjson(r#"{"data":"\udc00\ud800"}"#),
        ndjson(r#"{"data":"x","topic":"\ud800"}"#),
        ndjson(r#"{"data":"x","type":"\udfff"}"#),
        cloud(format!(r#"{envelope}"\ud800"}}"#)),
        Publish::new(&b"{\"data\":\"\xff\"}"[..]).header("Content-Type", "application/x-ndjson"),
        Publish::new(&b"\xc0\xafoverlong"[..]),
        Publish::new(&b"\xf4\x90\x80\x80 beyond"[..]),
        Publish::new(&b"\xed\xa0\x80\xed\xb0\x80 cesu"[..]),
        Publish::new("x").header("Eventcast-Topic", "a").header("Eventcast-Topic", "b"),
    ] {
        let answer = broker.send(&event).await?;
        assert!(matches!(answer.status, 400 | 422), "{event:?}: {answer:?}");
    }
    // With a replacement character in their place, different names would be the same topic.
    for (target, field) in
        [("?topic=%FF", "topic"), ("?topic=user.%E9", "topic"), ("?type=%C0%80", "type")]
    {
        let target = format!("{EVENTS}{target}");
        for method in ["GET", "POST", "DELETE"] {
            let response = broker.request(Version::Http1, method, &target, &[]).await?;
            let problem = response.expect_problem(400).await?;
            assert_eq!(problem["field"], field, "{method} {target}");
        }
    }
    assert_eq!(stored(&broker).await?, [] as [Value; 0], "nothing");
    assert_eq!(broker.send(&Publish::new("x").topic("\u{fffd}")).await?.status, 201);
    Ok(())
}

/// A11: JSON that is deep, huge or twice there costs nothing but an answer.
#[tokio::test]
async fn a11_hostile_json_is_answered_and_does_no_harm() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let head = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":"#;
    let half = "[".repeat(100_000);
    for (what, event, statuses) in [
        // opaque to us: stored as it is, or refused
        ("a deep value", ndjson(format!("{{\"data\":{deep}}}")), &[201, 400, 422][..]),
        ("a deep cloud event", cloud(format!("{head}{deep}}}")), &[400, 422]),
        ("half of a deep one", ndjson(format!("{{\"data\":{half}")), &[400, 422]),
        ("half of a deep cloud event", cloud(format!("{head}{half}")), &[400, 422]),
        ("a deep batch", cloud(deep.clone()), &[400, 422]),
        ("10 MB of digits", ndjson(format!("{{\"data\":{}}}", "9".repeat(10 << 20))), &[413]),
        ("a number of 200 kB", cloud(format!("{head}{}}}", "9".repeat(200_000))), &[400, 422]),
        ("data twice", ndjson(r#"{"data":1,"data":2}"#), &[400, 422]),
        ("NaN", ndjson(r#"{"data":NaN}"#), &[400, 422]),
        ("Infinity", cloud(format!("{head}-Infinity}}")), &[400, 422]),
        ("no JSON", ndjson("data: x"), &[400, 422]),
        ("an unknown field", ndjson(r#"{"data":1,"topik":"a"}"#), &[400, 422]),
        ("an empty batch", ndjson("\n\n"), &[400, 422]),
    ] {
        let answer = match broker.send(&event).await {
            // refused before it was read, and then the answer can be lost with the connection
            Err(_) if statuses == [413] => continue,
            answer => answer?,
        };
        ensure!(statuses.contains(&answer.status), "{what}: {answer:?}");
    }
    let mut stream = broker.open_stream(HTTP_VERSIONS[0], "").await?;
    broker.publish("alive").await?;
    assert_eq!(stream.data().await?, "alive");
    Ok(())
}

/// A12: a channel has one spelling. Everything else is refused, neither decoded twice nor walked up.
#[tokio::test]
async fn a12_a_channel_has_one_spelling() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let long = format!("/channels/default/{}/events", "a".repeat(5 << 10));
    for target in [
        "/channels/default/../events",
        "/channels/default/demo/../demo/events",
        "/channels/./default/demo/events",
        "/channels/default/%2e%2e/events",
        "/channels/default/%2E/events",
        "/channels/default%2Fdemo/events",
        "/channels/default/demo%2Fevents",
        "/channels/default//events",
        "/channels//demo/events",
        "/channels/default/demo%00/events",
        "/channels/default/demo./events",
        "/channels/default/.demo/events",
        "/channels/default/demo%20/events",
        "/channels/default/d%65mo/events",
        "/channels/default/DEMO/events",
        "/channels/default/-demo/events",
        "/channels/default/%C3%A9/events",
        "/channels/default/e%CC%81/events",
        "/channels/default/%E2%80%AEomed/events",
        "/channels/default/demo;x/events",
        "/channels/default/*/events",
        "/channels/default/>/events",
        "/channels/$JS/API/events",
        "/channels/default\\demo/events",
        &long,
    ] {
        for method in ["GET", "POST"] {
            let request =
                format!("{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
            let mut connection = Http1Connection::connect(broker.address()).await?;
            connection.send(request).await?;
            let head = connection.read_head().await?;
            ensure!(matches!(head.status, 400 | 404 | 414), "{method} {target}: {head:?}");
            ensure!(head.header("location").is_none(), "{method} {target}: {head:?}");
        }
    }
    assert_eq!(stored(&broker).await?.len(), 0, "nothing was stored");
    Ok(())
}

/// A13: no topic, type or channel reaches a subject outside the channel's prefix, whatever NATS would make of it.
#[tokio::test]
async fn a13_nothing_lands_outside_the_prefix_of_the_channel() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let client = broker.nats.client().await?;
    let mut everything = client.subscribe(">").await?;
    client.flush().await?;
    let mut good = 0;
    for (n, topic) in [
        "*",
        ">",
        "a.*",
        "a.>",
        "a.>.b",
        "a*",
        "a>",
        ">a",
        ".",
        "..",
        "a.",
        ".a",
        "a..b",
        " ",
        "a b",
        "$JS.API.STREAM.DELETE.SSE_default_demo",
        "$JS.API.>",
        "$SYS.REQ.SERVER.PING",
        "_INBOX.x",
        "%2E%2E",
        "%2A",
        "a%20b",
        "a\tb",
        "a\r\nPUB evil 4\r\nevil\r\n",
        "a\nb",
        "a\0b",
        "é",
        "🎈",
        "a\u{a0}b",
        "sse.default.demo.all",
        "../../evil",
        "a/b",
        "a\\b",
        "\"",
        "{{x}}",
        "~@:=+,",
    ]
    .into_iter()
    .enumerate()
    {
        let marker = format!("marker {n}");
        let answer = broker.send(&Publish::new(marker.clone()).topic(topic)).await?;
        let again = ndjson(json!({"data": marker, "topic": topic}).to_string());
        let batch = broker.send(&again).await?;
        ensure!(matches!(answer.status, 201 | 400 | 422), "{topic:?}: {answer:?}");
        assert_eq!(answer.status, batch.status, "{topic:?}, both ways: {batch:?}");
        if answer.status == 201 {
            good += 2;
            let all = stored(&broker).await?;
            let ours = all.iter().filter(|event| event["data"] == marker.as_str());
            let topics: Vec<_> = ours.map(|event| event["topic"].clone()).collect();
            assert_eq!(topics, [json!(topic), json!(topic)], "comes back as it was");
        }
    }
    ensure!(good >= 20, "only {good} were stored: what NATS minds is encoded, not refused");
    assert_eq!(stored(&broker).await?.len(), good, "nothing was changed or deleted");
    broker.publish("marker of the end").await?;
    let mut subjects = Vec::new();
    loop {
        let next =
            tokio::time::timeout(WAIT_TIMEOUT, everything.next()).await?.context("NATS is gone")?;
        let delivered = next.reply.as_ref().is_some_and(|reply| reply.starts_with("$JS.ACK."));
        let text = String::from_utf8_lossy(&next.payload).into_owned();
        // what JetStream delivers to the broker goes to an inbox of its own
        if text.starts_with("marker") && !delivered && !next.subject.starts_with("_INBOX.") {
            subjects.push(next.subject.to_string());
            if text == "marker of the end" {
                break;
            }
        }
        ensure!(!text.starts_with("evil"), "it landed on {}", next.subject);
    }
    assert_eq!(subjects.pop().as_deref(), Some("sse.default.demo.all"));
    assert_eq!(subjects.len(), good, "each once");
    for subject in subjects {
        let topic = subject.strip_prefix("sse.default.demo.t.").context(subject.clone())?;
        let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_~@:=+,%.".contains(&b);
        ensure!(topic.bytes().all(safe), "{subject}");
    }
    Ok(())
}

/// A14: whatever comes as `Last-Event-ID` gets a stream, never another channel's events, and within seconds.
#[tokio::test]
async fn a14_any_last_event_id_gets_a_stream_and_a_gap() -> Result<()> {
    let broker = BrokerWithNats::start(|config| {
        config.channels.push(open_channel("default", "other"));
    })
    .await?;
    let other = "/channels/default/other/events";
    let answer = eventcast_tests::http::publish(&broker.url(other), "not yours", &[]).await?;
    let foreign = answer.cursor().context("stored")?.to_owned();
    let ours = broker.publish("first").await?;
    let at = Cursor::parse(&ours)?;
    let (epoch, check) = (&at.epoch, ours.rsplit('-').next().unwrap_or_default());
    let wrong = if check == "000" { "001" } else { "000" };
    for (id, reason) in [
        ("garbage".to_owned(), "invalid-cursor"),
        ("-1".into(), "invalid-cursor"),
        ("0".into(), "invalid-cursor"),
        ("now".into(), "invalid-cursor"),
        ("$".into(), "invalid-cursor"),
        ("' OR 1=1 --".into(), "invalid-cursor"),
        ("../../etc/passwd".into(), "invalid-cursor"),
        ("é".into(), "invalid-cursor"),
        ("x".repeat(8000), "invalid-cursor"),
        (format!("{epoch}-18446744073709551616-{check}"), "invalid-cursor"),
        (format!("{epoch}-01-{check}"), "invalid-cursor"),
        (format!("{ours}-{ours}"), "invalid-cursor"),
        (foreign, "new-incarnation"),
        (format!("{epoch}-1-{wrong}"), "new-incarnation"),
        (format!("{epoch}-1001-{check}"), "new-incarnation"),
        (format!("{epoch}-18446744073709551615-{check}"), "new-incarnation"),
        (format!("zzzzz-1-{check}"), "new-incarnation"),
    ] {
        for version in HTTP_VERSIONS {
            let began = tokio::time::Instant::now();
            let mut stream = broker.subscribe(version, "", &[("Last-Event-ID", &id)]).await?;
            let what = &id[..id.len().min(40)];
            assert_eq!(stream.header_values("eventcast-gap"), [reason], "{what:?}");
            ensure!(began.elapsed() < Duration::from_secs(6), "{what:?}: {:?}", began.elapsed());
            let gap = stream.control_event("eventcast.gap").await?;
            assert_eq!(gap["reason"], reason, "{what:?}: {gap}");
            ensure!(gap["requested"].as_str().is_some_and(|s| s.chars().count() <= 64), "{gap}");
            assert_eq!(stream.data().await?, "first", "{what:?}: the channel from its beginning");
        }
    }
    for query in [format!("?lastEventId={epoch}-0-000"), format!("?from={epoch}-0-000")] {
        let mut stream = broker.subscribe(Version::Http1, &query, &[]).await?;
        ensure!(
            stream.header_values("eventcast-gap").is_empty(),
            "before the first nothing is missing"
        );
        assert_eq!(stream.data().await?, "first");
    }
    let (twice, long) = ([("Last-Event-ID", &*ours); 2], "x".repeat(1 << 20));
    for version in HTTP_VERSIONS {
        broker.request(version, "GET", EVENTS, &twice).await?.expect_problem(400).await?;
        // the broker closes before it has read all: then the answer may be lost with the connection
        if let Ok(response) =
            broker.request(version, "GET", EVENTS, &[("Last-Event-ID", &long)]).await
        {
            assert_eq!(response.head.status, 431);
        }
        let latest = broker.publish("before").await?;
        let mut live = broker.subscribe(version, "", &[("Last-Event-ID", &latest)]).await?;
        ensure!(live.header_values("eventcast-gap").is_empty(), "the newest event: live");
        broker.publish("next").await?;
        assert_eq!(live.data().await?, "next");
    }
    Ok(())
}

/// A31: the same idempotency key with another body stores once; the answer is the first one and says so.
#[tokio::test]
async fn a31_a_key_used_again_with_another_body_gets_the_first_answer() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let first = broker.send(&Publish::new("first").key("k")).await?;
    assert_eq!((first.status, &first.json["duplicate"]), (201, &json!(false)));
    let second = broker.send(&Publish::new("second").key("k")).await?;
    assert_eq!((second.status, &second.json["duplicate"]), (201, &json!(true)));
    assert_eq!(first.cursor(), second.cursor());
    eventually("history has it", WAIT_TIMEOUT, || async {
        let data: Vec<_> = stored(&broker).await?.iter().map(|e| e["data"].clone()).collect();
        ensure!(data == ["first"], "{data:?}");
        Ok(())
    })
    .await
}

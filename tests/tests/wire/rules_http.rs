//! Rules about requests and rejections: R7, R8, R12 to R14, R20, R22. `rules_wire` has those about the bytes of a stream,
//! `rules_life` those about its life.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use eventcast_crds::config::{BrokerConfig, Overload};
use eventcast_tests::{
    broker::Broker,
    eventually,
    http::{Publish, Version, client},
    nats::NatsServer,
    wire::{BrokerWithNats, EVENTS, HTTP_VERSIONS, RawResponse},
};
use serde_json::{Value, json};

const APP: &str = "https://app.example.com";

/// R7: `retry:` stays within 1000 and 3,600,000 ms and differs from one connection to the next; the configuration takes
/// nothing else.
#[tokio::test]
async fn r7_retry_is_jittered_between_a_second_and_an_hour() -> Result<()> {
    for (configured, range) in [(1000, 1000..=1500), (3_600_000, 1_800_000..=3_600_000)] {
        let broker = BrokerWithNats::start(|config| {
            config.channels[0].delivery.retry_milliseconds = configured;
        })
        .await?;
        let (mut streams, mut seen) = (Vec::new(), BTreeSet::new());
        for i in 0..40 {
            let mut stream = broker.subscribe(HTTP_VERSIONS[i % 2], "", &[]).await?;
            let ms = stream.read_retry().await?;
            ensure!(range.contains(&ms), "{ms} with {configured}");
            seen.insert(ms);
            streams.push(stream);
        }
        ensure!(seen.len() > 5, "a herd would come back together: {seen:?}");
        broker.terminate()?;
        let mut seen = BTreeSet::new();
        for stream in &mut streams {
            let (reason, ms) = stream.read_closing().await?;
            ensure!(reason == "draining" && range.contains(&ms), "{reason} {ms}");
            seen.insert(ms);
        }
        ensure!(seen.len() > 5, "those sent away would come back together: {seen:?}");
    }
    let nats = NatsServer::start().await?;
    for bad in [0, 999, 3_600_001, u64::from(u32::MAX)] {
        let change = |config: &mut BrokerConfig| {
            config.channels[0].delivery.retry_milliseconds = bad;
        };
        ensure!(Broker::launch(&nats.url(), change).await.is_err(), "{bad} was taken");
    }
    Ok(())
}

/// R8: what would break clients is refused when it is published: invalid UTF-8, U+0000, control characters in a type, the
/// types `open` and `error`, and the broker's own.
#[tokio::test]
async fn r8_what_would_break_clients_is_refused_at_publish() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let mut stream = broker.open_stream(Version::Http1, "").await?;
    let refused = async |event: &Publish, what: &str| -> Result<()> {
        let answer = broker.send(event).await?;
        assert!(matches!(answer.status, 400 | 422), "{what}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
        assert!(answer.json["field"].is_string(), "{what}: {answer:?}");
        Ok(())
    };
    for data in [&b"\xff"[..], b"a\xc0\x80b", b"\xed\xa0\x80", b"a\0b", b"cut \xe2\x82"] {
        refused(&Publish::new(data), &format!("{data:?}")).await?;
    }
    let ndjson =
        |line: Value| Publish::new(line.to_string()).header("Content-Type", "application/x-ndjson");
    refused(&ndjson(json!({"data": "a\0b"})), "an escaped NUL").await?;
    for kind in [
        "open",
        "error",
        "eventcast.gap",
        "eventcast.",
        "a\nb",
        "a\rb",
        "a\r\ndata: x",
        "a\0",
        "a\u{1}",
        "a\tb",
        "a\u{7f}",
        "a\u{85}b",
        "a\u{9f}",
        " a",
        "a ",
        &"x".repeat(129),
    ] {
        refused(&Publish::new("x").kind(kind), &format!("?type={kind:?}")).await?;
        refused(&ndjson(json!({"data": "x", "type": kind})), &format!("type {kind:?}")).await?;
        let cloud = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": kind});
        let cloud =
            Publish::new(cloud.to_string()).header("Content-Type", "application/cloudevents+json");
        refused(&cloud, &format!("cloud event {kind:?}")).await?;
    }
    broker.publish("the only one").await?;
    let block = stream.next_block_with("data: ").await?;
    let block = if block.contains("eventcast.cursor") { stream.next_block().await? } else { block };
    ensure!(block.contains("data: the only one\n"), "something else got through: {block:?}");
    Ok(())
}

/// R12, R13: clients that should reconnect get `200`, `retry:`, a closing event and a clean end; a listener that no browser reaches may
/// have `503` with `Retry-After`.
#[tokio::test]
async fn r12_r13_overload_is_a_200_with_retry_or_a_503_as_configured() -> Result<()> {
    for (overload, status) in [(Overload::Retry, 200), (Overload::Status, 503)] {
        let broker = BrokerWithNats::start(|config| {
            config.limits.subscribers = 1;
            config.limits.overload = overload;
        })
        .await?;
        let open = broker.open_stream(Version::Http1, "").await?;
        for version in HTTP_VERSIONS {
            let mut refused = broker.request(version, "GET", EVENTS, &[]).await?;
            assert_eq!(refused.head.status, status, "{overload:?}");
            if status == 200 {
                let first = refused.read_retry().await?;
                assert_eq!(refused.read_closing().await?, ("overloaded".to_owned(), first));
            } else {
                let seconds: u64 = refused.header_values("retry-after")[0].parse()?;
                ensure!((1..=3600).contains(&seconds), "{seconds}");
                refused.expect_problem(503).await?;
            }
        }
        let labels = [("reason", "limit-process")];
        assert_eq!(broker.metric("eventcast_rejects_total", &labels).await?, 2.0);
        drop(open);
    }
    Ok(())
}

/// R13: a log that cannot be reached is no reason for a status that a browser takes for final.
#[tokio::test]
async fn r13_an_unreachable_log_is_a_200_with_retry() -> Result<()> {
    let mut nats = NatsServer::start().await?;
    nats.kill9()?;
    let broker = Broker::launch(&nats.url(), |_| {}).await?;
    // it waits for the first answer of NATS before it serves
    eventually("it serves", Duration::from_secs(10), || async {
        client(Version::Http1).get(broker.admin_url("/livez")).send().await?.error_for_status()
    })
    .await?;
    let mut answer =
        RawResponse::request(Version::Http1, broker.address(), "GET", EVENTS, &[], b"").await?;
    assert_eq!(answer.head.status, 200);
    answer.read_retry().await?;
    assert_eq!(answer.read_closing().await?.0, "unavailable");
    Ok(())
}

/// R14: responses that mean "stop" are problems, readable across origins, and never cached.
#[tokio::test]
async fn r14_refusals_are_uncacheable_problems_with_cors() -> Result<()> {
    let broker = BrokerWithNats::start(|config| {
        config.channels[0].access.allowed_origins = vec![APP.into()];
        config.channels[0].publishing.enabled = false;
    })
    .await?;
    let unknown = "/channels/default/demo/else";
    for version in HTTP_VERSIONS {
        for (method, target, accept, status) in [
            ("GET", "/channels/default/demo/events?topic=a..b", "*/*", 400),
            ("GET", "/channels/default/demo/events?from=never", "*/*", 400),
            ("POST", EVENTS, "*/*", 403),
            ("GET", unknown, "*/*", 404),
            ("DELETE", EVENTS, "*/*", 403),
            ("PUT", EVENTS, "*/*", 405),
            ("GET", EVENTS, "text/html", 406),
            ("GET", EVENTS, "text/event-stream;q=0", 406),
        ] {
            let headers = [("Origin", APP), ("Accept", accept)];
            let response = broker.request(version, method, target, &headers).await?;
            assert_eq!(
                response.header_values("access-control-allow-origin"),
                [APP],
                "{method} {target}"
            );
            assert!(response.header_values("vary").contains(&"Origin"), "{method} {target}");
            if status == 405 {
                let allow = response.header_values("allow").join("");
                ensure!(allow.contains("GET") && allow.contains("HEAD"), "{allow}");
            }
            response.expect_problem(status).await?;
        }
        broker
            .request(version, "GET", "/channels/default/none/events", &[])
            .await?
            .expect_problem(404)
            .await?;
    }
    Ok(())
}

/// R20: a head of more than 16 KiB or more than 100 headers is refused, whatever the version.
#[tokio::test]
async fn r20_heads_are_bounded() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let (most, more) = ("x".repeat(12 << 10), "x".repeat(17 << 10));
    let many: Vec<_> = (0..101).map(|i| (format!("x-{i}"), "1")).collect();
    let many: Vec<_> = many.iter().map(|(name, value)| (&**name, *value)).collect();
    for version in HTTP_VERSIONS {
        let fits = broker.request(version, "HEAD", EVENTS, &[("X-Long", &*most)]).await?;
        assert_eq!(fits.head.status, 200, "12 KiB are no reason to refuse");
        match broker.request(version, "HEAD", EVENTS, &[("X-Long", &*more)]).await {
            Ok(response) => assert_eq!(response.head.status, 431, "{version:?}"),
            Err(error) => ensure!(version == Version::Http2, "{error:#}"), // a reset says it too
        }
        if version == Version::Http1 {
            assert_eq!(
                broker.request(version, "HEAD", EVENTS, &many).await?.head.status,
                431,
                "101"
            );
        }
    }
    let long = format!("{EVENTS}?topic={}", "a".repeat(15 << 10));
    let status = broker.request(Version::Http1, "GET", &long, &[]).await?.head.status;
    ensure!((400..500).contains(&status), "a pattern of 15 KiB: {status}");
    Ok(())
}

/// R22: no redirects, for nothing.
#[tokio::test]
async fn r22_nothing_is_ever_redirected() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    for version in HTTP_VERSIONS {
        for target in [
            "/channels",
            "/channels/",
            "/channels/default",
            "/channels/default/demo/",
            "/channels/default/demo/events/",
            "//channels/default/demo/events",
            "/channels//default/demo/events",
            "/Channels/default/demo/events",
            "/channels/default/demo/EVENTS",
            "/index.html",
        ] {
            let response = broker.request(version, "GET", target, &[]).await?;
            ensure!((400..500).contains(&response.head.status), "{target}: {:?}", response.head);
            ensure!(response.header_values("location").is_empty(), "{target}: {:?}", response.head);
        }
    }
    Ok(())
}

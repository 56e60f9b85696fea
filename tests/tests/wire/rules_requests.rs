//! Requests: from which origins a browser may send them, which parameters and headers are read, and which form of response is
//! returned. What the broker does not understand is rejected with a hint, and publishes nothing.

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    http::{Http1Connection, Publish, Version},
    wire::{BrokerWithNats, EVENTS, HTTP_VERSIONS, RawResponse},
};
use serde_json::json;

const CHANNEL: &str = "/channels/default/demo";

async fn stored(broker: &BrokerWithNats) -> Result<usize> {
    let target = format!("{EVENTS}?limit=1000");
    let accept = [("Accept", "application/json")];
    let page = broker.request(Version::Http1, "GET", &target, &accept).await?.json().await?;
    Ok(page["events"].as_array().context("no events")?.len())
}

/// Publishes over HTTP/1.1 with exactly these headers; gives the status.
async fn post(broker: &BrokerWithNats, headers: &[(&str, &str)]) -> Result<u16> {
    let mut text = format!("POST {EVENTS} HTTP/1.1\r\nContent-Length: 1\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    let mut connection = Http1Connection::connect(broker.address()).await?;
    connection.send(text + "\r\nx").await?;
    Ok(connection.read_head().await?.status)
}

/// `POST` in either version of HTTP.
async fn publish(
    broker: &BrokerWithNats,
    version: Version,
    target: &str,
    headers: &[(&str, &str)],
) -> Result<RawResponse> {
    RawResponse::request(version, broker.address(), "POST", target, headers, b"x").await
}

#[tokio::test]
async fn a_page_may_always_publish_to_its_own_server() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    for (host, origin) in [
        ("example.com", "https://example.com"),
        ("example.com:443", "https://example.com"),
        ("example.com:80", "http://example.com"),
        ("example.com:80", "https://example.com"),
        ("Example.COM:443", "https://example.com"),
        ("example.com.:443", "https://example.com"),
        ("example.com:8443", "https://example.com:8443"),
        ("[2001:DB8::1]:443", "https://[2001:db8::1]"),
        ("[::1]:8080", "http://[::1]:8080"),
    ] {
        assert_eq!(
            post(&broker, &[("Host", host), ("Origin", origin)]).await?,
            201,
            "{host} {origin}"
        );
    }
    // a proxy has changed the host, and the browser says whose page it is
    let moved = [("Host", "broker.svc"), ("Origin", "https://example.com")];
    let own = [moved[0], moved[1], ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(post(&broker, &own).await?, 201);
    let before = stored(&broker).await?;
    for more in [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("X-Forwarded-Host", "example.com"),
        ("X-Forwarded-Proto", "https"),
        ("Forwarded", "host=example.com;proto=https"),
    ] {
        assert_eq!(post(&broker, &[moved[0], moved[1], more]).await?, 403, "{more:?}");
    }
    for (host, origin) in [
        ("example.com:8443", "https://example.com"),
        ("example.com", "https://example.com:8443"),
        ("example.com", "https://example.com.evil.com"),
        ("example.com", "https://evil-example.com"),
        ("example.com:443", "null"),
        ("[::1]", "https://[::2]"),
    ] {
        assert_eq!(
            post(&broker, &[("Host", host), ("Origin", origin)]).await?,
            403,
            "{host} {origin}"
        );
    }
    assert_eq!(stored(&broker).await?, before, "what is refused is not stored");
    let own = format!("http://{}", broker.address());
    for version in HTTP_VERSIONS {
        let response = publish(&broker, version, EVENTS, &[("Origin", &*own)]).await?;
        assert_eq!(response.head.status, 201, "{version:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_wildcard_allows_every_subdomain_and_nothing_else() -> Result<()> {
    let broker = BrokerWithNats::start(|config| {
        config.channels[0].access.allowed_origins = vec!["https://*.example.com".into()];
        config.channels[0].access.allow_credentials = true;
    })
    .await?;
    let allow = "access-control-allow-origin";
    for origin in ["https://app.example.com", "https://a.b.example.com"] {
        for version in HTTP_VERSIONS {
            let response = broker.request(version, "HEAD", EVENTS, &[("Origin", origin)]).await?;
            assert_eq!(response.header_values(allow), [origin]);
            let response = publish(&broker, version, EVENTS, &[("Origin", origin)]).await?;
            assert_eq!((response.head.status, response.header_values(allow)), (201, vec![origin]));
        }
    }
    for origin in [
        "https://example.com",
        "https://evilexample.com",
        "https://app.example.com.evil.com",
        "https://app.example.com:8443",
        "http://app.example.com",
        "https://*.example.com",
    ] {
        let response =
            broker.request(Version::Http1, "HEAD", EVENTS, &[("Origin", origin)]).await?;
        ensure!(response.header_values(allow).is_empty(), "{origin}: {:?}", response.head);
        publish(&broker, Version::Http1, EVENTS, &[("Origin", origin)])
            .await?
            .expect_problem(403)
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_preflight_lets_tracing_cloudevents_and_the_channels_own_headers_pass() -> Result<()> {
    let origin = "https://app.example.com";
    let broker = BrokerWithNats::start(|config| {
        config.channels[0].access.allowed_origins = vec![origin.into()];
        config.channels[0].access.allowed_headers = vec!["X-Tenant".into()];
    })
    .await?;
    let asked = "traceparent,tracestate,baggage,prefer,ce-partitionkey,CE-Sequence,x-tenant,x-else";
    let headers = [
        ("Origin", origin),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", asked),
    ];
    for version in HTTP_VERSIONS {
        let response = broker.request(version, "OPTIONS", EVENTS, &headers).await?;
        let allowed =
            response.header_values("access-control-allow-headers").join(",").to_ascii_lowercase();
        let allowed: Vec<_> = allowed.split(',').map(str::trim).collect();
        for name in asked.split(',') {
            let name = name.to_ascii_lowercase();
            assert_eq!(allowed.contains(&&*name), name != "x-else", "{name} in {allowed:?}");
        }
        let response = publish(&broker, version, EVENTS, &headers[..1]).await?;
        let exposed = response.header_values("access-control-expose-headers").join(",");
        ensure!(exposed.contains("eventcast-cursor"), "{exposed}");
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_parameter_is_refused_everywhere_and_the_nearest_one_named() -> Result<()> {
    let broker = BrokerWithNats::start(|config| config.page = true).await?;
    let (json, stream) = ("application/json", "text/event-stream");
    let stats = format!("{CHANNEL}/stats");
    for (method, path, accept, query, hint) in [
        ("GET", EVENTS, stream, "topic[0]=user.1", "did you mean topic?"),
        ("GET", EVENTS, stream, "topic%5B%5D=user.1", "did you mean topic?"),
        ("GET", EVENTS, stream, "Topic=user.1", "did you mean topic?"),
        ("GET", EVENTS, stream, "topic=a&tpye=b", "did you mean type?"),
        ("GET", EVENTS, stream, "source=/s", "a parameter of history"),
        ("GET", EVENTS, stream, "lastEventIdx=1", "did you mean lastEventId?"),
        ("GET", EVENTS, json, "limits=1", "did you mean limit?"),
        ("GET", EVENTS, json, "lastEventId=1", "a parameter of a subscription"),
        ("GET", &stats, json, "buckets=1m", "did you mean bucket?"),
        ("GET", CHANNEL, json, "x=1", "There are no parameters"),
        ("GET", "/channels", json, "x=1", "There are no parameters"),
        ("POST", EVENTS, json, "topic[0]=user.1", "did you mean topic?"),
        ("POST", EVENTS, json, "topics=user.1", "did you mean topic?"),
        ("POST", EVENTS, json, "ttI=10m", "did you mean ttl?"),
        ("DELETE", EVENTS, json, "topic=a&topics=b", "did you mean topic?"),
        ("DELETE", EVENTS, json, "topic=a&type=b", "a parameter of a subscription, not of erasing"),
    ] {
        for version in HTTP_VERSIONS {
            let target = format!("{path}?{query}");
            let address = broker.address();
            let body = if method == "POST" { &b"x"[..] } else { b"" };
            let headers = [("Accept", accept)];
            let response =
                RawResponse::request(version, address, method, &target, &headers, body).await?;
            let problem = response.expect_problem(400).await.context(target.clone())?;
            let detail = problem["detail"].as_str().unwrap_or_default();
            ensure!(detail.contains(hint), "{method} {target}: {detail}");
        }
    }
    assert_eq!(stored(&broker).await?, 0, "a misspelt topic makes no broadcast");
    Ok(())
}

#[tokio::test]
async fn what_clients_add_by_themselves_is_passed_over() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let query = "_=1760000000000&padding=2048&evs_preamble=2056";
    for version in HTTP_VERSIONS {
        assert_eq!(broker.subscribe(version, &format!("?{query}"), &[]).await?.head.status, 200);
        let target = format!("{EVENTS}?{query}");
        assert_eq!(publish(&broker, version, &target, &[]).await?.head.status, 201);
    }
    Ok(())
}

#[tokio::test]
async fn a_misspelt_header_of_ours_is_refused() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    for name in ["Eventcast-Topics", "eventcast-topik", "EVENTCAST-TPIC", "Eventcast-Typ"] {
        let response = publish(&broker, Version::Http1, EVENTS, &[(name, "user.1")]).await?;
        let problem = response.expect_problem(400).await?;
        assert_eq!(problem["field"], name.to_ascii_lowercase());
        let detail = problem["detail"].as_str().unwrap_or_default();
        ensure!(detail.contains("did you mean eventcast-t"), "{detail}");
    }
    let filter = [("Eventcast-Topic", "user.1"), ("Accept", "text/event-stream")];
    broker.request(Version::Http1, "GET", EVENTS, &filter).await?.expect_problem(400).await?;
    // attributes of a CloudEvent whose version is missing or misspelt
    for headers in [
        &[("ce-type", "t"), ("ce-id", "1"), ("ce-source", "/s")][..],
        &[("ce-specversoin", "1.0"), ("ce-type", "t"), ("ce-id", "1"), ("ce-source", "/s")],
    ] {
        let problem =
            publish(&broker, Version::Http1, EVENTS, headers).await?.expect_problem(400).await?;
        assert_eq!(problem["field"], "ce-specversion");
    }
    assert_eq!(stored(&broker).await?, 0);
    Ok(())
}

#[tokio::test]
async fn the_cursor_in_the_query_is_read_in_every_spelling() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let first = broker.publish("first").await?;
    let second = broker.publish("second").await?;
    broker.publish("third").await?;
    for name in [
        "lastEventId",
        "lastEventID",
        "last-event-id",
        "Last-Event-ID",
        "last_event_id",
        "evs_last_event_id",
    ] {
        let mut stream = broker.subscribe(Version::Http1, &format!("?{name}={first}"), &[]).await?;
        assert_eq!(stream.data().await?, "second", "{name}");
        let twice = format!("{EVENTS}?{name}={first}&{name}={second}");
        broker.request(Version::Http1, "GET", &twice, &[]).await?.expect_problem(400).await?;
    }
    // a client that resumes appends its spelling to a URL that has another one
    let query = format!("?last_event_id={first}&lastEventId={second}");
    assert_eq!(broker.subscribe(Version::Http1, &query, &[]).await?.data().await?, "third");
    Ok(())
}

/// A client that streams by `POST` repeats the request whenever the stream ends: each time would publish.
#[tokio::test]
async fn a_post_that_wants_a_stream_publishes_nothing() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    for version in HTTP_VERSIONS {
        for accept in ["text/event-stream", "Text/Event-Stream", "text/event-stream, */*;q=0.1"] {
            let response = publish(&broker, version, EVENTS, &[("Accept", accept)]).await?;
            let problem = response.expect_problem(406).await?;
            ensure!(problem["detail"].as_str().is_some_and(|d| d.contains("GET")), "{problem}");
        }
    }
    assert_eq!(stored(&broker).await?, 0);
    for accept in ["*/*", "application/json", "application/json, text/event-stream", "text/html"] {
        let response = publish(&broker, Version::Http1, EVENTS, &[("Accept", accept)]).await?;
        assert_eq!(response.head.status, 201, "{accept}");
    }
    Ok(())
}

#[tokio::test]
async fn json_lines_are_a_batch_in_every_spelling() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let lines = "{\"data\":1,\"topic\":\"a\"}\n{\"data\":2,\"topic\":\"a\"}\n";
    for (i, kind) in [
        "application/x-ndjson",
        "Application/X-NDJSON; charset=utf-8",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonl",
        "application/jsonlines",
        "application/x-jsonlines",
        "application/json-lines",
        "application/x-ldjson",
        "text/x-ndjson",
        "text/jsonl",
    ]
    .into_iter()
    .enumerate()
    {
        let answer = broker.send(&Publish::new(lines).header("Content-Type", kind)).await?;
        assert_eq!(answer.json["events"].as_array().map(Vec::len), Some(2), "{kind}: {answer:?}");
        assert_eq!(stored(&broker).await?, 2 * (i + 1), "{kind}");
    }
    Ok(())
}

#[tokio::test]
async fn a_plus_that_was_not_escaped_is_read_as_a_plus() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    broker.publish("there").await?;
    let json = [("Accept", "application/json")];
    let count = async |query: &str| -> Result<usize> {
        let target = format!("{EVENTS}?{query}");
        let page = broker.request(Version::Http1, "GET", &target, &json).await?.json().await?;
        Ok(page["events"].as_array().with_context(|| page.to_string())?.len())
    };
    assert_eq!(count("from=2026-01-20T19:54:05+02:00").await?, 1);
    assert_eq!(count("from=2026-01-20T19:54:05%2B02:00").await?, 1);
    assert_eq!(count("until=2026-01-20T19:54:05+02:00").await?, 0);
    // the first and the last instant of other programs, and more digits than nanoseconds have
    assert_eq!(count("from=0001-01-01T00:00:00Z&until=9999-12-31T23:59:59.9999999Z").await?, 1);
    assert_eq!(count("from=2026-01-20T19:54:05.123456789012Z").await?, 1);
    let mut stream =
        broker.subscribe(Version::Http1, "?from=2026-01-20T19:54:05+02:00", &[]).await?;
    assert_eq!(stream.data().await?, "there");
    for query in ["from=2026-01-20", "from=2026-01-20+19:54", "until=19:54:05+02:00"] {
        let target = format!("{EVENTS}?{query}");
        let problem = broker
            .request(Version::Http1, "GET", &target, &json)
            .await?
            .expect_problem(400)
            .await?;
        ensure!(problem["detail"].as_str().is_some_and(|d| d.contains("%2B")), "{problem}");
    }
    Ok(())
}

/// What can be published can be asked for alone; what cannot be asked for is refused, however it comes.
#[tokio::test]
async fn types_that_no_pattern_selects_are_refused() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    for kind in ["a..b", ".a", "a.", "*", "a.*", ">.a", "a.>", &["a"; 17].join(".")] {
        let line = json!({"data": "x", "type": kind}).to_string();
        let cloud = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": kind});
        for event in [
            Publish::new("x").kind(kind),
            Publish::new("x").header("Eventcast-Type", kind),
            Publish::new(line).header("Content-Type", "application/x-ndjson"),
            Publish::new(cloud.to_string()).header("Content-Type", "application/cloudevents+json"),
        ] {
            let answer = broker.send(&event).await?;
            assert_eq!((answer.status, &answer.json["field"]), (400, &json!("type")), "{kind}");
        }
    }
    assert_eq!(stored(&broker).await?, 0);
    for kind in ["order.paid", "an order", "größe.ü", "a*", "x/y:z", "v1"] {
        let mut stream =
            broker.open_stream(Version::Http1, &format!("?type={}", encoded(kind))).await?;
        let mut other = broker.open_stream(Version::Http1, "?type=other").await?;
        assert_eq!(broker.send(&Publish::new(kind).kind(kind)).await?.status, 201, "{kind}");
        assert_eq!(stream.data().await?, kind);
        assert_eq!(broker.send(&Publish::new("end").kind("other")).await?.status, 201);
        assert_eq!(other.data().await?, "end", "{kind} reaches nobody who asks for another");
    }
    Ok(())
}

fn encoded(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}

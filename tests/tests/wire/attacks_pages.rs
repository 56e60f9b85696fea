//! Attacks through browsers, proxies and logs: A26, A27, A29, A32, A33, A35.
//!
//! Left out, because this version has neither tokens nor webhooks: A23 (forged JWTs), A24 (expiry in the middle of a stream), A25
//! (one of many channels forbidden), A28 (SSRF by webhook or key URLs), A30 (clock skew of tokens).

use std::time::Duration;

use anyhow::{Result, ensure};
use eventcast_crds::config::{Access, BrokerConfig};
use eventcast_tests::{
    broker::{Broker, networks},
    http::{Http1Connection, Publish, Version},
    nats::NatsServer,
    wire::{BrokerWithNats, EVENTS, HTTP_VERSIONS},
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(8);
const APP: &str = "https://app.example.com";
/// Origins that look like [`APP`], and the one that is none.
const STRANGERS: [&str; 10] = [
    "null",
    "https://app.example.com.evil",
    "https://evil-app.example.com",
    "https://app.example.com:8443",
    "http://app.example.com",
    "https://app.example.com/",
    "https://app.example.com https://evil.example",
    "https://APP.example.com",
    "*",
    "",
];

fn origins(allowed: &[&str], credentials: bool) -> Access {
    let allowed_origins = allowed.iter().map(|origin| (*origin).to_owned()).collect();
    Access { allowed_origins, allow_credentials: credentials, ..Access::open() }
}

/// A26: an origin is compared whole; no other is echoed, and none of them may publish. `*` with credentials, and `null`, are
/// no configuration.
#[tokio::test]
async fn a26_origins_are_compared_whole_and_null_is_none() -> Result<()> {
    let broker = BrokerWithNats::start(|config| {
        config.channels[0].access = origins(&[APP], true);
    })
    .await?;
    let allow = "access-control-allow-origin";
    for version in HTTP_VERSIONS {
        let response = broker.subscribe(version, "", &[("Origin", APP)]).await?;
        assert_eq!(response.header_values(allow), [APP]);
        assert_eq!(response.header_values("access-control-allow-credentials"), ["true"]);
        ensure!(response.header_values("vary").contains(&"Origin"), "{:?}", response.head);
        let asks = [("Origin", APP), ("Access-Control-Request-Method", "POST")];
        let response = broker.request(version, "OPTIONS", EVENTS, &asks).await?;
        assert_eq!((response.head.status, response.header_values(allow)), (204, vec![APP]));
        let headers = response.header_values("access-control-allow-headers").join(",");
        for name in ["last-event-id", "authorization", "content-type", "idempotency-key"] {
            ensure!(headers.contains(name), "{name} not in {headers}");
        }
        for stranger in STRANGERS {
            let origin = ("Origin", stranger);
            for (method, target) in [("GET", EVENTS), ("OPTIONS", EVENTS), ("GET", "/nowhere")] {
                let asks = [origin, ("Access-Control-Request-Method", "POST")];
                let response = broker.request(version, method, target, &asks).await?;
                ensure!(
                    response.header_values(allow).is_empty(),
                    "{stranger:?}: {:?}",
                    response.head
                );
                ensure!(
                    response.header_values("vary").contains(&"Origin"),
                    "{stranger:?}: {:?}",
                    response.head
                );
            }
            let response = broker.request(version, "POST", EVENTS, &[origin]).await?;
            ensure!(response.header_values(allow).is_empty(), "{stranger:?}: {:?}", response.head);
            response.expect_problem(403).await?;
        }
    }
    assert_eq!(broker.send(&Publish::new("x").header("Origin", APP)).await?.status, 201);
    let nats = NatsServer::start().await?;
    for access in [
        origins(&["*"], true),
        origins(&["null"], false),
        origins(&["https://*.com"], false),
        origins(&["https://app.example.com/"], false),
    ] {
        let change = |config: &mut BrokerConfig| config.channels[0].access = access.clone();
        ensure!(Broker::launch(&nats.url(), change).await.is_err(), "{access:?} was accepted");
    }
    Ok(())
}

/// A27: a listener with a list of hosts answers to no other name, however the name is put.
#[tokio::test]
async fn a27_a_foreign_host_is_refused_where_hosts_are_listed() -> Result<()> {
    let broker = BrokerWithNats::start(|config| {
        config.limits.allowed_hosts = ["127.0.0.1", "localhost", "[::1]"].map(str::to_owned).into();
        config.page = true;
    })
    .await?;
    for target in [EVENTS, "/", "/channels"] {
        for (line, host, status) in [
            (target.to_owned(), "localhost", 200),
            (target.to_owned(), "LOCALHOST:8080", 200),
            (target.to_owned(), "127.0.0.1:1", 200),
            (target.to_owned(), "[::1]:8080", 200),
            (target.to_owned(), "evil.example", 421),
            (target.to_owned(), "localhost.evil.example:8080", 421),
            (target.to_owned(), "127.0.0.1.nip.io", 421),
            (target.to_owned(), "evil.example:127.0.0.1", 421),
            (format!("http://evil.example{target}"), "localhost", 421),
        ] {
            let mut connection = Http1Connection::connect(broker.address()).await?;
            let lines = format!("Host: {host}\r\nX-Forwarded-Host: localhost\r\n\r\n");
            connection.send(format!("GET {line} HTTP/1.1\r\n{lines}")).await?;
            let head = connection.read_head().await?;
            let right =
                head.status == status || (status == 421 && matches!(head.status, 400 | 403));
            ensure!(right, "{line} of {host}: {head:?}");
            ensure!(head.header("access-control-allow-origin").is_none(), "{head:?}");
        }
    }
    // both the authority and a header: the header cannot speak for it, nor make it foreign
    let response = broker.request(Version::Http2, "GET", EVENTS, &[("Host", "evil.example")]).await;
    ensure!(
        response.is_err() || response.is_ok_and(|w| matches!(w.head.status, 200 | 400 | 421)),
        "h2"
    );
    Ok(())
}

/// A29: what clients write into names, agents and origins makes no line, no colour and no label of ours.
#[tokio::test]
async fn a29_nothing_that_clients_write_gets_raw_into_logs_or_labels() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let evil = "m4rker%0A2026-01-01T00:00:00Z%20ERROR%20forged%1B%5B31m";
    let headers = [("User-Agent", "m4rker \u{202e}forged"), ("Origin", "https://m4rker.example")];
    for version in HTTP_VERSIONS {
        for target in [
            format!("/channels/default/{evil}/events"),
            "/channels/m4rker/m4rker/events".into(),
            format!("/{evil}"),
            format!("{EVENTS}?topic={evil}"),
            format!("{EVENTS}?type={evil}"),
            format!("{EVENTS}?lastEventId={evil}"),
            format!("{EVENTS}?topic=m4rker.*&type=m4rker"),
        ] {
            broker.request(version, "GET", &target, &headers).await?;
        }
    }
    broker.send(&Publish::new("m4rker\n\u{1b}[31m").topic("m4rker").kind("m4rker")).await?;
    let mut header = async_nats::HeaderMap::new();
    header.insert("Eventcast-Type", "eventcast.m4rker");
    let jetstream = broker.nats.jetstream().await?;
    let subject = "sse.default.demo.t.m4rker.%1B%0A";
    jetstream.publish_with_headers(subject, header, "x".into()).await?.await?;
    broker
        .wait_for_metric("eventcast_events_skipped_total", &[], WAIT_TIMEOUT, |count| count == 1.0)
        .await?;
    let log = broker.log();
    ensure!(!log.contains("\u{1b}[31m") && !log.contains('\u{202e}'), "raw in the log: {log}");
    let forged = log.lines().find(|line| line.starts_with("2026-01-01"));
    ensure!(forged.is_none(), "a line of theirs: {forged:?}");
    let metrics = broker.metrics().await?;
    let labelled = metrics.0.iter().find(|s| s.labels.values().any(|v| v.contains("m4rker")));
    ensure!(labelled.is_none(), "a label of theirs: {labelled:?}");
    let channels: std::collections::BTreeSet<_> =
        metrics.0.iter().filter_map(|sample| sample.labels.get("channel")).collect();
    assert_eq!(channels.into_iter().collect::<Vec<_>>(), ["default/demo"]);
    Ok(())
}

/// A32: HTML in an event, or echoed in a problem, is never rendered as a page.
#[tokio::test]
async fn a32_html_in_events_is_never_a_page() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let html = "<script>alert(1)</script>";
    broker.publish(html).await?;
    let browser = ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
    for version in HTTP_VERSIONS {
        let query = "?from=earliest&topic=%3Cscript%3E..x";
        for target in [format!("{EVENTS}{query}"), "/%3Cscript%3E".into()] {
            let response = broker.request(version, "GET", &target, &[browser]).await?;
            assert_eq!(response.header_values("content-type"), ["application/problem+json"]);
            assert_eq!(response.header_values("x-content-type-options"), ["nosniff"]);
        }
        let response = broker.subscribe(version, "?from=earliest", &[browser]).await?;
        assert_eq!(response.header_values("content-type"), ["text/event-stream; charset=utf-8"]);
        assert_eq!(response.header_values("x-content-type-options"), ["nosniff"]);
        assert_eq!(response.header_values("content-security-policy"), ["sandbox"]);
        for target in [EVENTS, "/channels/default/demo/stats", "/channels/default/demo"] {
            let json = [("Accept", "application/json")];
            let response = broker.request(version, "GET", target, &json).await?;
            assert_eq!(response.header_values("content-type"), ["application/json"], "{target}");
            assert_eq!(response.header_values("x-content-type-options"), ["nosniff"], "{target}");
        }
    }
    Ok(())
}

/// A33: headers with a client's address count only if a trusted proxy sent them.
#[tokio::test]
async fn a33_forwarded_addresses_count_only_from_trusted_proxies() -> Result<()> {
    for trusted in [networks([]), networks(["10.0.0.0/8"])] {
        let broker = BrokerWithNats::start(|config| {
            config.limits.subscribers_per_address = 1;
            config.limits.trusted_proxies = trusted;
        })
        .await?;
        let open = broker.open_stream(Version::Http1, "").await?;
        for version in HTTP_VERSIONS {
            for header in ["X-Forwarded-For", "Forwarded", "X-Real-IP"] {
                let value = if header == "Forwarded" { "for=1.2.3.4" } else { "1.2.3.4" };
                let mut response = broker.subscribe(version, "", &[(header, value)]).await?;
                assert_eq!(response.read_closing().await?.0, "overloaded", "{header} was believed");
            }
        }
        let labels = [("reason", "limit-address")];
        assert_eq!(broker.metric("eventcast_rejects_total", &labels).await?, 6.0);
        drop(open);
    }
    let broker = BrokerWithNats::start(|config| {
        config.limits.trusted_proxies = networks(["127.0.0.0/8"]);
    })
    .await?;
    for (name, value) in
        [("X-Forwarded-User", "root"), ("X-Auth-User", "root"), ("X-Forwarded-For", "<x>")]
    {
        let response = broker.subscribe(Version::Http1, "", &[(name, value)]).await?;
        ensure!(!format!("{:?}", response.head).contains("root"), "{name} is nothing to us");
    }
    Ok(())
}

/// A35: the page is off unless switched on, and runs nothing but its own files.
#[tokio::test]
async fn a35_the_page_is_off_by_default_and_runs_only_its_own_files() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    for target in ["/channels", "/page.js"] {
        broker.request(Version::Http1, "GET", target, &[]).await?.expect_problem(404).await?;
    }
    let mut root = broker.request(Version::Http1, "GET", "/", &[]).await?;
    assert_eq!(root.read_to_end().await?, b"ok\n", "what load balancers check");
    let unlisted = |config: &mut BrokerConfig| (config.page, config.channel_list) = (true, false);
    let broker = BrokerWithNats::start(unlisted).await?;
    broker.request(Version::Http1, "GET", "/channels", &[]).await?.expect_problem(404).await?;
    let broker = BrokerWithNats::start(|config| config.page = true).await?;
    let mut page = broker.request(Version::Http1, "GET", "/", &[]).await?;
    let html = String::from_utf8(page.read_to_end().await?)?;
    let mut files = vec!["/".to_owned()];
    files.extend(
        html.split('"')
            .filter(|quoted| quoted.ends_with(".js") || quoted.ends_with(".css"))
            .map(|name| format!("/{}", name.trim_start_matches(['.', '/']))),
    );
    ensure!(files.len() >= 3, "a page with a script and a style: {files:?}");
    for file in files {
        let mut response = broker.request(Version::Http1, "GET", &file, &[]).await?;
        assert_eq!(response.head.status, 200, "{file}");
        let policy = response.header_values("content-security-policy").join("");
        let own = ["default-src 'none'", "default-src 'self'"];
        ensure!(own.iter().any(|rule| policy.contains(rule)), "{file}: {policy}");
        for rule in ["script-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"] {
            ensure!(policy.contains(rule), "{file}: {policy}");
        }
        ensure!(!policy.contains("unsafe"), "{file}: {policy}");
        assert_eq!(response.header_values("x-content-type-options"), ["nosniff"], "{file}");
        assert_eq!(response.header_values("referrer-policy"), ["no-referrer"], "{file}");
        let origins = response.header_values("access-control-allow-origin");
        ensure!(origins.is_empty(), "{file} is for pages of other origins: {origins:?}");
        let text = String::from_utf8(response.read_to_end().await?)?;
        for bad in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            ensure!(!text.contains(bad), "{bad} in {file}");
        }
    }
    let client = broker.request(Version::Http1, "GET", "/client/index.js", &[]).await?;
    assert_eq!(client.header_values("access-control-allow-origin"), ["*"], "a library for all");
    Ok(())
}

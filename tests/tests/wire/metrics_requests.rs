//! Metrics of requests, queries, shards, the log and the process: what is counted, with which labels, and that labels exist from the
//! start.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::stream::DiscardPolicy;
use eventcast_tests::{
    broker::Broker,
    http::{Http1Connection, Publish, Version, client, publish},
    init_tracing,
    metrics::Metrics,
    nats::NatsServer,
    sinks::SHARD_COUNTS,
    sse::{EventStream, Subscribe},
    wire::BrokerWithNats,
};
use serde_json::json;

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
const REQUESTS: &str = "eventcast_http_requests_total";
const CHANNEL: &str = "/channels/{namespace}/{channel}";

/// How many requests were counted with these labels; an error if there is no such series.
fn requests(metrics: &Metrics, route: &str, method: &str, code: &str) -> Result<f64> {
    let labels = [("route", route), ("method", method), ("code", code)];
    let exists = metrics.0.iter().any(|sample| {
        let has =
            |(name, value): &(&str, &str)| sample.labels.get(*name).is_some_and(|v| v == value);
        sample.name == REQUESTS && labels.iter().all(has)
    });
    ensure!(exists, "no series {route} {method} {code}");
    Ok(metrics.metric(REQUESTS, &labels))
}

#[tokio::test]
async fn requests_are_counted_by_route_method_and_status_in_every_sink() -> Result<()> {
    init_tracing();
    for shards in SHARD_COUNTS {
        for version in [Version::Http1, Version::Http2] {
            let broker = BrokerWithNats::with_shards(shards, |_| {}).await?;
            let (http, events) = (client(version), broker.events_url(""));
            let route = format!("{CHANNEL}/events");
            let before = broker.metrics().await?;
            ensure!(requests(&before, &route, "GET", "200")? == 0.0, "not at 0");

            let stream = Subscribe { url: events.clone(), version, ..Subscribe::default() };
            let mut stream = EventStream::open(stream).await?;
            Publish::new("one").send(&http, &events).await?;
            ensure!(stream.next_data(WAIT_TIMEOUT).await?.data == "one", "the event");
            Publish::new("x").query("type", "open").send(&http, &events).await?;
            let get =
                async |path: &str| anyhow::Ok(http.get(broker.url(path)).send().await?.status());
            ensure!(get("/channels/default/demo/stats?bucket=no").await? == 400, "a bad bucket");
            ensure!(get("/channels/default/other/events").await? == 404, "no such channel");
            ensure!(
                get("/channels/default/demo/secret-of-a-client").await? == 404,
                "no such route"
            );
            ensure!(http.put(&events).body("x").send().await?.status() == 405, "PUT");
            let made_up = reqwest::Method::from_bytes(b"MADEUP")?;
            ensure!(http.request(made_up, &events).send().await?.status() == 405, "MADEUP");

            let metrics = broker.metrics().await?;
            let stats = format!("{CHANNEL}/stats");
            for (route, method, code) in [
                (&*route, "GET", "200"),
                (&route, "POST", "201"),
                (&route, "POST", "400"),
                (&route, "GET", "404"),
                (&route, "PUT", "405"),
                (&route, "other", "405"),
                (&stats, "GET", "400"),
                ("other", "GET", "404"),
            ] {
                let counted = requests(&metrics, route, method, code)?;
                let what = format!("{route} {method} {code}, {version:?}, {shards} shards");
                ensure!(counted == 1.0, "{what}: {counted}");
            }
            let total = metrics.metric(REQUESTS, &[]);
            ensure!(total == 8.0, "{total} in all, {version:?}, {shards} shards");
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_refused_before_its_head_is_read_is_counted_too() -> Result<()> {
    init_tracing();
    let broker = BrokerWithNats::start(|_| {}).await?;
    for (bytes, status) in [
        ("GET / HTTP/1.1\r\nbad header\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n", "x".repeat(80 << 10)), 431),
    ] {
        let mut connection = Http1Connection::connect(broker.address()).await?;
        connection.send(bytes).await?;
        ensure!(connection.read_head().await?.status == status, "{status}");
        let counted = requests(&broker.metrics().await?, "none", "none", &status.to_string())?;
        ensure!(counted == 1.0, "{status}: {counted}");
    }
    Ok(())
}

#[tokio::test]
async fn the_fill_of_the_log_is_known_before_publishers_get_507() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start_with("1s").await?;
    let broker = Broker::start(&nats.url(), |_| {}).await?;
    let jetstream = nats.jetstream().await?;
    let mut config = jetstream.get_stream("SSE_default_demo").await?.cached_info().config.clone();
    (config.max_messages, config.discard) = (10, DiscardPolicy::New);
    jetstream.update_stream(config.clone()).await?;
    let fill = |metrics: &Metrics| {
        let of = |name: &str| metrics.metric(&format!("eventcast_log_{name}"), &[]);
        (of("events"), of("max_events"), of("rejects_when_full"), of("bytes"))
    };
    let url = broker.events_url("");
    for _ in 0..9 {
        ensure!(publish(&url, &"x".repeat(1000), &[]).await?.status == 201, "stored");
    }
    let metrics = broker
        .settled("nine of ten are known", WAIT_TIMEOUT, |metrics| {
            let (events, max, rejects, bytes) = fill(metrics);
            ensure!((events, max, rejects) == (9.0, 10.0, 1.0), "{:?}", fill(metrics));
            ensure!((9000.0..14000.0).contains(&bytes), "{bytes} bytes");
            Ok(())
        })
        .await?;
    ensure!(metrics.metric("eventcast_publish_total", &[("outcome", "full")]) == 0.0, "too late");
    let age = config.max_age.as_secs_f64();
    ensure!(metrics.metric("eventcast_log_max_age_seconds", &[]) == age, "max age: {age}");
    let bytes = metrics.metric("eventcast_log_max_bytes", &[]);
    ensure!(bytes == config.max_bytes as f64, "{bytes} of {}", config.max_bytes);
    ensure!(publish(&url, "ten", &[]).await?.status == 201, "the last one");
    ensure!(publish(&url, "eleven", &[]).await?.status == 507, "full");
    broker
        .settled("the oldest event ages", WAIT_TIMEOUT, |metrics| {
            let age = metrics.metric("eventcast_log_oldest_seconds", &[]);
            ensure!((2.0..60.0).contains(&age), "{age} s");
            Ok(())
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn queries_and_the_work_of_shards_are_timed() -> Result<()> {
    init_tracing();
    let broker = BrokerWithNats::with_shards(2, |_| {}).await?;
    let busy = async || {
        let metrics = broker.metrics().await?;
        let of = |shard| metrics.metric("eventcast_shard_busy_seconds_total", &[("shard", shard)]);
        ensure!(metrics.has("eventcast_shard_busy_seconds_total"), "no series");
        Ok((of("0"), of("1"), tokio::time::Instant::now()))
    };
    let idle_from = busy().await?;
    let mut streams = Vec::new();
    for _ in 0..2 {
        streams.push(EventStream::connect(&broker.events_url("from=earliest"), None).await?);
    }
    broker.publish_numbers(0..2000, 10..=10).await?;
    for stream in &mut streams {
        while !stream.next_data(WAIT_TIMEOUT).await?.data.starts_with("1999 ") {}
    }
    let idle_to = busy().await?;
    let passed = (idle_to.2 - idle_from.2).as_secs_f64();
    for (from, to) in [(idle_from.0, idle_to.0), (idle_from.1, idle_to.1)] {
        let share = (to - from) / passed;
        ensure!(to > from && share < 1.05, "busy for {} s of {passed} s", to - from);
    }
    let http = client(Version::Http1);
    let path = "/channels/default/demo/";
    for (path, status) in [("stats", 200), ("stats?bucket=0s", 400)] {
        let answer = http.get(broker.url(&format!("/channels/default/demo/{path}"))).send().await?;
        ensure!(answer.status() == status, "{path}: {}", answer.status());
    }
    let history =
        http.get(broker.url(&format!("{path}events"))).header("Accept", "application/json");
    ensure!(history.send().await?.status() == 200, "history");
    let metrics = broker.metrics().await?;
    for kind in ["history", "stats"] {
        let count = metrics.metric("eventcast_query_seconds_count", &[("kind", kind)]);
        let sum = metrics.metric("eventcast_query_seconds_sum", &[("kind", kind)]);
        ensure!(count == 1.0 && sum > 0.0 && sum < 10.0, "{kind}: {count} in {sum} s");
    }
    Ok(())
}

/// Counters whose labels are all known beforehand.
const CLOSED: [&str; 10] = [
    "eventcast_connects_total",
    "eventcast_disconnects_total",
    "eventcast_rejects_total",
    "eventcast_events_skipped_total",
    "eventcast_gaps_total",
    "eventcast_tail_resets_total",
    "eventcast_page_loads_total",
    "eventcast_publish_total",
    "eventcast_erasures_total",
    "eventcast_config_reloads_total",
];

/// The series of [`CLOSED`], with their values.
fn closed_series(metrics: &Metrics) -> Vec<(String, f64)> {
    let closed = metrics.0.iter().filter(|sample| CLOSED.contains(&&*sample.name));
    closed.map(|sample| (format!("{} {:?}", sample.name, sample.labels), sample.value)).collect()
}

#[tokio::test]
async fn label_values_that_are_known_beforehand_exist_from_the_start() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start_with("1s").await?;
    let mut broker = Broker::start(&nats.url(), |config| {
        config.memory.tail_events = 16;
        config.channels[0].retention.max_events = 40;
        config.channels[0].delivery.max_subscribers = 1;
    })
    .await?;
    let born = closed_series(&broker.metrics().await?);
    let names: BTreeSet<_> = born.iter().map(|(series, _)| series.clone()).collect();
    for name in CLOSED {
        ensure!(names.iter().any(|series| series.starts_with(name)), "{name}");
    }
    let url = broker.events_url("");
    let first = publish(&url, "first", &[]).await?;
    publish(&url, "x", &[("type", "open")]).await?;
    let straight = nats.client().await?;
    straight.publish("sse.default.demo.all", vec![0xff, 0xfe].into()).await?;
    straight.flush().await?;
    let lines: String = (0..60).map(|i| format!("{}\n", json!({"data": i}))).collect();
    let batch = Publish::new(lines).header("Content-Type", "application/x-ndjson");
    batch.send(&client(Version::Http1), &url).await?;
    let last = publish(&url, "end", &[]).await?;
    let mut stream = EventStream::connect(&url, first.cursor()).await?;
    stream.next_of("eventcast.gap", WAIT_TIMEOUT).await?;
    while stream.next_data(WAIT_TIMEOUT).await?.data != "end" {}
    EventStream::connect(&url, None).await?.next_of("eventcast.closing", WAIT_TIMEOUT).await?;
    drop(stream.cut());
    let cursor = last.cursor().context("a cursor")?;
    let event = broker.url(&format!("/channels/default/demo/events/{cursor}"));
    client(Version::Http1).delete(event).send().await?;
    nats.remade("SSE_default_demo", WAIT_TIMEOUT).await?;
    broker.reconfigure(|config| config.query.concurrent = 3)?;
    let metrics = broker
        .settled("all of that is counted", WAIT_TIMEOUT, |metrics| {
            for name in CLOSED {
                ensure!(metrics.metric(name, &[]) > 0.0, "{name}");
            }
            Ok(())
        })
        .await?;
    for (series, _) in closed_series(&metrics) {
        ensure!(names.contains(&series), "{series} was not there at 0");
    }
    Ok(())
}

#[tokio::test]
async fn a_broker_says_what_it_is_and_what_it_takes_of_the_system() -> Result<()> {
    init_tracing();
    let broker = BrokerWithNats::start(|_| {}).await?;
    // The kernel counts in ticks: a broker that has just started may have used none yet.
    let metrics = broker
        .settled("processor time is counted", WAIT_TIMEOUT, |metrics| {
            ensure!(metrics.metric("process_cpu_seconds_total", &[]) > 0.0, "no processor time");
            Ok(())
        })
        .await?;
    let labels = [("program", "broker"), ("version", env!("CARGO_PKG_VERSION"))];
    ensure!(metrics.metric("eventcast_build_info", &labels) == 1.0, "no build info");
    let (rss, shown) = (broker.rss()? as f64, metrics.metric("process_resident_memory_bytes", &[]));
    ensure!((0.5..2.0).contains(&(shown / rss)), "{shown} of {rss} bytes");
    let (files, shown) = (broker.open_files()? as f64, metrics.metric("process_open_fds", &[]));
    ensure!((files - shown).abs() < 10.0, "{shown} of {files} files");
    ensure!(metrics.metric("process_threads", &[]) >= 2.0, "no threads");
    ensure!(metrics.metric("process_max_fds", &[]) > files, "no limit of files");
    Ok(())
}

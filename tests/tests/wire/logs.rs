//! Logs of a broker: flat lines of JSON, a level that changes while it runs, and the access log over every transport.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::BrokerConfig;
use eventcast_tests::{
    broker::{Broker, networks},
    eventually,
    http::{Http1Connection, Publish, Version, client},
    init_tracing,
    issuer::{Issuer, bearer, publish, subscribe},
    logs::{self, Line},
    nats::NatsServer,
    sinks::SHARD_COUNTS,
    tls::KeyFiles,
};
use serde_json::{Value, json};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
const CHANNEL: &str = "/channels/{namespace}/{channel}";

/// Lines of the access log with this message.
fn access(broker: &Broker, message: &str) -> Result<Vec<Line>> {
    let mut lines = logs::lines(&broker.log())?;
    lines.retain(|line| line["target"] == "eventcast::access" && line["message"] == message);
    Ok(lines)
}

/// Waits until `count` lines of the access log have this message.
async fn written(broker: &Broker, message: &str, count: usize) -> Result<Vec<Line>> {
    eventually(&format!("{count} lines {message:?}"), WAIT_TIMEOUT, || async {
        let lines = access(broker, message)?;
        ensure!(lines.len() >= count, "{} of {count}:\n{}", lines.len(), broker.log());
        Ok(lines)
    })
    .await
}

/// Expects a line to have these values; `null`: not to have the key.
fn has(line: &Line, expected: &Value) -> Result<()> {
    for (key, value) in expected.as_object().context("an object")? {
        let have = line.get(key).unwrap_or(&Value::Null);
        ensure!(have == value, "{key} is {have}, not {value}: {line:?}");
    }
    Ok(())
}

#[tokio::test]
async fn lines_of_json_are_flat_and_their_keys_are_documented() -> Result<()> {
    init_tracing();
    let mut nats = NatsServer::start().await?;
    let mut broker = Broker::start_with_json_log(&nats.url(), |config| {
        config.log.level = Some("debug,async_nats=info".into());
        config.log.access = true;
    })
    .await?;
    let url = broker.events_url("");
    Publish::new("one").send(&client(Version::Http1), &url).await?;
    let straight = nats.client().await?;
    straight.publish("sse.default.demo.all", vec![0xff].into()).await?;
    straight.flush().await?;
    eventually("it is skipped", WAIT_TIMEOUT, || async {
        broker.log().contains("skipped an invalid message").then_some(())
    })
    .await?;
    nats.jetstream().await?.delete_stream("SSE_default_demo").await?;
    eventually("the tail is attached again", WAIT_TIMEOUT, || async {
        broker.log().contains("reattaching the tail consumer").then_some(())
    })
    .await?;
    nats.kill9()?;
    eventually("the loss of NATS is logged", WAIT_TIMEOUT, || async {
        broker.log().contains("lost the connection to NATS").then_some(())
    })
    .await?;
    broker.terminate()?;
    broker.wait_exit(Duration::from_secs(40)).await?;
    let lines = logs::lines(&broker.log())?;
    logs::check(&lines)?;
    for (message, key) in [
        ("created the stream", "stream"),
        ("skipped an invalid message", "reason"),
        ("reattaching the tail consumer", "reason"),
        ("request", "status"),
        ("shutdown complete", "timestamp"),
    ] {
        let line = lines.iter().find(|line| line["message"] == message);
        ensure!(line.with_context(|| message)?.contains_key(key), "{message}: no {key}");
    }
    Ok(())
}

#[tokio::test]
async fn the_level_changes_while_a_broker_runs() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut broker = Broker::start_with_json_log(&nats.url(), |_| {}).await?;
    let (http, url) = (client(Version::Http1), broker.events_url(""));
    // Whether a publish leaves a line at debug level.
    let is_debug = async |broker: &Broker| {
        let count = || broker.log().matches("access granted").count();
        let before = count();
        Publish::new("x").send(&http, &url).await?;
        anyhow::Ok(count() > before)
    };
    ensure!(!is_debug(&broker).await?, "at the start");
    broker.reconfigure(|config| config.log.level = Some("debug".into()))?;
    eventually("debug lines", WAIT_TIMEOUT, || async {
        ensure!(is_debug(&broker).await?, "no line");
        anyhow::Ok(())
    })
    .await?;
    broker.reconfigure(|config| config.log.level = Some("inof".into()))?;
    eventually("the mistake is logged", WAIT_TIMEOUT, || async {
        broker.log().contains("log.level: inof is not a level").then_some(())
    })
    .await?;
    ensure!(is_debug(&broker).await?, "the last valid level stays");
    broker.reconfigure(|config| config.log.level = None)?;
    eventually("no debug lines", WAIT_TIMEOUT, || async {
        ensure!(!is_debug(&broker).await?, "a line");
        anyhow::Ok(())
    })
    .await
}

/// A broker for tokens, on a wildcard, whose proxies are on this machine.
async fn start(
    nats: &NatsServer,
    issuer: &Issuer,
    change: impl FnOnce(&mut BrokerConfig),
) -> Result<Broker> {
    Broker::start_with_json_log(&nats.url(), |config| {
        config.log.access = true;
        config.limits.trusted_proxies = networks(["127.0.0.0/8"]);
        config.channels[0].access.tokens = vec![issuer.trusted()];
        config.channels[0].access.anonymous.clear();
        change(config);
    })
    .await
}

/// A stream with three events that its client ends, a publish, and a refusal, through `broker`.
async fn exercise(broker: &Broker, issuer: &Issuer, version: Version) -> Result<()> {
    let url = broker.events_url("topic=user.ann");
    let mut stream = subscribe(&url, &issuer.user("ann"), version).await?;
    let mut cursor = String::new();
    for data in ["one", "two", "three"] {
        publish(broker, issuer, data).await?;
        let event = stream.next_data(WAIT_TIMEOUT).await?;
        ensure!(event.data == data, "{event:?}");
        cursor = event.id.context("a cursor")?;
    }
    drop(stream.cut());
    let protocol = if version == Version::Http2 { "HTTP/2" } else { "HTTP/1.1" };
    let ended = written(broker, "stream ended", 1).await?;
    ensure!(ended.len() == 1, "{ended:?}");
    has(
        &ended[0],
        &json!({
            "level": "INFO", "client": "127.0.0.1", "protocol": protocol, "method": "GET",
            "route": format!("{CHANNEL}/events"), "channel": "default/demo", "subject": "ann",
            "status": 200, "reason": "client", "events": 3, "cursor": cursor, "left_out": null,
        }),
    )?;
    let (bytes, seconds) = (ended[0]["bytes"].as_u64(), ended[0]["seconds"].as_f64());
    ensure!(bytes.is_some_and(|bytes| (60..600).contains(&bytes)), "{bytes:?} bytes");
    ensure!(seconds.is_some_and(|seconds| seconds > 0.0 && seconds < 20.0), "{seconds:?} s");

    let (name, token) = bearer("secret-of-a-client");
    let secret = format!("{}?access_token=secret-in-the-query", broker.events_url(""));
    let get = client(version).get(secret).header(&name, &token);
    let get = get.header("X-Forwarded-For", "203.0.113.9").header("Cookie", "a=secret-cookie");
    let status = get.send().await?.status().as_u16();
    ensure!(status == 400 || status == 401, "{status}");
    let requests = written(broker, "request", 4).await?;
    ensure!(requests.len() == 4, "{requests:?}");
    for line in &requests[..3] {
        has(
            line,
            &json!({"method": "POST", "status": 201, "subject": "ann", "reason": null, "client": "127.0.0.1"}),
        )?;
        ensure!(line["bytes"].as_u64() > Some(20), "the answer has bytes: {line:?}");
    }
    has(
        &requests[3],
        &json!({
            "client": "203.0.113.9", "status": status, "subject": null, "protocol": protocol,
            "route": format!("{CHANNEL}/events"), "channel": "default/demo",
        }),
    )?;
    ensure!(requests[3]["reason"].is_string(), "why: {:?}", requests[3]);
    logs::check(&logs::lines(&broker.log())?)?;
    ensure!(!broker.log().contains("secret"), "a secret is in the log:\n{}", broker.log());
    Ok(())
}

#[tokio::test]
async fn the_access_log_has_requests_and_ends_of_streams_over_every_transport() -> Result<()> {
    init_tracing();
    let issuer = Issuer::new()?;
    let nats = NatsServer::start().await?;
    for version in [Version::Http1, Version::Http2] {
        for shards in SHARD_COUNTS {
            let broker = start(&nats, &issuer, |config| {
                config.fanout.shards = Some(shards);
            })
            .await?;
            let done = exercise(&broker, &issuer, version).await;
            done.with_context(|| format!("{version:?}, {shards} shards"))?;
        }
        let files = KeyFiles::new()?;
        let broker = start(&nats, &issuer, |config| config.tls = Some(files.config())).await?;
        exercise(&broker, &issuer, version).await.with_context(|| format!("{version:?}, TLS"))?;
    }
    Ok(())
}

#[tokio::test]
async fn the_end_of_a_stream_counts_what_each_client_was_sent() -> Result<()> {
    init_tracing();
    for shards in SHARD_COUNTS {
        let nats = NatsServer::start().await?;
        let mut broker = Broker::start_with_json_log(&nats.url(), |config| {
            config.log.access = true;
            config.fanout.shards = Some(shards);
        })
        .await?;
        let url = |query: &str| broker.events_url(query);
        let http = client(Version::Http1);
        let batch = |from: u32, to: u32| {
            let line =
                |i: u32| format!("{}\n", json!({"data": i, "topic": format!("t.{}", i % 4)}));
            let body: String = (from..to).map(line).collect();
            Publish::new(body).header("Content-Type", "application/x-ndjson")
        };
        batch(0, 40).send(&http, &url("")).await?;
        let open = async |query: &str, version| {
            let open = eventcast_tests::sse::Subscribe {
                url: broker.events_url(query),
                version,
                ..Default::default()
            };
            eventcast_tests::sse::EventStream::open(open).await
        };
        // (query, events that are due of 40 past and 60 live ones)
        let due = [("from=earliest", 100), ("from=latest", 60), ("topic=t.1&from=earliest", 25)];
        let mut streams = Vec::new();
        for version in [Version::Http1, Version::Http2] {
            for (query, events) in due {
                streams.push((open(query, version).await?, events));
            }
        }
        for at in 0..12 {
            batch(40 + at * 5, 45 + at * 5).send(&http, &url("")).await?;
        }
        for (stream, events) in &mut streams {
            for _ in 0..*events {
                stream.next_data(WAIT_TIMEOUT).await?;
            }
        }
        let delivered = broker.metrics().await?;
        broker.terminate()?;
        broker.wait_exit(Duration::from_secs(40)).await?;
        let ended = written(&broker, "stream ended", 6).await?;
        let mut events: Vec<_> = ended.iter().filter_map(|line| line["events"].as_u64()).collect();
        events.sort_unstable();
        ensure!(events == [25, 25, 60, 60, 100, 100], "{shards} shards: {events:?}");
        let bytes: u64 = ended.iter().filter_map(|line| line["bytes"].as_u64()).sum();
        let counted = delivered.metric("eventcast_bytes_out_total", &[]);
        ensure!(bytes as f64 == counted, "{shards} shards: {bytes} of {counted} bytes");
        for line in &ended {
            has(line, &json!({"reason": "draining"}))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn refusals_are_sampled_and_a_line_is_written_for_what_has_no_request() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut broker = Broker::start_with_json_log(&nats.url(), |_| {}).await?;
    let http = client(Version::Http1);
    let missing = broker.url("/channels/default/none");
    http.get(&missing).send().await?;
    ensure!(access(&broker, "request")?.is_empty(), "it is off by default");
    // Whatever the level is.
    broker.reconfigure(|config| {
        config.log.access = true;
        config.log.level = Some("error".into());
    })?;
    eventually("it is on", WAIT_TIMEOUT, || async {
        http.get(broker.url("/channels/default/demo")).send().await?;
        ensure!(!access(&broker, "request")?.is_empty(), "no line");
        anyhow::Ok(())
    })
    .await?;
    for _ in 0..300 {
        ensure!(http.get(&missing).send().await?.status() == 404, "404");
    }
    let sent = std::cell::Cell::new(300);
    eventually("the next line counts those that were left out", WAIT_TIMEOUT, || async {
        http.get(&missing).send().await?;
        sent.set(sent.get() + 1);
        let lines = access(&broker, "request")?;
        let refused: Vec<_> = lines.iter().filter(|line| line["status"] == 404).collect();
        let left_out: u64 = refused.iter().filter_map(|line| line.get("left_out")?.as_u64()).sum();
        ensure!(refused.len() as u64 + left_out == sent.get(), "{} and {left_out}", refused.len());
        ensure!((10..150).contains(&refused.len()), "{} lines", refused.len());
        has(refused[0], &json!({"reason": "no-such-channel", "channel": null}))
    })
    .await?;

    // Sampled together with the others: the first one may be left out.
    eventually("a line about what is no request", WAIT_TIMEOUT, || async {
        let mut connection = Http1Connection::connect(broker.address()).await?;
        connection.send("GET / HTTP/1.1\r\nbad header\r\n\r\n").await?;
        ensure!(connection.read_head().await?.status == 400, "400");
        let lines = access(&broker, "refused before a request")?;
        let line = lines.first().context("no line")?;
        has(line, &json!({"status": 400, "reason": "bad-request", "client": "127.0.0.1"}))
    })
    .await
}

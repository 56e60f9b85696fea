//! `eventcast_publish_total` counts each event of a request once, whatever its outcome.

use std::time::Duration;

use anyhow::{Result, ensure};
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use eventcast_tests::{
    broker::Broker,
    eventually,
    http::{Publish, Version, client},
    init_tracing,
    nats::NatsServer,
};
use serde_json::{Value, json};

const WAIT_TIMEOUT: Duration = Duration::from_secs(15);
const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");

/// A broker on a stream that somebody else has made, with limits of its own.
async fn on_stream(change: impl FnOnce(&mut Config)) -> Result<(NatsServer, Broker)> {
    let nats = NatsServer::start().await?;
    let mut stream = Config {
        name: "SSE_default_demo".into(),
        subjects: vec!["sse.default.demo.>".into()],
        allow_direct: true,
        ..Config::default()
    };
    change(&mut stream);
    nats.jetstream().await?.create_stream(stream).await?;
    let broker = Broker::start(&nats.url(), |config| {
        config.channels[0].publishing.deadline_seconds = 1;
    })
    .await?;
    Ok((nats, broker))
}

fn batch(lines: &[Value]) -> Publish {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    Publish::new(body).header(NDJSON.0, NDJSON.1)
}

/// Sends it, and holds the counts to what is expected of its events.
async fn counted(
    broker: &Broker,
    what: Publish,
    status: u16,
    expected: &[(&str, f64)],
) -> Result<()> {
    let before = broker.metrics().await?;
    let answer = what.send(&client(Version::Http1), &broker.events_url("")).await?;
    ensure!(answer.status == status, "{} instead of {status}: {}", answer.status, answer.json);
    let after = broker.metrics().await?;
    let name = "eventcast_publish_total";
    for (outcome, count) in expected {
        let of = [("outcome", *outcome)];
        let counted = after.metric(name, &of) - before.metric(name, &of);
        ensure!(counted == *count, "{outcome}: {counted} instead of {count}");
    }
    let all: f64 = expected.iter().map(|(_, count)| count).sum();
    let counted = after.metric(name, &[]) - before.metric(name, &[]);
    ensure!(counted == all, "{counted} events counted instead of {all}");
    Ok(())
}

#[tokio::test]
async fn what_the_stream_refuses_is_counted_once() -> Result<()> {
    init_tracing();
    let (_nats, broker) = on_stream(|stream| {
        stream.max_message_size = 600;
        stream.max_messages = 4;
        stream.discard = DiscardPolicy::New;
    })
    .await?;
    let large = "x".repeat(700);
    counted(&broker, Publish::new(large.clone()), 413, &[("refused", 1.0)]).await?;
    let ttl = Publish::new("short").query("ttl", "5");
    counted(&broker, ttl, 422, &[("refused", 1.0)]).await?;
    counted(&broker, Publish::new("one").key("k"), 201, &[("stored", 1.0)]).await?;
    counted(&broker, Publish::new("one").key("k"), 201, &[("duplicate", 1.0)]).await?;
    counted(
        &broker,
        batch(&[json!({"data": "a"}), json!({"data": "b", "type": "open"})]),
        400,
        &[("refused", 1.0)],
    )
    .await?;
    let lines: Vec<Value> = (0..6).map(|i| json!({"data": i.to_string()})).collect();
    counted(&broker, batch(&lines), 507, &[("stored", 3.0), ("full", 3.0)]).await
}

#[tokio::test]
async fn what_gets_no_answer_is_counted_once() -> Result<()> {
    init_tracing();
    let (mut nats, broker) = on_stream(|_| {}).await?;
    let two = || batch(&[json!({"data": "a"}), json!({"data": "b"})]);
    nats.pause()?;
    counted(&broker, two(), 504, &[("unknown", 2.0)]).await?;
    for version in [Version::Http1, Version::Http2] {
        let before = broker.metric("eventcast_publish_total", &[("outcome", "abandoned")]).await?;
        let post = client(version).post(broker.events_url("")).body("gone");
        let left = post.timeout(Duration::from_millis(200)).send().await;
        ensure!(left.is_err(), "it was answered");
        broker
            .settled("the event of who went away is counted", WAIT_TIMEOUT, |metrics| {
                let now = metrics.metric("eventcast_publish_total", &[("outcome", "abandoned")]);
                ensure!(now - before == 1.0, "{now} after {before}");
                Ok(())
            })
            .await?;
    }
    nats.resume()?;
    nats.kill9()?;
    eventually("the broker knows that NATS is away", WAIT_TIMEOUT, || async {
        counted(&broker, two(), 503, &[("unavailable", 2.0)]).await
    })
    .await
}

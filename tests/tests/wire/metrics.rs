//! Metrics: the counts balance, latencies are observed, and nothing of them is served on the public port.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::BrokerConfig;
use eventcast_tests::{
    broker::{Broker, open_channel},
    eventually,
    http::{Publish, Version, client, publish},
    init_tracing,
    metrics::Metrics,
    nats::NatsServer,
    sse::{EventStream, Subscribe},
};
use serde_json::json;

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
const SUBSCRIBER_EVENTS: &str = "eventcast_subscriber_events_total";

async fn broker(nats: &NatsServer, change: impl FnOnce(&mut BrokerConfig)) -> Result<Broker> {
    Broker::start(&nats.url(), |config| {
        config.memory.tail_events = 16;
        change(config);
    })
    .await
}

/// A broker without NATS listens at once, but waits for it a while before it answers.
async fn alive(broker: &Broker) -> Result<()> {
    let (http, url) = (client(Version::Http1), broker.admin_url("/livez"));
    eventually("it is alive", WAIT_TIMEOUT, || async {
        let status = http.get(&url).send().await?.status();
        ensure!(status == 200, "{status}");
        Ok(())
    })
    .await
}

/// `count` events over topics and types, by one batch.
async fn fill(broker: &Broker, count: usize) -> Result<()> {
    let line = |i: usize| {
        let (topic, kind) = (format!("user.{}", i % 3), ["order.paid", "chat"][i % 2]);
        format!("{}\n", json!({"data": i, "topic": topic, "type": kind}))
    };
    let body: String = (0..count).map(line).collect();
    let batch = Publish::new(body).header("Content-Type", "application/x-ndjson");
    let answer = batch.send(&client(Version::Http1), &broker.events_url("")).await?;
    ensure!(answer.status == 201, "{} {}", answer.status, answer.json);
    Ok(())
}

/// Events of publishers up to the one with `data`.
async fn count_until(stream: &mut EventStream, data: &str) -> Result<u32> {
    let mut count = 1;
    while stream.next_data(WAIT_TIMEOUT).await?.data != data {
        count += 1;
    }
    Ok(count)
}

#[tokio::test]
async fn every_sequence_that_a_cursor_passes_has_one_outcome() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start_with("1s").await?;
    let broker = broker(&nats, |_| {}).await?;
    fill(&broker, 60).await?;
    let queries = [
        "from=earliest",
        "from=earliest&topic=user.1",
        "from=latest&type=order.*",
        "from=last:5&type=chat&type=order.end",
        "from=earliest&topic=user.2&type=order.>",
    ];
    let mut streams = Vec::new();
    for query in queries {
        let mut stream = EventStream::connect(&broker.events_url(query), None).await?;
        // the replaying clients have caught up before the rest is published
        if query.starts_with("from=earliest") {
            stream.next_data(WAIT_TIMEOUT).await?;
        }
        streams.push(stream);
    }
    fill(&broker, 40).await?;
    publish(&broker.events_url(""), "end", &[("type", "order.end")]).await?;
    let mut received = 3; // read above
    for stream in &mut streams {
        received += count_until(stream, "end").await?;
    }
    // a burst may be more than the tail holds, and is replayed then; what comes now is live
    publish(&broker.events_url(""), "live", &[("type", "order.end")]).await?;
    for stream in &mut streams {
        received += count_until(stream, "live").await?;
    }
    let received = f64::from(received);
    let of =
        |metrics: &Metrics, outcome| metrics.metric(SUBSCRIBER_EVENTS, &[("outcome", outcome)]);
    let metrics = broker
        .settled("all have arrived", WAIT_TIMEOUT, |metrics| {
            let delivered = of(metrics, "delivered");
            ensure!(delivered >= received, "{delivered} of {received}");
            Ok(())
        })
        .await?;
    assert_eq!(of(&metrics, "delivered"), received, "what clients read");
    assert_eq!(of(&metrics, "lost") + of(&metrics, "absent"), 0.0);
    // three from the beginning, one from 60 on; the last five of 60 that are chats begin after 51
    let passed = 3.0 * 102.0 + 42.0 + (102.0 - 51.0);
    assert_eq!(metrics.metric(SUBSCRIBER_EVENTS, &[]), passed, "sequences passed");
    for source in ["tail", "pages"] {
        let batches = metrics.metric("eventcast_replay_batches_total", &[("source", source)]);
        assert!(batches > 0.0, "replayed from {source}: {batches}");
    }
    assert!(metrics.metric("eventcast_bytes_out_total", &[]) > received * 10.0);
    assert_eq!(metrics.metric("eventcast_events_in_total", &[]), 102.0);
    assert_eq!(metrics.metric("eventcast_tail_events", &[]), 16.0);
    assert_eq!(metrics.metric("eventcast_tail_head_sequence", &[]), 102.0);
    assert!(metrics.metric("eventcast_page_cache_pages", &[]) >= 1.0);
    // On a busy machine all of that may have been read as the past, which is never late.
    eventually("somebody is written to as soon as an event comes", WAIT_TIMEOUT, || async {
        publish(&broker.events_url(""), "live", &[]).await?;
        let metrics = broker.metrics().await?;
        for stage in ["log_to_tail", "tail_to_write", "log_to_write"] {
            let count = metrics.metric("eventcast_fanout_seconds_count", &[("stage", stage)]);
            let sum = metrics.metric("eventcast_fanout_seconds_sum", &[("stage", stage)]);
            ensure!(count > 0.0 && sum < 10.0 * count, "{stage}: {count} in {sum} s");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn delivered_and_lost_are_what_was_due() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start_with("1s").await?;
    let broker = broker(&nats, |config| {
        config.channels[0].retention.max_events = 30;
    })
    .await?;
    let first = publish(&broker.events_url(""), "first", &[]).await?;
    fill(&broker, 99).await?;
    publish(&broker.events_url(""), "end", &[]).await?;
    let mut stream = EventStream::connect(&broker.events_url(""), first.cursor()).await?;
    let (mut gaps, mut lost, mut received) = (0.0, 0.0, 0.0);
    loop {
        let event = stream.next_within(WAIT_TIMEOUT).await?;
        if event.event_type == "eventcast.gap" {
            gaps += 1.0;
            lost += event.json()?["lost"].as_f64().context("the count can be known")?;
        } else if !event.is_control() {
            received += 1.0;
            if event.data == "end" {
                break;
            }
        }
    }
    assert_eq!((gaps, lost, received), (1.0, 70.0, 30.0));
    let metrics = broker.metrics().await?;
    let of = |outcome| metrics.metric(SUBSCRIBER_EVENTS, &[("outcome", outcome)]);
    assert_eq!((of("lost"), of("delivered")), (lost, received));
    assert_eq!(metrics.metric("eventcast_gaps_total", &[("reason", "expired")]), gaps);
    Ok(())
}

/// Streams begun, streams ended, and those that are open.
fn balances(metrics: &Metrics) -> Result<()> {
    let begun = metrics.metric("eventcast_connects_total", &[]);
    let ended = metrics.metric("eventcast_disconnects_total", &[]);
    let open = metrics.metric("eventcast_subscribers", &[]);
    ensure!(begun - ended == open, "{begun} begun, {ended} ended, {open} open");
    Ok(())
}

#[tokio::test]
async fn what_begins_and_ends_balances_what_is_open() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start_with("1s").await?;
    let mut broker = broker(&nats, |config| {
        config.channels[0].delivery.stall_seconds = 1;
        config.channels[0].delivery.max_age_seconds = 3;
        config.channels[0].delivery.max_subscribers = 4;
    })
    .await?;
    let line = format!("{}\n", json!({"data": "x".repeat(8 << 10)}));
    let batch = Publish::new(line.repeat(400)).header("Content-Type", "application/x-ndjson");
    batch.send(&client(Version::Http1), &broker.events_url("")).await?;
    let url = broker.events_url("from=earliest");
    let stalled = Subscribe { url, receive_buffer: Some(4096), ..Subscribe::default() };
    let _stalled = EventStream::open(stalled).await?;
    let goes = EventStream::connect(&broker.events_url(""), None).await?;
    let mut ages = EventStream::connect(&broker.events_url(""), None).await?;
    let _fourth = EventStream::connect(&broker.events_url(""), None).await?;
    let mut fifth = EventStream::connect(&broker.events_url(""), None).await?;
    let closing = fifth.next_of("eventcast.closing", WAIT_TIMEOUT).await?.json()?;
    assert_eq!(closing["reason"], "overloaded");
    let metrics = broker.metrics().await?;
    balances(&metrics)?;
    assert_eq!(metrics.metric("eventcast_subscribers", &[]), 4.0);
    assert_eq!(metrics.metric("eventcast_rejects_total", &[("reason", "limit-channel")]), 1.0);
    let started = |start| metrics.metric("eventcast_connects_total", &[("start", start)]);
    assert_eq!((started("latest"), started("earliest")), (3.0, 1.0));

    drop(goes.cut());
    let closing = ages.next_of("eventcast.closing", WAIT_TIMEOUT).await?.json()?;
    assert_eq!(closing["reason"], "max-age");
    let ended = |reason: &str, count: f64| {
        let (what, reason) = (format!("{count} {reason}"), reason.to_owned());
        let broker = &broker;
        async move {
            broker
                .settled(&what, WAIT_TIMEOUT, |metrics| {
                    let have =
                        metrics.metric("eventcast_disconnects_total", &[("reason", &reason)]);
                    ensure!(have == count, "{have}");
                    balances(metrics)
                })
                .await
        }
    };
    ended("stalled", 1.0).await?;
    ended("client", 1.0).await?;
    ended("max-age", 2.0).await?;
    let last = EventStream::connect(&broker.events_url(""), None).await?;
    let metrics = broker.metrics().await?;
    assert_eq!(metrics.metric("eventcast_subscribers", &[]), 1.0);
    broker.reconfigure(|config| config.channels[0].name = "other".into())?;
    broker
        .settled("the channel is gone", WAIT_TIMEOUT, |metrics| {
            ensure!(metrics.metric("eventcast_subscribers", &[]) == 0.0, "still open");
            balances(metrics)
        })
        .await?;
    drop(last);
    Ok(())
}

/// `/metrics` as Prometheus reads it.
async fn scrape(broker: &Broker) -> Result<String> {
    Ok(client(Version::Http1).get(broker.admin_url("/metrics")).send().await?.text().await?)
}

#[tokio::test]
async fn a_removed_channel_leaves_no_series_and_returns_at_zero() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let extra_channel = open_channel("default", "extra");
    let mut broker = broker(&nats, |config| config.channels.push(extra_channel.clone())).await?;
    let extra = broker.url("/channels/default/extra/events");
    publish(&extra, "one", &[]).await?;
    publish(&extra, "x", &[("type", "open")]).await?; // refused
    let mut streams = Vec::new();
    for version in [Version::Http1, Version::Http2] {
        let url = format!("{extra}?from=earliest");
        let mut stream =
            EventStream::open(Subscribe { url, version, ..Subscribe::default() }).await?;
        assert_eq!(stream.next_data(WAIT_TIMEOUT).await?.data, "one");
        streams.push(stream);
    }
    let cut = EventStream::connect(&extra, None).await?;
    drop(cut.cut());
    broker
        .settled("every family has a series of it", WAIT_TIMEOUT, |metrics| {
            let ended = metrics.metric("eventcast_disconnects_total", &[]);
            ensure!(ended == 1.0, "{ended} ended");
            Ok(())
        })
        .await?;

    broker.reconfigure(|config| config.channels.truncate(1))?;
    eventually("its series are gone", WAIT_TIMEOUT, || async {
        let text = scrape(&broker).await?;
        let left: Vec<_> = text.lines().filter(|line| line.contains("default/extra")).collect();
        ensure!(left.is_empty(), "{left:?}");
        anyhow::Ok(())
    })
    .await?;
    for stream in &mut streams {
        stream.next_of("eventcast.closing", WAIT_TIMEOUT).await?;
    }
    drop(streams);
    let metrics = broker.metrics().await?;
    assert_eq!(metrics.metric("eventcast_channel_live", &[]), 1.0, "the other channel's");

    broker.reconfigure(|config| config.channels.push(extra_channel))?;
    let present = [("channel", "default/extra")];
    let metrics = broker
        .settled("it is back", WAIT_TIMEOUT, |metrics| {
            let live = metrics.metric("eventcast_channel_live", &present);
            ensure!(live == 1.0, "live: {live}");
            Ok(())
        })
        .await?;
    assert_eq!(metrics.metric("eventcast_connects_total", &present), 0.0);
    assert_eq!(metrics.metric("eventcast_publish_total", &present), 0.0);
    Ok(())
}

#[tokio::test]
async fn a_subscriber_that_was_not_taken_is_no_stream_that_ended() -> Result<()> {
    init_tracing();
    let mut nats = NatsServer::start().await?;
    nats.kill9()?;
    let broker = Broker::launch(&nats.url(), |_| {}).await?;
    alive(&broker).await?;
    let mut stream = EventStream::connect(&broker.events_url(""), None).await?;
    let closing = stream.next_of("eventcast.closing", WAIT_TIMEOUT).await?.json()?;
    assert_eq!(closing["reason"], "unavailable");
    let metrics = broker.metrics().await?;
    assert_eq!(metrics.metric("eventcast_rejects_total", &[("reason", "unavailable")]), 1.0);
    assert_eq!(metrics.metric("eventcast_subscribers", &[]), 0.0);
    balances(&metrics)
}

#[tokio::test]
async fn publishes_are_counted_by_their_outcome() -> Result<()> {
    init_tracing();
    let mut nats = NatsServer::start().await?;
    let broker = broker(&nats, |_| {}).await?;
    let (http, url) = (client(Version::Http1), broker.events_url(""));
    for _ in 0..3 {
        Publish::new("x").key("one").send(&http, &url).await?;
    }
    fill(&broker, 5).await?;
    assert_eq!(publish(&url, "x", &[("type", "open")]).await?.status, 400);
    nats.kill9()?;
    eventually("refused", WAIT_TIMEOUT, || async {
        (publish(&url, "x", &[]).await.ok()?.status == 503).then_some(())
    })
    .await?;
    let metrics = broker.metrics().await?;
    let of = |outcome| metrics.metric("eventcast_publish_total", &[("outcome", outcome)]);
    assert_eq!((of("stored"), of("duplicate"), of("refused")), (6.0, 2.0, 1.0));
    assert!(of("unavailable") >= 1.0);
    assert!(metrics.metric("eventcast_publish_seconds_count", &[]) >= 4.0, "requests, not events");
    Ok(())
}

#[tokio::test]
async fn the_admin_port_tells_and_the_public_port_does_not() -> Result<()> {
    init_tracing();
    let mut nats = NatsServer::start().await?;
    nats.kill9()?;
    let mut broker = Broker::launch(&nats.url(), |_| {}).await?;
    let http = client(Version::Http1);
    let status = async |url: String| anyhow::Ok(http.get(url).send().await?.status().as_u16());
    alive(&broker).await?;
    assert_eq!(status(broker.admin_url("/readyz")).await?, 503, "the log was never read");
    nats.restart().await?;
    broker.ready(WAIT_TIMEOUT).await?;
    nats.kill9()?;
    broker
        .settled("NATS is gone", WAIT_TIMEOUT, |metrics| {
            ensure!(metrics.metric("eventcast_nats_connected", &[]) == 0.0, "connected");
            Ok(())
        })
        .await?;
    assert_eq!(status(broker.admin_url("/readyz")).await?, 200, "who was ready once stays ready");
    for path in ["/livez", "/readyz", "/metrics", "/state"] {
        assert_eq!(status(broker.url(path)).await?, 404, "{path}");
    }
    assert_eq!(status(broker.admin_url("/channels/default/demo/events")).await?, 404);
    assert_eq!(http.post(broker.admin_url("/metrics")).send().await?.status(), 405);
    Ok(())
}

//! Events that the log has dropped are gone: two seconds later no replica serves them in any way, and clients that ask for them
//! are told. The log's own state is the reference for every way to read a channel.

mod reading;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::stream::Stream;
use eventcast_crds::config::Retention;
use eventcast_tests::{
    broker::{Broker, open_channel},
    eventually,
    http::{Answer, Version, client},
    init_tracing,
    nats::{NatsCluster, NatsServer},
    sse::{Event, EventStream, Subscribe},
};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use reading::{WAIT_TIMEOUT, get, history, number, publish, stream, url};

/// Time after which an event that the log has dropped must not be served any more (docs/adr/0009).
const FORGET_TIMEOUT: Duration = Duration::from_secs(2);
/// More than a page, and far more than the small tail.
const EVENTS: usize = 300;

/// Each way in which a log drops events, and the channel that it is tried on.
const WAYS: [&str; 9] =
    ["age", "count", "bytes", "purge", "keep", "purge-topic", "delete", "lifetime", "limit"];

fn max_age(seconds: u64) -> Retention {
    Retention { max_age_seconds: seconds, duplicate_window_seconds: 1, ..Retention::default() }
}

/// Two brokers: one holds everything in its tail, the other next to nothing.
async fn brokers(nats: &NatsServer) -> Result<[Broker; 2]> {
    let channel = |way: &&str| {
        let mut channel = open_channel("default", way);
        match *way {
            "age" => channel.retention = max_age(8),
            "count" => channel.retention.max_events = 310,
            "bytes" => channel.retention.max_bytes = 65_536,
            _ => {}
        }
        channel
    };
    let channels: Vec<_> = WAYS.iter().map(channel).collect();
    let start = async |tail: usize| {
        Broker::start(&nats.url(), |config| {
            config.memory.tail_events = tail;
            config.channels = channels.clone();
        })
        .await
    };
    Ok([start(65_536).await?, start(16).await?])
}

/// What the log holds, according to NATS.
async fn truth(stream: &Stream) -> Result<Vec<(u64, String)>> {
    let state = stream.get_info().await?.state;
    let mut held = Vec::new();
    let mut next = state.first_sequence;
    while next <= state.last_sequence && state.messages > 0 {
        let Ok(message) = stream.get_first_raw_message_by_subject(">", next).await else { break };
        next = message.sequence + 1;
        held.push((message.sequence, number(std::str::from_utf8(&message.payload)?)));
    }
    Ok(held)
}

/// Makes the log of `way` drop events, and waits until it has.
async fn drop_events(
    way: &str,
    log: &Stream,
    context: &async_nats::jetstream::Context,
    broker: &Broker,
) -> Result<()> {
    let before = EVENTS as u64;
    let wanted = match way {
        "age" => 0,
        "count" => {
            publish(broker, way, EVENTS, EVENTS + 200).await?;
            310
        }
        "bytes" => {
            publish(broker, way, EVENTS, EVENTS + 200).await?;
            return Ok(());
        }
        "purge" => {
            log.purge().await?;
            0
        }
        "keep" => {
            log.purge().keep(7).await?;
            7
        }
        "purge-topic" => {
            log.purge().filter("sse.default.purge-topic.t.user.1").await?;
            before - before / 3
        }
        "delete" => {
            for sequence in [2, 100, 255, 256, 257, before] {
                log.delete_message(sequence).await?;
            }
            before - 6
        }
        "lifetime" => before / 2,
        "limit" => {
            let mut config = log.get_info().await?.config;
            config.max_messages = 20;
            context.update_stream(config).await?;
            20
        }
        other => anyhow::bail!("no such way: {other}"),
    };
    eventually(&format!("the log drops events by {way}"), WAIT_TIMEOUT, || async {
        let messages = log.get_info().await?.state.messages;
        ensure!(messages == wanted, "{messages} of {wanted} messages");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_the_log_has_dropped_are_not_served() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let brokers = brokers(&nats).await?;
    let context = nats.jetstream().await?;
    let mut cursors = Vec::new();
    for way in WAYS {
        cursors.push(publish(&brokers[0], way, 0, EVENTS).await?);
        // Both brokers have everything in memory: tail, pages, and recently read events.
        for broker in &brokers {
            let (all, _) =
                stream(&url(broker, way, "events?from=earliest"), None, Version::Http1, "299")
                    .await?;
            ensure!(all.len() > 200, "{way}: {}", all.len());
            history(broker, way, "").await?;
        }
    }
    for way in WAYS {
        let log = context.get_stream(format!("SSE_default_{way}")).await?;
        drop_events(way, &log, &context, &brokers[0]).await?;
    }
    // The last event of each, which takes another one's place where the number is limited.
    for way in WAYS {
        publish(&brokers[0], way, 999_999, 1_000_000).await?;
    }
    sleep_until(Instant::now() + FORGET_TIMEOUT).await;
    for (way, cursors) in WAYS.iter().zip(&cursors) {
        let log = context.get_stream(format!("SSE_default_{way}")).await?;
        let held = truth(&log).await?;
        let held_numbers: Vec<_> = held.iter().map(|(_, n)| n.clone()).collect();
        let first = log.get_info().await?.state.first_sequence;
        for (broker, of) in brokers.iter().zip(["all in the tail", "pages"]) {
            let what = format!("{way}, {of}");
            let seen = history(broker, way, "").await.context(what.clone())?;
            assert_eq!(seen, held_numbers, "history: {what}");
            let stats = get(url(broker, way, "stats")).await?;
            assert_eq!(stats["events"], held.len(), "statistics: {what}");
            for version in [Version::Http1, Version::Http2] {
                let earliest = url(broker, way, "events?from=earliest");
                let (seen, gap) = stream(&earliest, None, version, "999999").await?;
                assert_eq!(seen, held_numbers, "from=earliest: {what}");
                assert_eq!(gap, None, "{what}");
                for from in ["events?from=-1h", "events?from=last:1000"] {
                    let (seen, _) =
                        stream(&url(broker, way, from), None, version, "999999").await?;
                    assert_eq!(seen, held_numbers, "{from}: {what}");
                }
                // The cursors of events at the edges of pages, of the first, and of the last before the drop.
                for at in [0, 1, 99, 254, 255, 256, EVENTS - 1] {
                    let sequence = at as u64 + 1;
                    let (seen, gap) =
                        stream(&url(broker, way, "events"), Some(&cursors[at]), version, "999999")
                            .await?;
                    let due: Vec<_> = held
                        .iter()
                        .filter(|(s, _)| *s > sequence)
                        .map(|(_, n)| n.clone())
                        .collect();
                    assert_eq!(seen, due, "after {sequence}: {what}");
                    let lost = first.saturating_sub(sequence + 1);
                    let told = gap.as_ref().map(|gap| (gap["reason"].clone(), gap["lost"].clone()));
                    let expected = (lost > 0).then(|| (json!("expired"), json!(lost)));
                    assert_eq!(told, expected, "after {sequence}: {what}");
                }
            }
        }
    }
    Ok(())
}

/// A broker, a log of `count` events, and the cursor of the first.
async fn filled(nats: &NatsServer, retention: Retention, count: usize) -> Result<(Broker, String)> {
    let broker = Broker::start(&nats.url(), |config| {
        config.channels[0].name = "one".into();
        config.channels[0].retention = retention;
    })
    .await?;
    let cursor = publish(&broker, "one", 0, count).await?.remove(0);
    Ok((broker, cursor))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_subscribers_do_not_notice_retention_behind_them() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start_with("1s").await?;
    let (broker, _) =
        filled(&nats, Retention { max_events: 10, ..Retention::default() }, 1).await?;
    let mut streams = Vec::new();
    for version in [Version::Http1, Version::Http2] {
        let url = url(&broker, "one", "events?from=earliest");
        let mut stream =
            EventStream::open(Subscribe { url, version, ..Subscribe::default() }).await?;
        assert_eq!(stream.next_data(WAIT_TIMEOUT).await?.data, "0");
        streams.push(stream);
    }
    // Of more at once the stream may drop some before its consumer has sent them.
    let until = Instant::now() + Duration::from_secs(3);
    let mut next = 1;
    while Instant::now() < until {
        publish(&broker, "one", next, next + 8).await?;
        for stream in &mut streams {
            for n in next..next + 8 {
                let event = stream.next_within(WAIT_TIMEOUT).await?;
                assert_eq!(event.data, n.to_string(), "nobody is told of a loss: {}", event.raw);
            }
        }
        next += 8;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_events_are_not_served_while_nats_is_away() -> Result<()> {
    init_tracing();
    let mut nats = NatsServer::start().await?;
    let (broker, cursor) = filled(&nats, max_age(5), 10).await?;
    let published = Instant::now();
    history(&broker, "one", "").await?;
    nats.kill9()?;
    let (kept, _) =
        stream(&url(&broker, "one", "events?from=earliest"), None, Version::Http1, "9").await?;
    ensure!(published.elapsed() > Duration::from_secs(4) || kept.len() == 10, "{kept:?}");
    sleep_until(published + Duration::from_secs(5) + FORGET_TIMEOUT).await;
    let asked = client(Version::Http1)
        .get(url(&broker, "one", "events"))
        .header("Accept", "application/json");
    let answer = Answer::read(asked.send().await?).await?;
    ensure!(answer.status == 503, "only the log could tell: {}", answer.json);
    let events = url(&broker, "one", "events");
    let mut sent_away = EventStream::connect(&events, Some(&cursor)).await?;
    let closing = first_but_cursors(&mut sent_away).await?;
    assert!(closing.data.contains("unavailable"), "{}", closing.raw);
    nats.restart().await?;
    publish_when_back(&broker).await?;
    let mut waiting = EventStream::connect(&events, Some(&cursor)).await?;
    let gap = first_but_cursors(&mut waiting).await?;
    assert!(gap.data.contains(r#""lost":9,"reason":"expired""#), "{}", gap.data);
    assert_eq!(waiting.next_data(WAIT_TIMEOUT).await?.data, "999999");
    Ok(())
}

async fn first_but_cursors(stream: &mut EventStream) -> Result<Event> {
    loop {
        let event = stream.next_within(WAIT_TIMEOUT).await?;
        if event.event_type != "eventcast.cursor" {
            return Ok(event);
        }
    }
}

async fn publish_when_back(broker: &Broker) -> Result<()> {
    eventually("NATS is back", WAIT_TIMEOUT, || async {
        publish(broker, "one", 999_999, 1_000_000).await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_stream_is_not_served_any_more() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let (broker, cursor) = filled(&nats, Retention::default(), 10).await?;
    // As in a cluster, where the operator makes the streams.
    let reader = Broker::start(&nats.url(), |config| {
        config.nats.create_streams = false;
        config.channels[0].name = "one".into();
    })
    .await?;
    history(&reader, "one", "").await?;
    drop(broker);
    nats.jetstream().await?.delete_stream("SSE_default_one").await?;
    eventually("history is not to be had", FORGET_TIMEOUT, || async {
        let asked = client(Version::Http1).get(url(&reader, "one", "events"));
        let answer = Answer::read(asked.header("Accept", "application/json").send().await?).await?;
        ensure!(answer.status == 503, "{} {}", answer.status, answer.json);
        Ok(())
    })
    .await?;
    let mut waiting = EventStream::connect(&url(&reader, "one", "events"), Some(&cursor)).await?;
    let maker = Broker::start(&nats.url(), |config| config.channels[0].name = "one".into()).await?;
    publish(&maker, "one", 999_999, 1_000_000).await?;
    let gap = first_but_cursors(&mut waiting).await?;
    assert!(gap.data.contains("new-incarnation"), "nothing came before: {}", gap.raw);
    assert_eq!(waiting.next_data(WAIT_TIMEOUT).await?.data, "999999");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lagging_replica_brings_no_dropped_event_back() -> Result<()> {
    init_tracing();
    let cluster = NatsCluster::start(3).await?;
    let broker = Broker::start(&cluster.urls()[0], |config| {
        config.memory.tail_events = 16;
        config.channels[0].name = "one".into();
        config.channels[0].retention.replicas = 3;
    })
    .await?;
    publish(&broker, "one", 0, EVENTS).await?;
    history(&broker, "one", "").await?;
    let leader = cluster.leader("SSE_default_one").await?;
    // Neither the leader nor the node that the broker is connected to.
    let behind = (1..3).find(|node| *node != leader).context("there are three nodes")?;
    cluster.pause(behind)?;
    let context = async_nats::jetstream::new(cluster.nodes()[0].client().await?);
    let log = context.get_stream("SSE_default_one").await?;
    log.purge().filter("sse.default.one.t.user.1").await?;
    sleep_until(Instant::now() + FORGET_TIMEOUT).await;
    cluster.resume(behind)?;
    let mut due: Vec<_> = (0..EVENTS).filter(|n| n % 3 != 1).collect();
    // Each deletion has a page read again, from whichever replica answers.
    for _ in 0..5 {
        let victim = due.remove(due.len() / 2);
        log.delete_message(victim as u64 + 1).await?;
        eventually("the deletion is followed", WAIT_TIMEOUT, || async {
            // While the node hangs, history may be unavailable, but never wrong.
            let seen: Vec<usize> =
                history(&broker, "one", "").await?.iter().flat_map(|n| n.parse()).collect();
            assert!(seen.iter().all(|n| n % 3 != 1), "what was purged came back");
            ensure!(seen == due, "{victim} is still there");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

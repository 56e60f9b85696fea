//! Many sockets at once, with both sinks: readers that are slow and irregular, leave while they are written to, are told to
//! leave, reconnect all together, or have different filters. Every due event arrives once and in order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    broker::open_channel,
    eventually,
    filter::Filter,
    http::{Http1Connection, Publish, Version},
    sinks::{SHARD_COUNTS, counts, number},
    sse::{EventStream, Subscribe},
    wire::{BrokerWithNats, EVENTS},
};
use futures_util::future::try_join_all;
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// For one event; the machine may have other things to do.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// A subscription over a socket with so small a buffer.
async fn subscribe(broker: &BrokerWithNats, query: &str, buffer: u32) -> Result<EventStream> {
    let url = broker.events_url(query);
    let request = Subscribe { url, receive_buffer: Some(buffer), ..Subscribe::default() };
    EventStream::open(request).await
}

/// As [`subscribe`], and the stream has begun.
async fn listening(broker: &BrokerWithNats, query: &str, buffer: u32) -> Result<EventStream> {
    let mut stream = subscribe(broker, query, buffer).await?;
    stream.next_of("eventcast.cursor", WAIT_TIMEOUT).await?;
    Ok(stream)
}

/// Every socket is full all the time, and every reader receives everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_slow_readers_receive_everything_once_and_in_order() -> Result<()> {
    const COUNT: u64 = 300;
    for shards in SHARD_COUNTS {
        let broker = BrokerWithNats::with_shards(shards, |config| {
            config.memory.tail_events = 64; // who falls behind reads pages
            config.channels[0].delivery.stall_seconds = 120;
        })
        .await?;
        let mut readers = JoinSet::new();
        let opening = (0..300).map(|_| listening(&broker, "", 4096));
        for mut stream in try_join_all(opening).await? {
            readers.spawn(async move {
                for n in 0..COUNT {
                    if fastrand::u8(..) < 20 {
                        // how long it does not read is the fault
                        sleep(Duration::from_millis(fastrand::u64(..50))).await;
                    }
                    counts(&mut stream, n..n + 1, WAIT_TIMEOUT * 4).await?;
                }
                anyhow::Ok(())
            });
        }
        broker.publish_numbers(0..COUNT, 1 << 10..=20 << 10).await?;
        while let Some(ended) = readers.join_next().await {
            ended?.with_context(|| format!("{shards} shards"))?;
        }
        let metrics = broker.metrics().await?;
        let pages = [("source", "pages")];
        let fell = metrics.metric("eventcast_replay_batches_total", &pages);
        ensure!(fell > 0.0, "{shards} shards: nobody fell behind");
        // also what went out in pieces is counted once
        let counted = |labels| metrics.metric("eventcast_subscriber_events_total", labels);
        let (all, delivered) = (counted(&[]), counted(&[("outcome", "delivered")]));
        let due = 300.0 * COUNT as f64;
        ensure!((all, delivered) == (due, due), "{shards} shards: {all} counted, {delivered}");
    }
    Ok(())
}

/// Comes again and again, reads for a moment, and goes in the middle of it.
async fn restless(address: String, stop: Arc<AtomicBool>) -> Result<u64> {
    let mut times = 0;
    while !stop.load(Relaxed) {
        let buffer = [None, Some(4096)][fastrand::usize(..2)];
        let mut connection = Http1Connection::connect_with(&address, buffer).await?;
        let query = ["", "?from=earliest", "?topic=a"][fastrand::usize(..3)];
        connection.send(format!("GET {EVENTS}{query} HTTP/1.1\r\nHost: a\r\n\r\n")).await?;
        let moment = Duration::from_micros(fastrand::u64(..100_000));
        // whatever it reads until then
        drop(timeout(moment, connection.read_until(b"no such bytes")).await);
        if fastrand::bool() {
            connection.cut()?;
        }
        times += 1;
    }
    Ok(times)
}

/// Readers that leave while they are written to do not disturb those that stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_stay_do_not_notice_readers_that_leave() -> Result<()> {
    for shards in SHARD_COUNTS {
        let broker = BrokerWithNats::with_shards(shards, |_| {}).await?;
        let (stop, mut leavers) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        let mut stay = JoinSet::new();
        for n in 0..20 {
            // mixed with those that leave: each that leaves changes the order of the others
            for _ in 0..10 {
                leavers.spawn(restless(broker.address().to_owned(), Arc::clone(&stop)));
            }
            let mut stream = listening(&broker, "", [4096, 64 << 10][n % 2]).await?;
            stay.spawn(
                async move { counts(&mut stream, 0..1500, WAIT_TIMEOUT).await.map(|()| stream) },
            );
        }
        broker.publish_numbers(0..1500, 0..=4 << 10).await?;
        stop.store(true, Relaxed);
        let mut left = 0;
        while let Some(times) = leavers.join_next().await {
            left += times??;
        }
        ensure!(left > 400, "only {left} left");
        let mut stayed = Vec::new();
        while let Some(ended) = stay.join_next().await {
            stayed.push(ended?.with_context(|| format!("{shards} shards"))?);
        }
        for gauge in ["eventcast_subscribers", "eventcast_connections"] {
            broker.wait_for_metric(gauge, &[], WAIT_TIMEOUT, |n| n == 20.0).await?;
        }
        broker.publish_numbers(1500..1501, 0..=0).await?;
        for stream in &mut stayed {
            counts(stream, 1500..1501, WAIT_TIMEOUT).await?;
        }
    }
    Ok(())
}

/// A channel is removed while it is served: readers get a closing event, clients that do not read are disconnected too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_is_removed_under_two_hundred() -> Result<()> {
    let gone = "/channels/default/gone/events";
    for shards in SHARD_COUNTS {
        let mut broker = BrokerWithNats::with_shards(shards, |config| {
            let mut gone = open_channel("default", "gone");
            gone.delivery.stall_seconds = 3;
            config.channels.push(gone);
        })
        .await?;
        let (mut streams, mut stalled_connections, mut others) =
            (Vec::new(), Vec::new(), Vec::new());
        for n in 0..200 {
            if n % 10 == 0 {
                let mut connection =
                    Http1Connection::connect_with(broker.address(), Some(4096)).await?;
                connection.send(format!("GET {gone} HTTP/1.1\r\nHost: a\r\n\r\n")).await?;
                connection.read_head().await?;
                stalled_connections.push(connection);
                others.push(broker.open_stream(Version::Http1, "").await?);
            } else {
                let url = broker.url(gone);
                let mut stream = EventStream::open(Subscribe {
                    url,
                    receive_buffer: Some(64 << 10),
                    ..Subscribe::default()
                })
                .await?;
                stream.next_of("eventcast.cursor", WAIT_TIMEOUT).await?;
                streams.push(stream);
            }
        }
        let mut told = JoinSet::new();
        for mut stream in streams {
            told.spawn(async move {
                let closing = stream.next_of("eventcast.closing", WAIT_TIMEOUT).await?.json()?;
                ensure!(closing["reason"] == "channel-removed", "{closing}");
                let after = stream.next().await?;
                ensure!(after.is_none(), "and then {after:?}");
                Ok(())
            });
        }
        for n in 0..40 {
            let event = Publish::new(format!("{n} {}", "x".repeat(100 << 10)));
            let http = eventcast_tests::http::client(Version::Http1);
            ensure!(event.send(&http, &broker.url(gone)).await?.status == 201);
        }
        broker.reconfigure(|config| config.channels.truncate(1))?;
        while let Some(ended) = told.join_next().await {
            ended?.with_context(|| format!("{shards} shards"))?;
        }
        for gauge in ["eventcast_subscribers", "eventcast_connections"] {
            broker.wait_for_metric(gauge, &[], WAIT_TIMEOUT, |n| n == 20.0).await?;
        }
        broker.publish("goes on").await?;
        for other in &mut others {
            other.next_block_with("data: goes on\n").await?;
        }
        drop(stalled_connections);
    }
    Ok(())
}

/// One client of the storm: comes with its cursor as often as it must, until it has read everything up to `end`.
async fn persistent(url: String, mut cursor: String, mut next: u64, end: u64) -> Result<()> {
    while next < end {
        let request = Subscribe {
            url: url.clone(),
            last_event_id: Some(cursor.clone()),
            receive_buffer: Some(16 << 10),
            ..Subscribe::default()
        };
        let Ok(mut stream) = EventStream::open(request).await else {
            sleep(Duration::from_millis(50)).await; // nobody there: as a client would
            continue;
        };
        // leaves by itself as well: the storm goes on until all have everything
        for _ in 0..fastrand::u64(1..400) {
            let Ok(Some(event)) = stream.next().await else { break };
            if event.is_control() {
                ensure!(event.event_type != "eventcast.gap", "{}", event.data);
                continue;
            }
            let came = number(&event.data)?;
            ensure!(came == next, "{came} came for {next}");
            (cursor, next) = (event.id.context("no cursor")?, next + 1);
            if next == end {
                break;
            }
        }
    }
    Ok(())
}

/// SIGTERM amid a storm of reconnects: a clean exit within the grace period, and no client loses an event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_drains_in_a_storm_of_reconnects_and_all_continue() -> Result<()> {
    for shards in SHARD_COUNTS {
        let mut broker = BrokerWithNats::with_shards(shards, |config| {
            config.memory.tail_events = 64;
            config.shutdown.grace_seconds = 25;
        })
        .await?;
        broker.publish_numbers(0..800, 100..=1000).await?;
        let mut all = subscribe(&broker, "from=earliest", 64 << 10).await?;
        let mut cursors = Vec::new();
        while cursors.len() < 800 {
            cursors.push(all.next_data(WAIT_TIMEOUT).await?.id.context("no cursor")?);
        }
        drop(all);
        let mut storm = JoinSet::new();
        for _ in 0..500 {
            let from = fastrand::usize(..600);
            let (url, cursor) = (broker.events_url(""), cursors[from].clone());
            let client = persistent(url, cursor, from as u64 + 1, 900);
            storm.spawn(async { timeout(WAIT_TIMEOUT * 4, client).await.context("not all came")? });
        }
        // some have come more than once
        broker
            .wait_for_metric("eventcast_connects_total", &[], WAIT_TIMEOUT * 2, |n| n > 600.0)
            .await?;
        broker.terminate()?;
        let status = broker.wait_exit(WAIT_TIMEOUT).await?;
        ensure!(status.success(), "{shards} shards: {status}");
        let log = broker.log();
        ensure!(!log.contains("the grace is over"), "{shards} shards: {log}");
        broker.restart().await?;
        broker.publish_numbers(800..900, 100..=1000).await?;
        while let Some(ended) = storm.join_next().await {
            ended?.with_context(|| format!("{shards} shards"))?;
        }
        broker.wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, |n| n == 0.0).await?;
        broker.wait_for_metric("eventcast_connections", &[], WAIT_TIMEOUT, |n| n == 0.0).await?;
    }
    Ok(())
}

/// An event and its recipient.
struct Letter {
    data: String,
    topic: Option<String>,
    kind: Option<&'static str>,
}

/// Every subscriber receives the events of its filter, in order and no others, and the counts balance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_gets_its_own_and_the_counts_balance() -> Result<()> {
    const USERS: usize = 500;
    for shards in [1, 2, 0] {
        let broker = BrokerWithNats::with_shards(shards, |_| {}).await?;
        let topics = |t: &[&str]| Filter {
            topics: t.iter().map(|t| (*t).to_owned()).collect(),
            ..Filter::default()
        };
        let mut filters = vec![
            Filter::default(),
            topics(&["user.*"]),
            topics(&["user.1.>"]),
            topics(&["user.*.mail", "user.7"]),
            topics(&["*.3", "user.3", "user.>"]),
            Filter { types: vec!["order.*".into()], ..Filter::default() },
            Filter { types: vec!["message".into()], ..topics(&["user.1", "user.499"]) },
        ];
        filters.extend((0..USERS).map(|n| topics(&[&format!("user.{n}")])));
        let mut letters = Vec::new();
        for round in 0..4 {
            let to = |topic: Option<String>, kind| Letter {
                data: format!("{round} {}", topic.as_deref().unwrap_or("all")),
                topic,
                kind,
            };
            letters.extend((0..USERS).map(|n| {
                to(
                    Some(format!("user.{n}")),
                    [None, Some("order.paid"), Some("chat")][(n + round) % 3],
                )
            }));
            letters.extend((0..5).map(|n| to(Some(format!("user.{n}.mail")), None)));
            letters.push(to(None, Some("order.paid")));
        }
        fastrand::shuffle(&mut letters);
        letters.push(Letter { data: "end".into(), topic: None, kind: None });
        // passes every filter but that of types; it is the last for the others
        let opening = filters.iter().map(|filter| {
            let query = filter.query();
            let query: Vec<_> =
                query.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let broker = &broker;
            async move { listening(broker, &query.join("&"), 64 << 10).await }
        });
        let streams = try_join_all(opening).await?;
        let mut readers = JoinSet::new();
        for (filter, mut stream) in filters.iter().zip(streams) {
            let due = letters.iter().filter(|l| filter.passes(l.topic.as_deref(), l.kind));
            let due: Vec<_> = due.map(|letter| letter.data.clone()).collect();
            readers.spawn(async move {
                for due in due {
                    let came =
                        stream.next_data(WAIT_TIMEOUT).await.with_context(|| due.clone())?.data;
                    ensure!(came == due, "{came:?} came for {due:?}");
                }
                Ok(stream)
            });
        }
        for part in letters.chunks(100) {
            let line = |l: &Letter| {
                let event = json!({"data": l.data, "topic": l.topic, "type": l.kind});
                format!("{event}\n")
            };
            let body: String = part.iter().map(line).collect();
            let batch = Publish::new(body).header("Content-Type", "application/x-ndjson");
            let answer = broker.send(&batch).await?;
            ensure!(answer.status == 201, "{} {}", answer.status, answer.json);
        }
        let mut streams = Vec::new();
        while let Some(ended) = readers.join_next().await {
            streams.push(ended?.with_context(|| format!("{shards} shards"))?);
        }
        let passed = (letters.len() * filters.len()) as f64;
        let delivered = filters.iter().map(|filter| {
            letters.iter().filter(|l| filter.passes(l.topic.as_deref(), l.kind)).count()
        });
        let delivered = delivered.sum::<usize>() as f64;
        eventually("the counts balance", WAIT_TIMEOUT, || async {
            let metrics = broker.metrics().await?;
            let of = |labels: &[(&str, &str)]| {
                metrics.metric("eventcast_subscriber_events_total", labels)
            };
            let (have, got) = (of(&[]), of(&[("outcome", "delivered")]));
            ensure!(have == passed, "{shards} shards: {have} of {passed}");
            ensure!(got == delivered, "{shards} shards: {got} delivered, not {delivered}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

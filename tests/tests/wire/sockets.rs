//! One socket at a time, with both sinks: clients that leave, send where nothing is expected, never read, or send more than one
//! request; and a broker without file descriptors. `sockets_many` has the crowds.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    broker::Broker,
    eventually,
    http::{Http1Connection, Publish, Version, created},
    sinks::SHARD_COUNTS,
    wire::{BrokerWithNats, EVENTS},
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;

/// A request for `target`.
fn get(target: &str, accept: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n")
}

/// A subscription, read up to its first cursor.
async fn subscribed(
    broker: &BrokerWithNats,
    query: &str,
    buffer: Option<u32>,
) -> Result<Http1Connection> {
    let mut connection = Http1Connection::connect_with(broker.address(), buffer).await?;
    connection.send(get(&format!("{EVENTS}{query}"), "text/event-stream")).await?;
    streams(&mut connection).await?;
    connection.read_until(b"event: eventcast.cursor\n").await?;
    connection.read_until(b"\n\n\r\n").await?;
    Ok(connection)
}

/// The head of a stream, and its first bytes.
async fn streams(connection: &mut Http1Connection) -> Result<()> {
    let head = connection.read_head().await?;
    ensure!(head.status == 200, "{head:?}");
    ensure!(head.header("content-type") == Some("text/event-stream; charset=utf-8"), "{head:?}");
    connection.read_until(b"\n:\n").await?;
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Leave {
    Close,
    Reset,
    HalfClose,
}

/// Nothing is published and no heartbeat is due: the socket alone tells.
#[tokio::test]
async fn a_client_that_leaves_is_noticed_without_traffic() -> Result<()> {
    for shards in SHARD_COUNTS {
        let broker = BrokerWithNats::with_shards(shards, |config| {
            config.channels[0].delivery.heartbeat_seconds = 300;
        })
        .await?;
        let mut stays = broker.open_stream(Version::Http1, "").await?;
        let ways = [Leave::Close, Leave::Reset, Leave::HalfClose];
        for (before, leave) in ways.into_iter().enumerate() {
            let what = || format!("{leave:?}, {shards} shards");
            let mut leaver = subscribed(&broker, "", None).await?;
            broker
                .wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, |n| n == 2.0)
                .await?;
            match leave {
                Leave::Close => drop(leaver),
                Leave::Reset => leaver.cut()?,
                Leave::HalfClose => {
                    leaver.finish_sending().await?;
                    leaver.closed().await.with_context(what)?;
                }
            }
            for gauge in ["eventcast_subscribers", "eventcast_connections"] {
                broker
                    .wait_for_metric(gauge, &[], WAIT_TIMEOUT, |n| n == 1.0)
                    .await
                    .with_context(what)?;
            }
            let client = [("reason", "client")];
            let gone = broker.metric("eventcast_disconnects_total", &client).await?;
            ensure!(gone == before as f64 + 1.0, "{}: {gone} counted", what());
        }
        broker.publish("still here").await?;
        assert_eq!(stays.data().await?, "still here");
    }
    Ok(())
}

/// Bytes that a client sends on its stream are discarded; a shard disconnects it after one MiB.
#[tokio::test]
async fn bytes_where_none_are_due_do_not_end_a_stream_until_they_are_too_many() -> Result<()> {
    for shards in SHARD_COUNTS {
        let broker = BrokerWithNats::with_shards(shards, |_| {}).await?;
        let mut quiet = broker.open_stream(Version::Http1, "").await?;
        let mut talks = subscribed(&broker, "", None).await?;
        for n in 0..4 {
            talks.send("x".repeat(25_000)).await?;
            broker.publish(format!("{n} of many")).await?;
            talks.read_until(format!("data: {n} of many\n").as_bytes()).await?;
        }
        if shards > 0 {
            let mut sent = 100_000;
            while sent < 8 << 20 && talks.send("x".repeat(50_000)).await.is_ok() {
                sent += 50_000;
            }
            ensure!(sent < 8 << 20, "it took {sent} bytes");
            ensure!(sent >= 1 << 20, "cut off after {sent} bytes");
            let unasked = [("reason", "unexpected-input")];
            let one = |n| n == 1.0;
            broker
                .wait_for_metric("eventcast_disconnects_total", &unasked, WAIT_TIMEOUT, one)
                .await?;
            broker.wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, one).await?;
            broker.wait_for_metric("eventcast_connections", &[], WAIT_TIMEOUT, one).await?;
        }
        broker.publish("the end").await?;
        quiet.next_block_with("data: the end\n").await?;
    }
    Ok(())
}

/// Clients that never read cost little, whatever they requested, and no other client waits for them.
#[tokio::test]
async fn a_client_that_never_reads_is_cut_off_and_others_continue() -> Result<()> {
    for shards in SHARD_COUNTS {
        let broker = BrokerWithNats::with_shards(shards, |config| {
            config.channels[0].delivery.stall_seconds = 3;
            config.memory.tail_bytes = 4 << 20;
        })
        .await?;
        let event = |n: u64| Publish::new(format!("{n} {}", "x".repeat(64 << 10))).topic("a");
        for n in 0..20 {
            ensure!(broker.send(&event(n)).await?.status == 201);
        }
        let mut readers = Vec::new();
        for query in ["", "?topic=a"] {
            readers.push(broker.open_stream(Version::Http1, query).await?);
        }
        let mut stalled_connections = Vec::new();
        for n in 0..30 {
            let query = ["", "?topic=*", "?from=earliest"][n % 3];
            let mut connection =
                Http1Connection::connect_with(broker.address(), Some(4096)).await?;
            connection.send(get(&format!("{EVENTS}{query}"), "text/event-stream")).await?;
            connection.read_head().await?;
            stalled_connections.push(connection);
        }
        let (before, mut most) = (broker.rss()?, 0);
        for n in 20..220 {
            ensure!(broker.send(&event(n)).await?.status == 201);
            for reader in &mut readers {
                let data = reader.data().await?;
                ensure!(data.starts_with(&format!("{n} ")), "{shards} shards: not {n}");
            }
            most = most.max(broker.rss()?);
        }
        let stalled = [("reason", "stalled")];
        let all = |n| n == 30.0;
        broker.wait_for_metric("eventcast_disconnects_total", &stalled, WAIT_TIMEOUT, all).await?;
        for gauge in ["eventcast_subscribers", "eventcast_connections"] {
            broker.wait_for_metric(gauge, &[], WAIT_TIMEOUT, |n| n == 2.0).await?;
        }
        // 13 MB were published: had each a queue of its own, they would be 400 MB
        let grown = most.saturating_sub(before) / MIB;
        ensure!(grown < 64, "{shards} shards: {grown} MiB more than before");
    }
    Ok(())
}

/// A broker without free file descriptors serves its open connections, and new ones as soon as some are closed.
#[tokio::test]
async fn without_file_descriptors_streams_go_on_and_new_ones_wait() -> Result<()> {
    for shards in SHARD_COUNTS {
        let broker = BrokerWithNats::with_shards(shards, |_| {}).await?;
        let publisher = Broker::start(&broker.nats.url(), |_| {}).await?;
        let mut open = Vec::new();
        for _ in 0..15 {
            open.push(subscribed(&broker, "", None).await?);
        }
        let pid = broker.pid()?.to_string();
        let limit = format!("--nofile={}", broker.open_files()? + 5);
        let status = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
        ensure!(status.context("prlimit is part of util-linux")?.success(), "prlimit failed");
        let mut late = Vec::new();
        for _ in 0..30 {
            let mut connection = Http1Connection::connect(broker.address()).await?;
            connection.send(get(EVENTS, "text/event-stream")).await?;
            late.push(connection);
        }
        // the admin port has no descriptors either: what the broker says comes from its log
        eventually("it notices", WAIT_TIMEOUT, || async {
            broker.log().contains("failed to accept").then_some(())
        })
        .await?;
        for n in 0..20 {
            created(&publisher.events_url(""), &format!("{n} meanwhile"), &[]).await?;
            for stream in &mut open {
                stream.read_until(format!("data: {n} meanwhile\n").as_bytes()).await?;
            }
        }
        drop(open);
        // they come in the order in which they knocked; each that has its turn makes room for another
        for mut connection in late {
            streams(&mut connection).await.with_context(|| format!("{shards} shards"))?;
        }
        broker.wait_for_metric("eventcast_connections", &[], WAIT_TIMEOUT, |n| n == 0.0).await?;
        ensure!(broker.metric("eventcast_accept_errors_total", &[]).await? >= 1.0, "counted");
        let mut stream = broker.open_stream(Version::Http1, "").await?;
        broker.publish("as ever").await?;
        assert_eq!(stream.data().await?, "as ever");
    }
    Ok(())
}

/// Requests whose answers are whole, and the subscription behind them on the same connection.
#[tokio::test]
async fn a_connection_that_was_used_before_carries_a_stream() -> Result<()> {
    for shards in SHARD_COUNTS {
        let broker = BrokerWithNats::with_shards(shards, |_| {}).await?;
        let cursor = broker.publish("first").await?;
        let stats = get("/channels/default/demo/stats", "application/json");
        let history = get(EVENTS, "application/json");
        let head = format!("HEAD {EVENTS} HTTP/1.1\r\nHost: a\r\n\r\n");
        let post = format!("POST {EVENTS} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nown");
        let subscribe = format!("GET {EVENTS}?from={cursor} HTTP/1.1\r\nHost: a\r\n\r\n");
        for pipelined in [false, true] {
            let mut connection = Http1Connection::connect(broker.address()).await?;
            let requests = [&stats, &history, &head, &post];
            if pipelined {
                let all = requests.map(String::as_str).concat() + &subscribe;
                connection.send(all).await?;
            }
            for request in requests {
                if !pipelined {
                    connection.send(request).await?;
                }
                let answer = connection.read_head().await?;
                ensure!(matches!(answer.status, 200 | 201), "{request:?}: {answer:?}");
                if *request != head {
                    serde_json::from_slice::<serde_json::Value>(&connection.body().await?)?;
                }
            }
            if !pipelined {
                connection.send(&subscribe).await?;
            }
            streams(&mut connection).await?;
            connection.read_until(b"data: own\n").await?;
            broker.publish("live").await?;
            connection.read_until(b"data: live\n").await?;
        }
    }
    Ok(())
}

/// An answer of megabytes that its client has not read is not lost when the socket could change hands: the stream begins
/// behind it.
#[tokio::test]
async fn a_stream_begins_behind_an_answer_that_was_not_read() -> Result<()> {
    for shards in SHARD_COUNTS {
        let broker = BrokerWithNats::with_shards(shards, |_| {}).await?;
        broker.publish_numbers(0..1000, 6000..=6000).await?;
        let history = get(&format!("{EVENTS}?limit=1000"), "application/json");
        let subscribe = get(&format!("{EVENTS}?from=last:5"), "text/event-stream");
        for together in [true, false] {
            let mut connection =
                Http1Connection::connect_with(broker.address(), Some(64 << 10)).await?;
            if together {
                connection.send(format!("{history}{subscribe}")).await?;
            } else {
                connection.send(&history).await?;
            }
            let head = connection.read_head().await?; // it is being answered
            ensure!(head.status == 200, "{head:?}");
            if !together {
                connection.send(&subscribe).await?;
            }
            for n in 0..20 {
                broker.publish_numbers(1000 + n..1001 + n, 6000..=6000).await?; // others go on
            }
            let body: serde_json::Value = serde_json::from_slice(&connection.body().await?)?;
            let events = body["events"].as_array().context("no events")?;
            ensure!(events.len() == 1000, "{} events", events.len());
            for (n, event) in events.iter().enumerate() {
                let data = event["data"].as_str().context("no data")?;
                ensure!(data.starts_with(&format!("{n} ")) && data.len() > 6000, "{n}: {data:.20}");
            }
            streams(&mut connection).await.with_context(|| format!("{shards} shards"))?;
            connection.read_until(b"\ndata: ").await?;
            broker.publish("live").await?;
            connection.read_until(b"data: live\n").await?;
        }
    }
    Ok(())
}

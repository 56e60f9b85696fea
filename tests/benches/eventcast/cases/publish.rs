//! Publishing events of 1 KB, each on disk before it is acknowledged, against JetStream's own client on the same server: what the broker adds.
//!
//! The client publishes bare messages, and it does what the broker does: messages with an id, so that a retry stores nothing twice, while
//! a consumer reads what is stored, which in the broker fills the tail. nats-server does all of that on the same processors.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_nats::{
    HeaderMap,
    jetstream::{
        self,
        consumer::{AckPolicy, DeliverPolicy, push},
        stream::{Config, StorageType},
    },
};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;

use super::{Bench, blame};
use crate::{
    load::Load,
    measure::quantile,
    report::{Reading, Target, Unit},
    server::{Channel, Server, Sync, text},
};

const SIZE: usize = 1024;
const CONNECTIONS: usize = 64;
const BATCH: u32 = 500;
/// They take turns, so that what the disk does meanwhile meets all of them. Batches fit a slice.
const SLICES: u32 = 20;
const STREAM: &str = "PEER";
const SUBJECT: &str = "bench.peer";

pub(super) fn round(bench: &Bench) -> Result<Vec<Reading>> {
    let server = bench.broker(Sync::Always)?;
    let (single, many) = bench.options.size((100, 10_000), (1_000, 20_000));
    blame(&server, measure(bench, &server, single, many))
}

fn measure(bench: &Bench, server: &Server, single: u32, many: u32) -> Result<Vec<Reading>> {
    let peer = bench.block_on(peer(server))?;
    let mut load = Load::new(server.address(), SIZE)?;
    load.publishers(CONNECTIONS)?;
    one_by_one(server, &mut load, 20)?; // warm
    let (single, many) = (single / SLICES, many / SLICES);
    let (mut our_single, mut their_single) = (Vec::new(), Vec::new());
    let mut many_took = [Duration::ZERO; 3];
    let mut batches_took = [Duration::ZERO; 3];
    for _ in 0..SLICES {
        their_single.extend(bench.block_on(theirs_one_by_one(&peer, single))?);
        our_single.extend(one_by_one(server, &mut load, single)?);
    }
    for _ in 0..SLICES {
        many_took[0] += at_once(server, &mut load, many)?;
        many_took[1] += bench.block_on(theirs_in_flight(&peer, many, CONNECTIONS, false))?;
        many_took[2] += bench.block_on(theirs_with_reader(&peer, many, CONNECTIONS))?;
    }
    for _ in 0..SLICES {
        batches_took[0] += batches(server, &mut load, many)?;
        batches_took[1] += bench.block_on(theirs_in_flight(&peer, many, BATCH as usize, false))?;
        batches_took[2] += bench.block_on(theirs_with_reader(&peer, many, BATCH as usize))?;
    }
    let quantiles = |took: &mut [f64]| [50, 99].map(|percent| quantile(took, percent));
    let (our_single, their_single) = (quantiles(&mut our_single), quantiles(&mut their_single));

    let case = "publish 1 KB, synced";
    let single = |figure: &str, ours, theirs| {
        Reading::new(case, figure, Unit::Seconds, ours).to("JetStream", theirs)
    };
    let rates = |figure: &str, took: [Duration; 3]| {
        let [ours, bare, read] = took.map(|took| f64::from(many * SLICES) / took.as_secs_f64());
        let reading = |figure: String| Reading::new(case, figure, Unit::PerSecond, ours);
        let target = Target::RatioAtLeast(0.95);
        [
            reading(figure.to_owned()).to("JetStream", bare),
            reading(format!("{figure} (read)")).to("JetStream, ids, read", read).target(target),
        ]
    };
    let mut readings = vec![
        single("one by one, median", our_single[0], their_single[0])
            .target(Target::RatioAtMost(1.5)),
        single("one by one, p99", our_single[1], their_single[1]),
    ];
    readings.extend(rates("64 at once", many_took));
    readings.extend(rates("batches of 500", batches_took));
    Ok(readings)
}

/// JetStream with a stream like the broker's.
async fn peer(server: &Server) -> Result<jetstream::Context> {
    let mut peer = server.nats()?.jetstream().await?;
    peer.set_timeout(Duration::from_secs(20));
    let config = Config {
        name: STREAM.to_owned(),
        subjects: vec![SUBJECT.to_owned()],
        storage: StorageType::File,
        allow_direct: true,
        max_bytes: 1 << 30,
        duplicate_window: Duration::from_secs(120),
        ..Config::default()
    };
    peer.create_stream(config).await.context("failed to create the peer's stream")?;
    Ok(peer)
}

fn payload() -> Bytes {
    text::data(0, SIZE).into()
}

/// How long each took, in seconds.
async fn theirs_one_by_one(peer: &jetstream::Context, count: u32) -> Result<Vec<f64>> {
    let mut took = Vec::new();
    for _ in 0..count {
        let begin = Instant::now();
        peer.publish(SUBJECT, payload()).await?.await?;
        took.push(begin.elapsed().as_secs_f64());
    }
    Ok(took)
}

/// How long all of them took, so many unacknowledged at any time, with ids or without.
async fn theirs_in_flight(
    peer: &jetstream::Context,
    count: u32,
    in_flight: usize,
    ids: bool,
) -> Result<Duration> {
    let run = fastrand::u64(..);
    let publish = async |number: u32| {
        let mut headers = HeaderMap::new();
        if ids {
            headers.insert("Nats-Msg-Id", format!("{run:020}-{number:05}"));
            headers.insert("Nats-Expected-Stream", STREAM);
        }
        anyhow::Ok(peer.publish_with_headers(SUBJECT, headers, payload()).await?.await?)
    };
    let begin = Instant::now();
    stream::iter(0..count)
        .map(publish)
        .buffer_unordered(in_flight)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    Ok(begin.elapsed())
}

/// The same with ids, while a consumer reads what is stored.
async fn theirs_with_reader(
    peer: &jetstream::Context,
    count: u32,
    in_flight: usize,
) -> Result<Duration> {
    let inbox = peer.client().new_inbox();
    let mut messages = peer.client().subscribe(inbox.clone()).await?;
    let consumer = push::Config {
        deliver_subject: inbox,
        deliver_policy: DeliverPolicy::New,
        ack_policy: AckPolicy::None,
        memory_storage: true,
        ..push::Config::default()
    };
    let name = peer.create_consumer_on_stream(consumer, STREAM).await?.cached_info().name.clone();
    let read = async { while messages.next().await.is_some() {} };
    let took = tokio::select! {
        took = theirs_in_flight(peer, count, in_flight, true) => took?,
        () = read => bail!("the consumer's connection ended"),
    };
    peer.delete_consumer_from_stream(name, STREAM).await?;
    Ok(took)
}

fn one_by_one(server: &Server, load: &mut Load, count: u32) -> Result<Vec<f64>> {
    let request = server.event(Channel::Main, "", 0, SIZE);
    let mut took = Vec::new();
    for _ in 0..count {
        let begin = Instant::now();
        load.send_and_wait(&request, 1)?;
        took.push(begin.elapsed().as_secs_f64());
    }
    Ok(took)
}

/// The same over all connections, one at a time on each.
fn at_once(server: &Server, load: &mut Load, count: u32) -> Result<Duration> {
    let request = server.event(Channel::Main, "", 0, SIZE);
    let (begin, first) = (Instant::now(), load.answers);
    for _ in 0..count {
        let idle = loop {
            if let Some(idle) = load.idle_publisher() {
                break idle;
            }
            load.until("a publish is answered", |load| load.idle_publisher().is_some())?;
        };
        load.send(idle, &request, 1)?;
    }
    let wanted = first + u64::from(count);
    load.until("every publish is answered", |load| load.answers >= wanted)?;
    Ok(begin.elapsed())
}

/// The same, one batch after the other.
fn batches(server: &Server, load: &mut Load, count: u32) -> Result<Duration> {
    let request = server.batch((0..BATCH).map(|number| (number, None)), SIZE);
    let begin = Instant::now();
    for _ in 0..count / BATCH {
        load.send_and_wait(&request, 1)?;
    }
    Ok(begin.elapsed())
}

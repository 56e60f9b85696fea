//! Publishing events of 1 KB, each on disk before it is acknowledged, against JetStream's own client on the same server: what the broker adds.

use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream::{
    self,
    stream::{Config, StorageType},
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
const SUBJECT: &str = "bench.peer";

pub(super) fn round(bench: &Bench) -> Result<Vec<Reading>> {
    let server = bench.broker(Sync::Always)?;
    let (single, many) = bench.options.size((50, 1_000), (1_000, 20_000));
    blame(&server, measure(bench, &server, single, many))
}

fn measure(bench: &Bench, server: &Server, single: u32, many: u32) -> Result<Vec<Reading>> {
    let peer = bench.block_on(peer(server))?;
    let mut load = Load::new(server.address(), SIZE)?;
    load.publishers(CONNECTIONS)?;
    one_by_one(server, &mut load, 20)?; // warm
    let their_single = bench.block_on(theirs_one_by_one(&peer, single))?;
    let our_single = one_by_one(server, &mut load, single)?;
    let their_many = bench.block_on(theirs_in_flight(&peer, many, CONNECTIONS))?;
    let our_many = at_once(server, &mut load, many)?;
    let their_batch = bench.block_on(theirs_in_flight(&peer, many, BATCH as usize))?;
    let our_batch = batches(server, &mut load, many)?;

    let case = "publish 1 KB, synced";
    let single = |figure: &str, ours, theirs| {
        Reading::new(case, figure, Unit::Seconds, ours).to("JetStream", theirs)
    };
    let rate = |figure: &str, ours, theirs| {
        Reading::new(case, figure, Unit::PerSecond, ours).to("JetStream", theirs)
    };
    Ok(vec![
        single("one by one, median", our_single[0], their_single[0])
            .target(Target::RatioAtMost(1.5)),
        single("one by one, p99", our_single[1], their_single[1]),
        rate("64 at once", our_many, their_many),
        rate("batches of 500", our_batch, their_batch).target(Target::RatioAtLeast(0.6)),
    ])
}

/// JetStream with a stream like the broker's.
async fn peer(server: &Server) -> Result<jetstream::Context> {
    let mut peer = server.nats()?.jetstream().await?;
    peer.set_timeout(Duration::from_secs(20));
    let config = Config {
        name: "PEER".to_owned(),
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

/// Median and 99th percentile, in seconds.
async fn theirs_one_by_one(peer: &jetstream::Context, count: u32) -> Result<[f64; 2]> {
    let mut took = Vec::new();
    for _ in 0..count {
        let begin = Instant::now();
        peer.publish(SUBJECT, payload()).await?.await?;
        took.push(begin.elapsed().as_secs_f64());
    }
    Ok([50, 99].map(|percent| quantile(&mut took, percent)))
}

/// Events a second, so many unacknowledged at any time.
async fn theirs_in_flight(peer: &jetstream::Context, count: u32, in_flight: usize) -> Result<f64> {
    let begin = Instant::now();
    stream::iter(0..count)
        .map(|_| async { anyhow::Ok(peer.publish(SUBJECT, payload()).await?.await?) })
        .buffer_unordered(in_flight)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}

fn one_by_one(server: &Server, load: &mut Load, count: u32) -> Result<[f64; 2]> {
    let request = server.event(Channel::Main, "", 0, SIZE);
    let mut took = Vec::new();
    for _ in 0..count {
        let begin = Instant::now();
        load.send_and_wait(&request, 1)?;
        took.push(begin.elapsed().as_secs_f64());
    }
    Ok([50, 99].map(|percent| quantile(&mut took, percent)))
}

/// Events a second over all connections, one at a time on each.
fn at_once(server: &Server, load: &mut Load, count: u32) -> Result<f64> {
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
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}

/// Events a second, one batch after the other.
fn batches(server: &Server, load: &mut Load, count: u32) -> Result<f64> {
    let request = server.batch((0..BATCH).map(|number| (number, None)), SIZE);
    let begin = Instant::now();
    for _ in 0..count / BATCH {
        load.send_and_wait(&request, 1)?;
    }
    Ok(f64::from(count / BATCH * BATCH) / begin.elapsed().as_secs_f64())
}

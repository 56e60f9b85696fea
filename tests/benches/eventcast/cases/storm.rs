//! Everyone comes back at once, each with another cursor, while a few live readers get fifty events a second.
//!
//! The floor does the same: its log is one piece of memory, from which it writes to each reader in bulk. Every client must get exactly the events
//! after its cursor, those published meanwhile included.

use std::{sync::Arc, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Bench,
    beside::{Beside, Done, Plan},
    blame,
};
use crate::{
    floor,
    load::{Load, tally::weight},
    report::{Reading, Target, Unit},
    server::{Channel, Server, Sync},
};

const SIZE: usize = 100;
const BATCH: u32 = 500;
const LIVE_READERS: usize = 100;
const LIVE_PER_SECOND: u32 = 50;
const BEFORE: usize = 0;
const DURING: usize = 1;
const AFTER: usize = 2;

pub(super) fn round(bench: &Bench, round: u32) -> Result<Vec<Reading>> {
    let (clients, depth) = (bench.options.storm_clients(), bench.options.storm_depth());
    let seen = &places(clients, depth, round.into());
    let quiet = Duration::from_secs(bench.options.size(1, 4));
    let server = Arc::new(bench.floor()?);
    let floor = blame(&server, run(&server, depth, seen, quiet))?;
    drop(server);
    let server = Arc::new(bench.broker(Sync::Seldom)?);
    let ours = blame(&server, run(&server, depth, seen, quiet))?;

    let case = format!("storm {clients} x {depth}");
    let seconds = |figure: &str, value| Reading::new(&case, figure, Unit::Seconds, value);
    Ok(vec![
        seconds("until all caught up", ours.took)
            .to("floor", floor.took)
            .target(Target::RatioAtMost(1.5)),
        seconds("CPU", ours.cpu).to("floor", floor.cpu),
        seconds("live p99 meanwhile", ours.live.latencies[DURING].quantile(99))
            .to("before", ours.live.latencies[BEFORE].quantile(99))
            .target(Target::AtMost(50e-3)),
    ])
}

/// What each client saw last: no two the same, as long as there are enough events. The same for all servers of a round.
fn places(clients: u32, depth: u32, round: u64) -> Vec<u32> {
    let mut random = fastrand::Rng::with_seed(round);
    let mut all: Vec<u32> = (1..=depth).collect();
    random.shuffle(&mut all);
    all.into_iter().cycle().take(clients as usize).collect()
}

struct Outcome {
    took: f64,
    cpu: f64,
    live: Done,
}

fn run(server: &Arc<Server>, depth: u32, seen: &[u32], quiet: Duration) -> Result<Outcome> {
    let mut load = Load::new(server.address(), SIZE)?;
    load.publishers(1)?;
    let cursors = fill(server, &mut load, depth)?;
    let plan = Plan {
        channel: Channel::Main,
        readers: LIVE_READERS,
        per_second: LIVE_PER_SECOND,
        first: depth + 1,
        size: SIZE,
    };
    let beside = Beside::start(server, plan)?;
    thread::sleep(quiet);
    let cpu = server.cpu()?;
    beside.phase(DURING);
    let begin = Instant::now();
    let requests = seen.iter().map(|number| {
        let cursor = &cursors[*number as usize - 1];
        server.subscribe(Channel::Main, "", Some(cursor))
    });
    load.subscribe(requests)?;
    // who was at the end already is caught up without another event
    let behind = u32::try_from(seen.iter().filter(|number| **number < depth).count())?;
    load.until("every client is caught up", |load| arrived(load, depth) >= behind)?;
    let last = load.tally.arrivals.get(depth as usize).and_then(|arrival| arrival.last);
    let took = last.unwrap_or_else(Instant::now).saturating_duration_since(begin);
    beside.phase(AFTER);
    let cpu = server.cpu()? - cpu;
    let live = beside.finish()?;
    let clients = u32::try_from(seen.len())?;
    load.until("every client has the last event", |load| arrived(load, live.end - 1) >= clients)?;
    verify(&load, seen, live.end, depth)?;
    Ok(Outcome { took: took.as_secs_f64(), cpu, live })
}

/// How many have got an event.
fn arrived(load: &Load, number: u32) -> u32 {
    load.tally.arrivals.get(number as usize).map_or(0, |arrival| arrival.count)
}

/// Publishes the events `1..=depth`, and says their cursors.
fn fill(server: &Server, load: &mut Load, depth: u32) -> Result<Vec<String>> {
    let mut cursors = Vec::new();
    for first in (1..=depth).step_by(BATCH as usize) {
        let numbers = first..(first + BATCH).min(depth + 1);
        let count = numbers.len();
        load.send_and_wait(&server.batch(numbers.map(|number| (number, None)), SIZE), 1)?;
        let body = &load.publishers[0].body;
        if body.is_empty() {
            let known = cursors.len();
            cursors.extend((known..known + count).map(floor::cursor)); // the floor's are its own to make up
            continue;
        }
        let answer: Value = serde_json::from_str(body)?;
        let events = answer["events"].as_array().context("an answer without events")?;
        let stored = events.iter().filter_map(|event| event["cursor"].as_str());
        cursors.extend(stored.map(str::to_owned));
    }
    ensure!(cursors.len() == depth as usize, "{} cursors of {depth} events", cursors.len());
    Ok(cursors)
}

/// Every client got what came after its cursor, once each; in order, up to where publishers began to race.
fn verify(load: &Load, seen: &[u32], end: u32, depth: u32) -> Result<()> {
    let mut sums = vec![0_u64; end as usize];
    for number in 1..end {
        let index = number as usize;
        sums[index] = sums[index - 1].wrapping_add(weight(number));
    }
    let all = sums[end as usize - 1];
    load.verify(|client| {
        let number = seen[client];
        (end - 1 - number, all.wrapping_sub(sums[number as usize]))
    })?;
    let races = u64::from(end - depth) * seen.len() as u64 / 10;
    ensure!(load.tally.disorder <= races, "{} events out of order", load.tally.disorder);
    Ok(())
}

//! Everyone comes back at once, each with another cursor, while a few live readers get fifty events a second.
//!
//! The floor writes as many bytes to as many readers, in bulk, from one piece of memory, and has no live readers. Every client
//! must get exactly the events after its cursor.
//!
//! The live events have a topic of their own, which only the live readers ask for: else every client who has caught up would get them too,
//! and the figure would be that of a channel in overload. `--storm-live-to-all` measures just that.

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
    measure::cpu,
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
    let live_to_all = bench.options.storm_live_to_all;
    let storm = Storm { depth, seen, live_to_all };
    let server = Arc::new(bench.floor()?);
    let floor = blame(&server, storm.run(&server, None))?;
    drop(server);
    let server = Arc::new(bench.broker(Sync::Seldom)?);
    let ours = blame(&server, storm.run(&server, Some(quiet)))?;
    let generators = [&ours, &floor].map(|of| of.generator / of.took);
    let live = ours.live.context("no live readers")?;

    let case = format!("storm {clients} x {depth}");
    let seconds = |figure: &str, value| Reading::new(&case, figure, Unit::Seconds, value);
    Ok(vec![
        seconds("until all caught up", ours.took)
            .to("floor", floor.took)
            .target(Target::RatioAtMost(1.5)),
        seconds("CPU", ours.cpu).to("floor", floor.cpu),
        seconds("CPU of the load generator per second", generators[0]).to("floor", generators[1]),
        seconds("live p99 meanwhile", live.latencies[DURING].quantile(99))
            .to("before", live.latencies[BEFORE].quantile(99))
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

struct Storm<'a> {
    depth: u32,
    /// Number of the last event that each client has seen.
    seen: &'a [u32],
    live_to_all: bool,
}

struct Outcome {
    took: f64,
    cpu: f64,
    /// Processor time of the load generator meanwhile.
    generator: f64,
    live: Option<Done>,
}

impl Storm<'_> {
    /// With live readers, who are alone for as long as `quiet` says, or without.
    fn run(&self, server: &Arc<Server>, quiet: Option<Duration>) -> Result<Outcome> {
        let mut load = Load::new(server.address(), SIZE)?;
        load.tally.races_after = Some(self.depth);
        load.publishers(1)?;
        let (query, topic) =
            if self.live_to_all { ("", None) } else { ("topic=past", Some("past")) };
        let cursors = fill(server, &mut load, self.depth, topic)?;
        let live = match quiet {
            Some(quiet) => Some(self.live(server, quiet)?),
            None => None,
        };
        let (cpu, own, begin) = (server.cpu()?, own_cpu()?, Instant::now());
        let requests = self.seen.iter().map(|number| {
            let cursor = &cursors[*number as usize - 1];
            server.subscribe(Channel::Main, query, Some(cursor))
        });
        load.subscribe(requests)?;
        // who was at the end already is caught up without another event
        let behind = self.seen.iter().filter(|number| **number < self.depth).count();
        load.until("every client is caught up", |load| arrived(load, self.depth) >= behind)?;
        let last = load.tally.arrivals.get(self.depth as usize).and_then(|arrival| arrival.last);
        let took = last.unwrap_or_else(Instant::now).saturating_duration_since(begin);
        if let Some(live) = &live {
            live.phase(AFTER);
        }
        let (cpu, generator) = (server.cpu()? - cpu, own_cpu()? - own);
        let live = live.map(Beside::finish).transpose()?;
        let end = match &live {
            Some(live) if self.live_to_all => live.end,
            _ => self.depth + 1,
        };
        if end > self.depth + 1 {
            let all = self.seen.len();
            load.until("every client has the last event", |load| arrived(load, end - 1) >= all)?;
        }
        verify(&load, self.seen, end)?;
        Ok(Outcome { took: took.as_secs_f64(), cpu, generator, live })
    }

    /// Starts the live readers and leaves them alone for a while.
    fn live(&self, server: &Arc<Server>, quiet: Duration) -> Result<Beside> {
        let plan = Plan {
            channel: Channel::Main,
            query: if self.live_to_all { "" } else { "topic=live" },
            readers: LIVE_READERS,
            per_second: LIVE_PER_SECOND,
            first: self.depth + 1,
            size: SIZE,
            tls: false,
        };
        let live = Beside::start(server, plan)?;
        thread::sleep(quiet);
        live.phase(DURING);
        Ok(live)
    }
}

fn own_cpu() -> Result<f64> {
    Ok(cpu(std::process::id())?.as_secs_f64())
}

/// How many have got an event.
fn arrived(load: &Load, number: u32) -> usize {
    load.tally.arrivals.get(number as usize).map_or(0, |arrival| arrival.count as usize)
}

/// Publishes the events `1..=depth`, and says their cursors.
fn fill(server: &Server, load: &mut Load, depth: u32, topic: Option<&str>) -> Result<Vec<String>> {
    let mut cursors = Vec::new();
    for first in (1..=depth).step_by(BATCH as usize) {
        let numbers = first..(first + BATCH).min(depth + 1);
        let count = numbers.len();
        let events = numbers.map(|number| (number, topic.map(str::to_owned)));
        load.send_and_wait(&server.batch(events, SIZE), 1)?;
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
fn verify(load: &Load, seen: &[u32], end: u32) -> Result<()> {
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
    ensure!(load.tally.disorder == 0, "{} events out of order", load.tally.disorder);
    Ok(())
}

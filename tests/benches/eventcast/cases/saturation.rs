//! Events as fast as sixteen publishers get them acknowledged, but no more than 2,000 a second: what a server delivers when it is never done.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::{Bench, blame};
use crate::{
    load::{Load, tally::due},
    report::{Reading, Unit},
    server::{Channel, Server, Sync},
};

const PUBLISHERS: usize = 16;
const PER_SECOND: u32 = 2_000;
const SIZE: usize = 100;

pub(super) fn round(bench: &Bench) -> Result<Vec<Reading>> {
    let (subscribers, seconds) = bench.options.size((100, 1), (1_000, 5));
    let case = format!("saturation {subscribers}");
    let floor = run(bench, &bench.floor()?, subscribers, seconds)?;
    let ours = run(bench, &bench.broker(Sync::Seldom)?, subscribers, seconds)?;
    let reading = |figure: &str, unit, ours, floor| {
        Reading::new(&case, figure, unit, ours).to("floor", floor)
    };
    Ok(vec![
        reading("deliveries", Unit::PerSecond, ours.rate, floor.rate),
        reading("CPU per delivery", Unit::Seconds, ours.cpu, floor.cpu),
        reading("latency, p99", Unit::Seconds, ours.p99, floor.p99),
    ])
}

struct Outcome {
    rate: f64,
    cpu: f64,
    p99: f64,
}

fn run(bench: &Bench, server: &Server, subscribers: u32, seconds: u32) -> Result<Outcome> {
    blame(server, measure(bench, server, subscribers, seconds))
}

fn measure(bench: &Bench, server: &Server, subscribers: u32, seconds: u32) -> Result<Outcome> {
    let mut load = Load::new(server.address(), SIZE)?;
    load.subscribe((0..subscribers).map(|_| server.subscribe(Channel::Main, "", None)))?;
    bench.subscribed(server, subscribers as usize)?;
    load.publishers(PUBLISHERS)?;
    let (cpu, begin, length) = (server.cpu()?, Instant::now(), Duration::from_secs(seconds.into()));
    let mut next = 1;
    while begin.elapsed() < length {
        let allowed = begin.elapsed().as_secs_f64() * f64::from(PER_SECOND);
        match load.idle_publisher() {
            Some(idle) if f64::from(next) <= allowed => {
                load.tally.sent(next, Instant::now());
                load.send(idle, &server.event(Channel::Main, "", next, SIZE), 1)?;
                next += 1;
            }
            _ => {
                load.turn(Duration::from_millis(1))?;
            }
        }
    }
    let wanted = u64::from(next - 1) * u64::from(subscribers);
    load.until("everyone has every event", |load| load.tally.deliveries >= wanted)?;
    let took = load.tally.last.unwrap_or(begin).saturating_duration_since(begin);
    let cpu = server.cpu()? - cpu;
    let everything = due(1..next); // in any order: sixteen publishers race
    load.verify(|_| everything)?;
    Ok(Outcome {
        rate: wanted as f64 / took.as_secs_f64(),
        cpu: cpu / wanted as f64,
        p99: load.tally.latencies.quantile(99),
    })
}

//! One event of 100 B at a time to everyone: processor time of a delivery, time to the last subscriber, memory of a connection.

use anyhow::Result;

use super::{
    Bench,
    fan_out::{Outcome, Plan},
};
use crate::{
    report::{Reading, Target, Unit},
    server::{Sync, nchan},
};

pub(super) fn round(bench: &Bench) -> Result<Vec<Reading>> {
    let sizes = bench
        .options
        .size([(100, 100), (500, 50), (1_000, 20)], [(1_000, 300), (5_000, 150), (10_000, 100)]);
    let mut readings = Vec::new();
    for (subscribers, events) in sizes {
        readings.extend(size(bench, &Plan::new(subscribers, events))?);
    }
    Ok(readings)
}

fn size(bench: &Bench, plan: &Plan) -> Result<Vec<Reading>> {
    let case = format!("fanout {}", plan.subscribers);
    let largest = plan.subscribers == bench.options.size(1_000, 10_000);
    let floor = plan.run(bench, &bench.floor()?)?;
    let mut readings = Vec::new();
    let mut ours = Vec::new();
    for shards in bench.options.compared_shards() {
        let outcome = plan.run(bench, &bench.broker_with(Some(shards), Sync::Seldom)?)?;
        ours.push((shards, outcome));
        let last = Target::RatioAtMost(if shards == 1 { 1.15 } else { 0.9 });
        let last = (largest && shards > 0).then_some(last);
        readings.extend(of_ours(&case, shards, outcome, floor, last));
    }
    if nchan::installed().is_some() {
        let nchan = plan.run(bench, &bench.nchan()?)?;
        readings.extend(of_nchan(&case, nchan, floor));
        if let Some((shards, ours)) = ours.first() {
            let figure = format!("CPU per delivery, {}", named(*shards));
            let reading = Reading::new(&case, figure + " (nchan)", Unit::Seconds, ours.cpu);
            readings.push(reading.to("nchan", nchan.cpu).target(Target::RatioAtMost(1.0 / 1.6)));
        }
    }
    Ok(readings)
}

fn of_ours(
    case: &str,
    shards: usize,
    ours: Outcome,
    floor: Outcome,
    last: Option<Target>,
) -> Vec<Reading> {
    let reading = |figure: &str, unit, value| {
        Reading::new(case, format!("{figure}, {}", named(shards)), unit, value)
    };
    let mut to_last =
        reading("to the last, median", Unit::Seconds, ours.to_last).to("floor", floor.to_last);
    to_last.target = last;
    vec![
        reading("CPU per delivery", Unit::Seconds, ours.cpu)
            .to("floor", floor.cpu)
            .target(Target::RatioAtMost(1.1)),
        to_last,
        reading("to the last, p99", Unit::Seconds, ours.to_last_p99).to("floor", floor.to_last_p99),
        reading("memory per connection, idle", Unit::Bytes, ours.memory)
            .target(Target::AtMost(2048.0)),
        reading("memory per connection, after the events", Unit::Bytes, ours.memory_after),
        reading("TCP buffers of the kernel per connection", Unit::Bytes, ours.kernel),
    ]
}

fn of_nchan(case: &str, nchan: Outcome, floor: Outcome) -> [Reading; 3] {
    let seconds = |figure: &str, value, floor| {
        Reading::new(case, format!("{figure}, of nchan"), Unit::Seconds, value).to("floor", floor)
    };
    [
        seconds("CPU per delivery", nchan.cpu, floor.cpu),
        seconds("to the last, median", nchan.to_last, floor.to_last),
        Reading::new(case, "memory per connection, idle, of nchan", Unit::Bytes, nchan.memory),
    ]
}

fn named(shards: usize) -> String {
    match shards {
        0 => "no shards".to_owned(),
        1 => "1 shard".to_owned(),
        _ => format!("{shards} shards"),
    }
}

//! Streams of HTTP/2, without TLS and with it: the more of them share a connection, the fewer writes an event takes.

use anyhow::Result;

use super::{Bench, fan_out::Plan};
use crate::{
    report::{Reading, Target, Unit},
    server::Sync,
};

/// Streams on a connection; the most processor time of a delivery, as a ratio to the floor; the most memory of a subscriber.
const SIZES: [(u32, f64, f64); 3] =
    [(1, 1.6, 12.0 * 1024.0), (10, 0.45, 4.0 * 1024.0), (100, 0.25, 3.0 * 1024.0)];

pub(super) fn round(bench: &Bench) -> Result<Vec<Reading>> {
    let (subscribers, groups) = bench.options.size((200, 50), (2_000, 150));
    let plan = Plan::new(subscribers, groups);
    let floor = plan.run(bench, &bench.floor()?)?; // over HTTP/1.1: it knows no other
    let mut readings = Vec::new();
    for tls in [false, true] {
        for (streams, cpu, memory) in SIZES {
            let plan = Plan { streams: Some(streams), tls, ..plan.clone() };
            let server = if tls { bench.broker_with_tls()? } else { bench.broker(Sync::Seldom)? };
            let ours = plan.run(bench, &server)?;
            let name = if tls { "http2 over TLS" } else { "http2" };
            let case = format!("{name} {subscribers}, {streams} per connection");
            let target = |target| (!tls).then_some(target);
            let mut cpu_reading = Reading::new(&case, "CPU per delivery", Unit::Seconds, ours.cpu)
                .to("floor", floor.cpu);
            cpu_reading.target = target(Target::RatioAtMost(cpu));
            let mut memory_reading =
                Reading::new(&case, "memory per subscriber", Unit::Bytes, ours.memory);
            memory_reading.target = target(Target::AtMost(memory));
            let to_last = Reading::new(&case, "to the last, median", Unit::Seconds, ours.to_last);
            readings.extend([cpu_reading, to_last.to("floor", floor.to_last), memory_reading]);
        }
    }
    Ok(readings)
}

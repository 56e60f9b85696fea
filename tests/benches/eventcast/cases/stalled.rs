//! Readers that never read, among readers that do: the others must not notice, and what is kept for the stalled must be little, in the
//! broker and in the kernel.
//!
//! Compared with the same events while all read. What the broker holds of the log is in both, so the growth is what the stalled readers add to it.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::{Bench, blame};
use crate::{
    load::{Load, tally::due},
    measure::{quantile, tcp_memory},
    report::{Reading, Target, Unit},
    server::{Channel, Server, Sync},
};

const SIZE: usize = 16 << 10;
/// With 1,000 readers half of what two processors can move: p99 shall tell of the stalled, not of overload.
const PER_SECOND: u32 = 30;
/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(200);

struct Plan {
    readers: usize,
    stalled: usize,
    events: u32,
}

struct Outcome {
    p99: f64,
    /// What process and kernel held more than before, in bytes: the median of the second half, because what the stalled pin
    /// stays, and what is on its way to the others comes and goes.
    growth: f64,
}

pub(super) fn round(bench: &Bench) -> Result<Vec<Reading>> {
    let (readers, stalled, events) = bench.options.size((100, 10, 100), (1_000, 50, 800)); // 13 MB, before any is closed as stalled
    let with = Plan { readers, stalled, events };
    let without = Plan { readers, stalled: 0, events };
    let without = without.run(bench, &bench.broker(Sync::Seldom)?)?;
    let with = with.run(bench, &bench.broker(Sync::Seldom)?)?;
    let case = format!("stalled {stalled} of {readers}");
    Ok(vec![
        Reading::new(&case, "latency of the others, p99", Unit::Seconds, with.p99)
            .to("none stalled", without.p99)
            .target(Target::RatioAtMost(1.2)),
        Reading::new(&case, "growth by the stalled", Unit::Bytes, with.growth - without.growth)
            .target(Target::AtMost(f64::from(16 << 20))),
    ])
}

impl Plan {
    fn run(&self, bench: &Bench, server: &Server) -> Result<Outcome> {
        blame(server, self.measure(bench, server))
    }

    fn measure(&self, bench: &Bench, server: &Server) -> Result<Outcome> {
        let mut load = Load::new(server.address(), SIZE)?;
        let request = || server.subscribe(Channel::Main, "", None);
        let reading = self.readers - self.stalled;
        load.subscribe((0..reading).map(|_| request()))?;
        for _ in 0..self.stalled {
            load.subscribe_stalled(&request())?;
        }
        bench.subscribed(server, self.readers)?;
        load.publishers(1)?;
        let memory = || Ok::<_, anyhow::Error>(server.rss()? + tcp_memory()?);
        let (before, mut held) = (memory()?, Vec::new());
        let (begin, mut sampled, mut next) = (Instant::now(), Instant::now(), 1);
        while next <= self.events {
            let at = begin + Duration::from_secs(1) * (next - 1) / PER_SECOND;
            let now = Instant::now();
            if at <= now && load.publishers[0].awaited == 0 {
                load.tally.sent(next, at); // when it was due: a late publish is late
                load.send(0, &server.event(Channel::Main, "", next, SIZE), 1)?;
                next += 1;
            }
            load.turn(at.saturating_duration_since(now).min(Duration::from_millis(1)))?;
            if sampled.elapsed() >= SAMPLE {
                sampled = now;
                held.push(memory()? as f64);
            }
        }
        let everything = due(1..next);
        let wanted = u64::from(everything.0) * reading as u64;
        load.until("the others have every event", |load| load.tally.deliveries >= wanted)?;
        held.push(memory()? as f64);
        load.verify(|_| everything)?;
        let second_half = held.len() / 2;
        let growth = quantile(&mut held[second_half..], 50) - before as f64;
        Ok(Outcome { p99: load.tally.latencies.quantile(99), growth })
    }
}

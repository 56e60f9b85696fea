//! A channel with few subscribers beside one with many that is busy all the time: the large one must not hold up the small one.

use std::{sync::Arc, thread, time::Duration};

use anyhow::{Result, ensure};
use tokio::time::Instant;

use super::{
    Bench,
    beside::{Beside, Plan},
    blame,
};
use crate::{
    load::{Load, tally::due},
    report::{Reading, Target, Unit},
    server::{Channel, Server, Sync},
};

const SIZE: usize = 100;
const QUIET: usize = 0;
const BUSY: usize = 1;

pub(super) fn round(bench: &Bench) -> Result<Vec<Reading>> {
    let (subscribers, seconds) = bench.options.size((500, 1), (10_000, 8));
    let server = Arc::new(bench.broker(Sync::Seldom)?);
    let [quiet, busy] = blame(&server, run(bench, &server, subscribers, seconds))?;
    let case = format!("small beside {subscribers}");
    Ok(vec![
        Reading::new(&case, "latency of the small channel, p90", Unit::Seconds, busy[0])
            .to("the large one quiet", quiet[0])
            .target(Target::AtMost(5e-3)),
        Reading::new(&case, "latency of the small channel, p99", Unit::Seconds, busy[1])
            .to("the large one quiet", quiet[1]),
    ])
}

/// 90th and 99th percentile of the small channel, while the large one is quiet and while it is busy.
fn run(
    bench: &Bench,
    server: &Arc<Server>,
    subscribers: u32,
    seconds: u64,
) -> Result<[[f64; 2]; 2]> {
    let length = Duration::from_secs(seconds);
    let mut load = Load::new(server.address(), SIZE)?;
    load.subscribe((0..subscribers).map(|_| server.subscribe(Channel::Main, "", None)))?;
    bench.subscribed(server, subscribers as usize)?;
    load.publishers(1)?;
    let plan = Plan {
        channel: Channel::Small,
        query: "",
        readers: 10,
        per_second: 50,
        first: 1,
        size: SIZE,
        tls: false,
    };
    let beside = Beside::start(server, plan)?;
    thread::sleep(length / 2);
    beside.phase(BUSY);
    let (begin, mut next) = (Instant::now(), 1);
    while begin.elapsed() < length {
        // the next is there before the last has arrived everywhere: the channel is never idle
        let wanted = u64::from(next.max(2) - 2) * u64::from(subscribers);
        load.send_and_wait(&server.event(Channel::Main, "", next, SIZE), 1)?;
        load.until("everyone has the event before", |load| load.tally.deliveries >= wanted)?;
        next += 1;
    }
    let done = beside.finish()?;
    let wanted = u64::from(next - 1) * u64::from(subscribers);
    load.until("everyone has every event", |load| load.tally.deliveries >= wanted)?;
    let everything = due(1..next);
    load.verify(|_| everything)?;
    ensure!(load.tally.disorder == 0, "{} events out of order", load.tally.disorder);
    Ok([QUIET, BUSY].map(|phase| [90, 99].map(|percent| done.latencies[phase].quantile(percent))))
}

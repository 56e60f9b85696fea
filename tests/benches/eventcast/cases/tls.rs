//! Fan-out over TLS, compared with the same broker without TLS; and ten thousand handshakes while others receive events.

use std::{sync::Arc, thread, time::Duration};

use anyhow::Result;

use super::{
    Bench,
    beside::{self, Beside},
    blame, fan_out,
};
use crate::{
    load::Load,
    report::{Reading, Target, Unit},
    server::Channel,
};

const SIZE: usize = 100;
const LIVE_READERS: usize = 100;
const LIVE_PER_SECOND: u32 = 50;
const BEFORE: usize = 0;
const DURING: usize = 1;
const AFTER: usize = 2;

pub(super) fn round(bench: &Bench) -> Result<Vec<Reading>> {
    let mut readings = Vec::new();
    for (subscribers, groups) in
        bench.options.size(vec![(100, 100)], vec![(1_000, 300), (5_000, 150)])
    {
        let plan = fan_out::Plan::new(subscribers, groups);
        let plain = plan.run(bench, &bench.broker_with_tls()?)?;
        let plan = fan_out::Plan { tls: true, ..plan };
        let tls = plan.run(bench, &bench.broker_with_tls()?)?;
        let case = format!("tls {subscribers}");
        let reading = |figure: &str, unit, value| Reading::new(&case, figure, unit, value);
        readings.push(
            reading("CPU per delivery", Unit::Seconds, tls.cpu)
                .to("plaintext", plain.cpu)
                .target(Target::RatioAtMost(1.25)),
        );
        readings.push(
            reading("to the last, median", Unit::Seconds, tls.to_last)
                .to("plaintext", plain.to_last),
        );
        readings.push(
            reading("memory per subscriber, idle", Unit::Bytes, tls.memory)
                .target(Target::AtMost(6144.0)),
        );
        let after =
            reading("memory per subscriber, after the events", Unit::Bytes, tls.memory_after);
        readings.push(after.to("plaintext", plain.memory_after));
    }
    readings.extend(connects(bench)?);
    Ok(readings)
}

/// Everyone connects, with a full handshake, while a few readers get events.
fn connects(bench: &Bench) -> Result<Vec<Reading>> {
    let clients: usize = bench.options.size(500, 10_000);
    let quiet = Duration::from_secs(bench.options.size(1, 4));
    let mut cpu = Vec::new();
    let mut live = None;
    for tls in [false, true] {
        let server = Arc::new(bench.broker_with_tls()?);
        let run = || -> Result<_> {
            let plan = beside::Plan {
                channel: Channel::Main,
                query: "topic=live",
                readers: LIVE_READERS,
                per_second: LIVE_PER_SECOND,
                first: 1,
                size: SIZE,
                tls,
            };
            let beside = Beside::start(&server, plan)?;
            thread::sleep(quiet);
            beside.phase(DURING);
            let before = server.cpu()?;
            let mut load = Load::new(server.address(), SIZE)?;
            if tls {
                load.use_tls(server.secure_address()?);
            }
            let request = server.subscribe(Channel::Main, "topic=none", None);
            load.subscribe((0..clients).map(|_| request.clone()))?;
            let used = server.cpu()? - before;
            beside.phase(AFTER);
            Ok((used / clients as f64, beside.finish()?))
        };
        let (used, done) = blame(&server, run())?;
        cpu.push(used);
        live = Some(done);
    }
    let case = format!("tls, {clients} connects");
    let seconds = |figure: &str, value| Reading::new(&case, figure, Unit::Seconds, value);
    let mut readings = vec![seconds("CPU per connect and stream", cpu[1]).to("plaintext", cpu[0])];
    if let Some(live) = live {
        readings.push(
            seconds("live p99 meanwhile", live.latencies[DURING].quantile(99))
                .to("before", live.latencies[BEFORE].quantile(99))
                .target(Target::AtMost(50e-3)),
        );
    }
    Ok(readings)
}

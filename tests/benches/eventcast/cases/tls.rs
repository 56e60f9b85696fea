//! Fan-out over TLS, compared with the same broker without TLS; and ten thousand handshakes while others receive events.

use std::sync::Arc;

use anyhow::Result;

use super::{
    Bench, fan_out,
    newcomers::{self, LIVE_TARGET},
};
use crate::{
    report::{Reading, Target, Unit},
    server::Channel,
};

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
    let run = |tls: bool| {
        let server = Arc::new(bench.broker_with_tls()?);
        let request = server.subscribe(Channel::Main, "topic=none", None);
        newcomers::connect(bench, &server, tls, (0..clients).map(|_| request.clone()))
    };
    let (plain, tls) = (run(false)?, run(true)?);
    let case = format!("tls, {clients} connects");
    let seconds = |figure: &str, value| Reading::new(&case, figure, Unit::Seconds, value);
    Ok(vec![
        seconds("CPU per connect and stream", tls.cpu).to("plaintext", plain.cpu),
        seconds("live p99 meanwhile", tls.live).to("before", tls.live_before).target(LIVE_TARGET),
    ])
}

//! What others notice while something happens to the broker: a few live readers get events before it, and meanwhile. The usual thing
//! to happen: thousands connect.

use std::{sync::Arc, thread, time::Duration};

use anyhow::Result;

use super::{
    Bench,
    beside::{Beside, Plan},
    blame,
};
use crate::{
    load::Load,
    report::Target,
    server::{Channel, Server},
};

/// What the live readers may wait.
pub(super) const LIVE_TARGET: Target = Target::AtMost(50e-3);

const SIZE: usize = 100;
const LIVE_READERS: usize = 100;
const LIVE_PER_SECOND: u32 = 50;
const BEFORE: usize = 0;
const DURING: usize = 1;
const AFTER: usize = 2;

/// What connecting costs; times in seconds.
pub(super) struct Connected {
    /// Processor time of the broker for each connection.
    pub(super) cpu: f64,
    pub(super) live_before: f64,
    pub(super) live: f64,
}

/// Connects a subscriber for each request.
pub(super) fn connect(
    bench: &Bench,
    server: &Arc<Server>,
    tls: bool,
    requests: impl ExactSizeIterator<Item = Vec<u8>>,
) -> Result<Connected> {
    let clients = requests.len() as f64;
    let (cpu, live) = while_live(bench, server, tls, || {
        let before = server.cpu()?;
        let mut load = Load::new(server.address(), SIZE)?;
        if tls {
            load.use_tls(server.secure_address()?, "http/1.1");
        }
        load.subscribe(requests)?;
        Ok((server.cpu()? - before, load)) // connected until the live readers have ended
    })?;
    Ok(Connected { cpu: cpu.0 / clients, live_before: live[BEFORE], live: live[DURING] })
}

/// Does something while live readers get events. Says what came of it, and their 99th percentile before and meanwhile, in seconds.
pub(super) fn while_live<T>(
    bench: &Bench,
    server: &Arc<Server>,
    tls: bool,
    something: impl FnOnce() -> Result<T>,
) -> Result<(T, [f64; 2])> {
    let run = || -> Result<_> {
        let plan = Plan {
            channel: Channel::Main,
            query: "topic=live",
            readers: LIVE_READERS,
            per_second: LIVE_PER_SECOND,
            first: 1,
            size: SIZE,
            tls,
        };
        let beside = Beside::start(server, plan)?;
        thread::sleep(Duration::from_secs(bench.options.size(1, 4)));
        beside.phase(DURING);
        let outcome = something()?;
        beside.phase(AFTER);
        let latencies = beside.finish()?.latencies;
        Ok((outcome, [BEFORE, DURING].map(|phase| latencies[phase].quantile(99))))
    };
    blame(server, run())
}

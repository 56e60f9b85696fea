//! What traces cost where nothing is sampled: the processor time of an event, with traces and without.
//!
//! The difference is smaller than what runs differ by. So both brokers run at the same time and take turns, each turn is compared with the
//! one beside it, and the median of these ratios is given.

use anyhow::Result;

use super::{Bench, blame};
use crate::{
    load::Load,
    measure::quantile,
    report::{Reading, Target, Unit},
    server::{Channel, Server, Setup},
};

const SIZE: usize = 100;
/// An event of a turn is published when the one before it has been acknowledged, so each is a pass of its own.
const EVENTS: u32 = 500;

pub(super) fn round(bench: &Bench) -> Result<Vec<Reading>> {
    let turns = bench.options.size(2, 40);
    let mut readings = Vec::new();
    for (case, subscribers) in [("traces, publish", 0), ("traces, publish and pass", 100)] {
        let side = |traces| Side::start(bench, traces, subscribers);
        let (mut without, mut with) = (side(false)?, side(true)?);
        let (mut base, mut ratios) = (Vec::new(), Vec::new());
        for turn in 0..=turns {
            // Whoever is second finds other caches than who is first.
            let (off, on) = if turn % 2 == 0 {
                let off = without.turn()?;
                (off, with.turn()?)
            } else {
                let on = with.turn()?;
                (without.turn()?, on)
            };
            // The first turn warms up.
            if turn > 0 {
                base.push(off);
                ratios.push(on / off);
            }
        }
        let (base, ratio) = (quantile(&mut base, 50), quantile(&mut ratios, 50));
        let reading = Reading::new(case, "CPU per event", Unit::Seconds, base * ratio);
        readings.push(reading.to("without", base).target(Target::RatioAtMost(1.01)));
    }
    Ok(readings)
}

/// A broker, its subscribers and its publisher.
struct Side {
    server: Server,
    load: Load,
    subscribers: u64,
    request: Vec<u8>,
}

impl Side {
    fn start(bench: &Bench, traces: bool, subscribers: u32) -> Result<Self> {
        let shards = bench.options.shards();
        let server =
            bench.block_on(Server::broker(Setup { shards, traces, ..Setup::default() }))?;
        let mut load = Load::new(server.address(), SIZE)?;
        load.publishers(1)?;
        let requests = (0..subscribers).map(|_| server.subscribe(Channel::Main, "", None));
        load.subscribe(requests)?;
        bench.subscribed(&server, subscribers as usize)?;
        let request = server.event(Channel::Main, "", 0, SIZE);
        Ok(Self { server, load, subscribers: u64::from(subscribers), request })
    }

    /// Processor time of an event.
    fn turn(&mut self) -> Result<f64> {
        let cpu = self.server.cpu()?;
        let publish = |load: &mut Load| {
            let wanted = load.tally.deliveries + u64::from(EVENTS) * self.subscribers;
            for _ in 0..EVENTS {
                load.send_and_wait(&self.request, 1)?;
            }
            load.until("everything is delivered", |load| load.tally.deliveries >= wanted)
        };
        blame(&self.server, publish(&mut self.load))?;
        Ok((self.server.cpu()? - cpu) / f64::from(EVENTS))
    }
}

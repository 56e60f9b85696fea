//! Ten events at once: whoever sends each of them to each subscriber on its own pays ten times, the floor too.

use anyhow::Result;

use super::{Bench, fan_out::Plan};
use crate::{
    report::{Reading, Target, Unit},
    server::{Sync, nchan},
};

const BURST: u32 = 10;

pub(super) fn round(bench: &Bench) -> Result<Vec<Reading>> {
    let (subscribers, groups) = bench.options.size((200, 20), (5_000, 20));
    let plan = Plan { burst: BURST, ..Plan::new(subscribers, groups) };
    let case = format!("bursts {subscribers}");
    let floor = plan.run(bench, &bench.floor()?)?;
    let ours = plan.run(bench, &bench.broker(Sync::Seldom)?)?;
    let seconds = |figure: &str, value| Reading::new(&case, figure, Unit::Seconds, value);
    let mut readings = vec![
        seconds("CPU per delivery", ours.cpu)
            .to("floor", floor.cpu)
            .target(Target::RatioAtMost(0.2)),
        seconds("to the last, median", ours.to_last).to("floor", floor.to_last),
    ];
    if nchan::installed().is_some() {
        let nchan = plan.run(bench, &bench.nchan()?)?;
        readings.push(seconds("CPU per delivery, of nchan", nchan.cpu).to("floor", floor.cpu));
        readings.push(
            seconds("CPU per delivery (nchan)", ours.cpu)
                .to("nchan", nchan.cpu)
                .target(Target::RatioAtMost(1.0 / 1.6)),
        );
    }
    Ok(readings)
}

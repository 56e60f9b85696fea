//! Filters that let everything pass: features may not be bought with the floor.

use anyhow::Result;

use super::{
    Bench,
    fan_out::{Plan, Subscription},
};
use crate::{
    report::{Reading, Target, Unit},
    server::Sync,
};

pub(super) fn round(bench: &Bench) -> Result<Vec<Reading>> {
    let (subscribers, groups) = bench.options.size((200, 50), (5_000, 150));
    let plan = Plan { subscription: Subscription::Filters, ..Plan::new(subscribers, groups) };
    let case = format!("filters {subscribers}");
    let floor = plan.run(bench, &bench.floor()?)?;
    let ours = plan.run(bench, &bench.broker(Sync::Seldom)?)?;
    Ok(vec![
        Reading::new(&case, "CPU per delivery", Unit::Seconds, ours.cpu)
            .to("floor", floor.cpu)
            .target(Target::RatioAtMost(1.1)),
        Reading::new(&case, "to the last, median", Unit::Seconds, ours.to_last)
            .to("floor", floor.to_last),
        Reading::new(&case, "memory per connection, idle", Unit::Bytes, ours.memory),
    ])
}

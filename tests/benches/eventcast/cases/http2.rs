//! Streams of HTTP/2 without TLS: dearer than the floor where each has a connection, cheaper where many share one.

use anyhow::Result;

use super::{Bench, fan_out::Plan};
use crate::{
    report::{Reading, Unit},
    server::Sync,
};

pub(super) fn round(bench: &Bench) -> Result<Vec<Reading>> {
    let (subscribers, groups) = bench.options.size((200, 50), (2_000, 150));
    let plan = Plan::new(subscribers, groups);
    let floor = plan.run(bench, &bench.floor()?)?; // over HTTP/1.1: it knows no other
    let mut readings = Vec::new();
    for streams in [1, 10, 100] {
        let plan = Plan { streams: Some(streams), ..plan.clone() };
        let ours = plan.run(bench, &bench.broker(Sync::Seldom)?)?;
        let case = format!("http2 {subscribers}, {streams} per connection");
        readings.push(
            Reading::new(&case, "CPU per delivery", Unit::Seconds, ours.cpu).to("floor", floor.cpu),
        );
        readings.push(
            Reading::new(&case, "to the last, median", Unit::Seconds, ours.to_last)
                .to("floor", floor.to_last),
        );
        readings.push(Reading::new(&case, "memory per subscriber", Unit::Bytes, ours.memory));
    }
    Ok(readings)
}

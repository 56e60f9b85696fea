//! The autopilot of a channel: how many brokers it needs, and which of them should close streams. Pure: the time is an argument.
//!
//! Each *look* at the brokers gives one [`Plan`]. What has to be remembered between looks is lost with the process: then no broker is removed
//! until a whole window was seen, and no stream is moved before the third look.

mod input;
mod output;

pub use input::{Broker, Count, Frozen, Scaling, Spec, World};
pub use output::{Autoscaled, Balanced, GivenUp, News, Orders, Plan, State};

/// What is remembered between looks.
#[derive(Debug, Default)]
pub struct Memory;

/// Plans nothing yet.
pub fn plan(
    _now: std::time::Duration,
    _spec: &Spec,
    _world: &World,
    _brokers: &[Broker],
    _memory: &mut Memory,
) -> Plan {
    Plan::default()
}

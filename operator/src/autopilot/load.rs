//! How many brokers a load needs.

use super::{counts::Look, input::Scaling};

/// Loads are exact: whole numbers of brokers and thousandths of them.
const UNIT: u128 = 1000;

/// How many brokers the load of one look needs, not limited by the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needed {
    /// With this many the target is met.
    pub(super) at_least: i32,
    /// With this many there is a fifth to spare.
    pub(super) with_spare: i32,
}

/// A load in brokers: `amount / per_broker`.
#[derive(Clone, Copy, Debug)]
struct Load {
    amount: u128,
    per_broker: u128,
}

impl Load {
    const NONE: Self = Self { amount: 0, per_broker: 1 };

    fn at_least(self) -> i32 {
        number(self.amount.div_ceil(self.per_broker))
    }

    fn with_spare(self) -> i32 {
        number((self.amount * 5).div_ceil(self.per_broker * 4))
    }
}

fn number(brokers: u128) -> i32 {
    i32::try_from(brokers).unwrap_or(i32::MAX)
}

/// What the streams and the processor time need. `cpu_before` is the mean processor time of the look before: what uses the processor only
/// for a moment adds no broker, but what used it in the window keeps them.
pub(super) fn needed(scaling: &Scaling, look: &Look<'_>, cpu_before: Option<u64>) -> Needed {
    let streams = scaling.subscribers_per_broker.map_or(Load::NONE, |target| Load {
        amount: look.total.into(),
        per_broker: u128::from(target.max(1)),
    });
    let ready = look.serving().count() as u128;
    let cpu = |mean: Option<u64>| match (scaling.cpu_percent, mean) {
        (Some(percent), Some(mean)) => Load {
            amount: u128::from(mean) * ready * 100,
            per_broker: u128::from(percent.max(1)) * UNIT,
        },
        _ => Load::NONE,
    };
    let lasting = cpu_before.and_then(|before| look.cpu.map(|now| now.min(before)));
    Needed {
        at_least: streams.at_least().max(cpu(lasting).at_least()),
        with_spare: streams.with_spare().max(cpu(look.cpu).with_spare()),
    }
}

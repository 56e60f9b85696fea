//! What the drain of a broker does. Pure.

use crate::{
    answers::Drain,
    printable::{counted, printable},
};

/// Lines for people.
pub(crate) fn drain(drain: &Drain) -> String {
    let Drain { broker, draining, streams, delay_seconds, drain_seconds, grace_seconds } = drain;
    let broker = printable(broker);
    if *draining {
        let streams = counted(*streams, "stream");
        return format!("{broker} is draining already, {streams} left\n");
    }
    let streams = counted(*streams, "stream");
    format!(
        "{broker} is not ready any more, and closes {streams} within {drain_seconds} s, beginning in {delay_seconds} s.\n\
         Its clients reconnect to other brokers. It ends within {grace_seconds} s, and Kubernetes starts its container again.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::golden;

    #[test]
    fn drains_match_the_golden_file() {
        let of = |draining, streams| Drain {
            broker: "orders-broker-6d5f9c7b8-2xk4".into(),
            draining,
            streams,
            delay_seconds: 5,
            drain_seconds: 15,
            grace_seconds: 28,
        };
        golden("drain", &(drain(&of(false, 415)) + &drain(&of(true, 1))));
    }
}

//! Log filters of programs. Pure.

use super::{table, units};
use crate::{answers::LogLevel, printable::printable};

/// One line for each program.
pub(crate) fn log_levels(levels: &[LogLevel]) -> String {
    let mut rows = vec![["POD", "FILTER", "UNTIL", "CONFIGURED"].map(str::to_owned)];
    for level in levels {
        let until = match (level.temporary, level.seconds_left) {
            (false, _) => "-".to_owned(),
            (true, None) => "restart".to_owned(),
            (true, Some(seconds)) => format!("in {}", units::age(seconds as f64)),
        };
        let [pod, filter, configured] =
            [&level.pod, &level.filter, &level.configured].map(|text| printable(text));
        rows.push([pod, filter, until, configured]);
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::golden;

    #[test]
    fn log_levels_match_the_golden_file() {
        let level = |filter: &str, temporary, seconds_left| LogLevel {
            pod: "orders-broker-6d5f9c7b8-2xk4".into(),
            filter: filter.into(),
            configured: "info,async_nats=warn".into(),
            temporary,
            seconds_left,
        };
        let all = [
            level("info,async_nats=warn", false, None),
            level("debug", true, Some(598)),
            level("trace", true, None),
        ];
        golden("log_levels", &log_levels(&all));
    }
}

//! The result of a load test. Pure.

use super::table;
use crate::measured::{Measured, Times};

/// Lines for people.
pub(crate) fn measured(measured: &Measured) -> String {
    let Measured { subscribers, published, failed, rate, delivered, lost, .. } = measured;
    let row = |name: &str, value: String| [name.to_owned(), value];
    let mut out = table(&[
        row("subscribers", subscribers.to_string()),
        row("published", format!("{published} ({rate}/s)")),
        row("failed", failed.to_string()),
        row("delivered", delivered.to_string()),
        row("lost", lost.to_string()),
        row("duplicates", measured.duplicates.to_string()),
        row("gaps", measured.gaps.to_string()),
        row("reconnects", measured.reconnects.to_string()),
    ]);
    let ms = |ms: Option<f64>| ms.map_or_else(|| "-".into(), |ms| format!("{ms:.1} ms"));
    let times =
        |name: &str, times: Times| [name.into(), ms(times.p50), ms(times.p99), ms(times.max)];
    out += "\n";
    out += &table(&[
        ["", "P50", "P99", "MAX"].map(str::to_owned),
        times("publish to acknowledgement", measured.publish),
        times("publish to arrival", measured.delivery),
    ]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::golden;

    #[test]
    fn results_match_the_golden_file() {
        let times = |p50| Times { p50: Some(p50), p99: Some(12.345), max: Some(120.0) };
        let good = Measured {
            subscribers: 50,
            published: 100,
            failed: 0,
            rate: 10.0,
            delivered: 5000,
            lost: 0,
            duplicates: 0,
            gaps: 0,
            reconnects: 0,
            publish: times(0.91),
            delivery: times(1.4),
        };
        let none = Times { p50: None, p99: None, max: None };
        let bad =
            Measured { published: 0, failed: 7, publish: none, delivery: none, ..good.clone() };
        assert!(good.complete().is_ok() && bad.complete().is_err());
        golden("measured", &(measured(&good) + "\n" + &measured(&bad)));
    }
}

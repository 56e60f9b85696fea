//! The reference of metrics as Markdown, from the families that a program registers. Programs do not call it: their tests keep the
//! documents up to date with it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use prometheus::proto::{MetricFamily, MetricType};

/// The value of a label that tests give where its values are not a closed set. The reference then lists none.
pub const ANY: &str = "…";

/// Labels whose values are not listed.
const OPEN: [&str; 3] = ["architecture", "channel", "version"];

/// A table with one row for each family: name, type, labels with their values, and meaning. Values that are [`ANY`] or depend on where a
/// program runs are not listed.
#[must_use]
pub fn markdown(families: &[MetricFamily]) -> String {
    let mut table = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for family in families {
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            MetricType::SUMMARY => "summary",
            MetricType::UNTYPED => "untyped",
        };
        let help = family.help().replace('|', "\\|");
        let row = format!("| `{}` | {kind} | {} | {help} |\n", family.name(), labels(family));
        table.push_str(&row);
    }
    table
}

/// The labels of a family with all their values.
fn labels(family: &MetricFamily) -> String {
    let mut labels = BTreeMap::<&str, BTreeSet<&str>>::new();
    for pair in family.get_metric().iter().flat_map(|metric| metric.get_label()) {
        let values = labels.entry(pair.name()).or_default();
        if pair.value() != ANY && !OPEN.contains(&pair.name()) {
            values.insert(pair.value());
        }
    }
    let list = labels.into_iter().map(|(name, values)| {
        let values: Vec<_> = values.into_iter().map(|value| format!("`{value}`")).collect();
        match values.as_slice() {
            [] => format!("`{name}`"),
            values => format!("`{name}`: {}", values.join(", ")),
        }
    });
    list.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use prometheus::{IntCounterVec, IntGauge, Opts, core::Collector as _};

    use super::*;

    #[test]
    fn a_row_has_the_labels_and_their_values() {
        let counter =
            IntCounterVec::new(Opts::new("a_total", "All."), &["channel", "by", "key"]).unwrap();
        counter.with_label_values(&["x", "one", ANY]);
        counter.with_label_values(&["x", "two", ANY]);
        let gauge = IntGauge::new("b", "One | two.").unwrap();
        let families = [counter.collect(), gauge.collect()].concat();
        assert_eq!(
            markdown(&families),
            "| metric | type | labels | meaning |\n|---|---|---|---|\n\
             | `a_total` | counter | `by`: `one`, `two`; `channel`; `key` | All. |\n\
             | `b` | gauge |  | One \\| two. |\n"
        );
    }
}

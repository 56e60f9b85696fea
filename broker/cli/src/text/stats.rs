//! Statistics. Pure.

use std::collections::BTreeMap;

use super::table;

use crate::{answers::Stats, printable::printable};

/// Names of a map that are shown.
const SHOWN_NAMES: usize = 20;
/// Buckets that are shown.
const SHOWN_BUCKETS: usize = 60;
/// Characters of the longest bar.
const BAR: u64 = 40;

/// Statistics as a table for people.
pub(crate) fn stats(stats: &Stats) -> String {
    let row = |name: &str, value: u64| [name.to_owned(), value.to_string()];
    let mut out = table(&[row("events", stats.events), row("bytes", stats.bytes)]);
    if !stats.complete {
        out.push_str("incomplete: the range is longer than what was scanned\n");
    }
    names(&mut out, "TYPE", &stats.types, stats.other.types, "-");
    names(&mut out, "TOPIC", &stats.topics, stats.other.topics, "(broadcast)");
    names(&mut out, "SOURCE", &stats.sources, stats.other.sources, "(none)");
    buckets(&mut out, stats);
    out
}

/// The names with the most events, and the rest as one number.
fn names(out: &mut String, title: &str, counts: &BTreeMap<String, u64>, other: u64, empty: &str) {
    if counts.is_empty() {
        return;
    }
    let mut sorted: Vec<(&String, &u64)> = counts.iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let rest = sorted.iter().skip(SHOWN_NAMES).map(|(_, count)| **count).sum::<u64>() + other;
    let shown = sorted.into_iter().take(SHOWN_NAMES).map(|(name, count)| {
        let name = if name.is_empty() { empty.to_owned() } else { printable(name) };
        [name, count.to_string()]
    });
    let mut rows = vec![[title.to_owned(), "EVENTS".to_owned()]];
    rows.extend(shown);
    if rest > 0 {
        rows.push(["(others)".to_owned(), rest.to_string()]);
    }
    out.push('\n');
    out.push_str(&table(&rows));
}

/// The newest buckets, with bars.
fn buckets(out: &mut String, stats: &Stats) {
    if stats.buckets.is_empty() {
        return;
    }
    let skipped = stats.buckets.len().saturating_sub(SHOWN_BUCKETS);
    let shown = &stats.buckets[skipped..];
    let most = shown.iter().map(|bucket| bucket.events).max().unwrap_or_default().max(1);
    let mut rows = vec![["START", "EVENTS", ""].map(str::to_owned)];
    for bucket in shown {
        let length = (bucket.events * BAR).div_ceil(most);
        let bar = "#".repeat(usize::try_from(length).unwrap_or_default());
        rows.push([printable(&bucket.start), bucket.events.to_string(), bar]);
    }
    out.push('\n');
    if skipped > 0 {
        out.push_str(&format!("{skipped} older buckets are not shown: -o json has all\n"));
    }
    out.push_str(&table(&rows));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        answers::{Bucket, Other},
        text::golden,
    };

    #[test]
    fn statistics_match_the_golden_file() {
        let count = |name: &str, events| (name.to_owned(), events);
        let bucket = |minute: u64| Bucket {
            start: format!("2026-11-20T19:{minute:02}:00Z"),
            events: minute,
        };
        let few = Stats {
            events: 12,
            bytes: 480,
            types: BTreeMap::from([count("order.paid", 5), count("order.open", 7)]),
            topics: BTreeMap::from([count("", 5), count("user.42", 7)]),
            sources: BTreeMap::from([count("", 1), count("/shop", 11)]),
            buckets: (50..55).map(bucket).collect(),
            other: Other { topics: 3, ..Other::default() },
            complete: true,
            ..Stats::default()
        };
        let many = Stats {
            types: (0..25).map(|n| (format!("type.{n}"), n)).collect(),
            buckets: (0..70).map(bucket).collect(),
            ..Stats::default()
        };
        golden("stats", &format!("{}\n---\n{}", stats(&few), stats(&many)));
    }
}

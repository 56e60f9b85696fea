//! `eventcast stats`.

use std::collections::BTreeMap;

use super::{history::Range, reach};
use crate::{
    answers::{Bucket, Stats},
    failure::Failure,
    format::Format,
    output, text,
};

/// Names and buckets that are kept while answers are added up.
const MAX_NAMES: usize = 10_000;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    reach: reach::ReachOptions,
    #[command(flatten)]
    range: Range,
    /// Length of a bucket: 10s, 5m, 1h, 1d.
    #[arg(long, default_value = "1m")]
    bucket: String,
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let Options { reach, range, bucket, output } = options;
    let channel = reach.channel().await?;
    let mut query = range.query();
    query.add("bucket", bucket);
    let mut sum: Option<Stats> = None;
    loop {
        let part: Stats = channel.get("/stats", &query).await?;
        if let Some(gap) = &part.gap {
            output::note(&text::gap(gap));
        }
        let next = part.next.clone().filter(|_| !part.complete);
        sum = Some(match sum {
            Some(sum) => add(sum, part),
            None => part,
        });
        match next {
            Some(next) => query = query.with("from", next),
            None => break,
        }
    }
    let sum = sum.unwrap_or_default();
    match output {
        Format::Table => output::print(&text::stats(&sum)),
        Format::Json | Format::Jsonl => {
            output::print(&(serde_json::to_string(&sum).unwrap_or_default() + "\n"))
        }
    }
}

/// The statistics of two ranges, the second of which follows the first.
fn add(mut sum: Stats, next: Stats) -> Stats {
    sum.events += next.events;
    sum.bytes += next.bytes;
    sum.scanned += next.scanned;
    sum.other.types += next.other.types + add_names(&mut sum.types, next.types);
    sum.other.topics += next.other.topics + add_names(&mut sum.topics, next.topics);
    sum.other.sources += next.other.sources + add_names(&mut sum.sources, next.sources);
    sum.other.buckets += next.other.buckets + add_buckets(&mut sum.buckets, next.buckets);
    sum.gap = sum.gap.or(next.gap);
    (sum.next, sum.complete) = (next.next, next.complete);
    sum
}

/// Returns what has no place.
fn add_names(sum: &mut BTreeMap<String, u64>, next: BTreeMap<String, u64>) -> u64 {
    let mut rest = 0;
    for (name, count) in next {
        if sum.len() < MAX_NAMES || sum.contains_key(&name) {
            *sum.entry(name).or_default() += count;
        } else {
            rest += count;
        }
    }
    rest
}

/// Returns what has no place. A bucket may begin in one range and end in the next.
fn add_buckets(sum: &mut Vec<Bucket>, next: Vec<Bucket>) -> u64 {
    let mut rest = 0;
    for bucket in next {
        let is_full = sum.len() >= MAX_NAMES;
        match sum.iter_mut().rev().find(|known| known.start == bucket.start) {
            Some(known) => known.events += bucket.events,
            None if is_full => rest += bucket.events,
            None => sum.push(bucket),
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::Other;

    #[test]
    fn statistics_of_two_ranges_are_added() {
        let part = |name: &str, events, starts: &[&str], complete: bool| Stats {
            events,
            bytes: 10 * events,
            types: BTreeMap::from([(name.to_owned(), events), ("both".to_owned(), 1)]),
            buckets: starts.iter().map(|s| Bucket { start: (*s).into(), events: 1 }).collect(),
            other: Other { topics: 1, ..Other::default() },
            next: (!complete).then(|| "k-9-a".to_owned()),
            complete,
            scanned: 5,
            ..Stats::default()
        };
        let sum = add(part("a", 2, &["1", "2"], false), part("b", 3, &["2", "3"], true));
        assert_eq!((sum.events, sum.bytes, sum.scanned, sum.complete), (5, 50, 10, true));
        assert_eq!(sum.types["both"], 2);
        assert_eq!((sum.types["a"], sum.types["b"]), (2, 3));
        assert_eq!((sum.other.topics, sum.next), (2, None));
        let buckets: Vec<_> = sum.buckets.iter().map(|b| (b.start.as_str(), b.events)).collect();
        assert_eq!(buckets, [("1", 1), ("2", 2), ("3", 1)]);
    }
}

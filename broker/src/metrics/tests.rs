use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use eventcast_crds::broker_status::{AccessProblem, AccessReason, DeliveryReport};
use eventcast_runtime::metrics_reference::{ANY, markdown};
use eventcast_wire::{closing::CloseReason, event::BadEvent, gap::GapReason};
use expect_test::expect_file;
use proptest::prelude::*;

use super::*;
use crate::delivery::DeliveryLedger;

/// What stands before the table.
const REFERENCE: &str = "# Metrics of brokers

`/metrics` on the admin port of a broker. How to read them: [Running a broker, and its metrics](../OPERATIONS.md#metrics). Generated from the code by `make docs`.
`channel` is `<namespace>/<name>`. Values of labels are listed where they are a closed set; all of those have a series from the start, at 0.

";

fn scrape(metrics: &Metrics) -> String {
    String::from_utf8(metrics.render()).unwrap()
}

/// Touches every family, also those whose further labels are born with the first event.
fn use_all(of: &ChannelMetrics) {
    of.subscribers.inc();
    of.connected("latest");
    of.disconnected(CloseReason::Draining);
    of.rejected("limit-channel");
    of.skipped(BadEvent::NotUtf8);
    of.gap(GapReason::Expired);
    of.record(&DeliveryLedger::gap(3));
    of.tail_reset("silence");
    of.page_load("read");
    of.published("stored", 2);
    of.live.set(0);
}

#[test]
fn a_removed_channel_leaves_no_series() {
    let all = Metrics::new().unwrap();
    let (one, other) = (all.channel("default/one"), all.channel("default/other"));
    use_all(&one);
    use_all(&other);
    assert!(scrape(&all).contains("default/one"));
    let user = Arc::clone(&one);
    drop(one);
    assert!(scrape(&all).contains("default/one"), "a stream of it still counts");
    drop(user);
    let left = scrape(&all);
    assert!(!left.contains("default/one"), "{left}");
    assert!(left.contains("eventcast_gaps_total{channel=\"default/other\",reason=\"expired\"} 1"));
}

/// `docs/reference/metrics-broker.md` lists every family. `make docs` writes it.
#[test]
fn the_reference_is_up_to_date() {
    let all = Metrics::new().unwrap();
    let channel = all.channel("shop/orders");
    channel.access(ANY, ANY);
    channel.access_keys([(ANY, 1, Some(Duration::ZERO))].into_iter());
    let problems = AccessReason::ALL.map(|reason| AccessProblem {
        what: ANY.into(),
        reason,
        detail: String::new(),
    });
    channel.access_problems(&problems);
    channel.delivery(Some(&DeliveryReport::default()));
    all.http_requests.begin_at_zero(ANY, ANY, &[]);
    all.shard_busy(0);
    all.channels_by_state(&[("live", 1), ("detached", 0), ("parked", 0)]);
    let text = REFERENCE.to_owned() + &markdown(&all.registry.gather());
    expect_file!["../../../docs/reference/metrics-broker.md"].assert_eq(&text);
}

/// Names that differ in a digit have hashes that differ in little.
#[test]
fn every_channel_of_many_has_series_until_it_is_removed() {
    let all = Metrics::new().unwrap();
    let mut open: Vec<_> = (0..1000).map(|n| all.channel(&format!("default/n{n}"))).collect();
    let exported = || {
        let text = scrape(&all);
        let is_live = |line: &&str| line.starts_with("eventcast_channel_live{");
        text.lines().filter(is_live).count()
    };
    assert_eq!(exported(), 1000);
    open.truncate(500);
    assert_eq!(exported(), 500);
}

#[test]
fn a_reopened_channel_has_new_series_while_streams_of_the_earlier_opening_end() {
    let all = Metrics::new().unwrap();
    let earlier = all.channel("default/one");
    use_all(&earlier);
    let present = all.channel("default/one");
    use_all(&earlier);
    let begun = scrape(&all);
    assert!(begun.contains("eventcast_subscribers{channel=\"default/one\"} 0"), "{begun}");
    let ended = "eventcast_disconnects_total{channel=\"default/one\",reason=\"draining\"} 0";
    assert!(begun.contains(ended), "of the earlier opening: {begun}");
    drop(earlier);
    present.subscribers.inc();
    let after = scrape(&all);
    assert!(after.contains("eventcast_subscribers{channel=\"default/one\"} 1"), "{after}");
    drop(present);
    assert!(!scrape(&all).contains("default/one"));
}

/// The samples of counters and of histograms in a scrape.
fn counted(text: &str) -> HashMap<String, f64> {
    let is_counter = |name: &str| {
        ["_total", "_bucket", "_sum", "_count"].iter().any(|suffix| name.ends_with(suffix))
    };
    text.lines()
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(series, _)| {
            series
                .split_once('{')
                .is_some_and(|(name, rest)| is_counter(name) && rest.starts_with("channel="))
        })
        .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
        .collect()
}

/// What `increase()` of Prometheus finds from one scrape to the next: nothing in the first sample of a series, and a value that has fallen
/// for one that began anew.
fn increase(before: &HashMap<String, f64>, after: &HashMap<String, f64>, metric: &str) -> f64 {
    let of = |series: &String| series.starts_with(metric);
    after
        .iter()
        .filter(|(series, _)| of(series))
        .filter_map(|(series, now)| {
            before.get(series).map(|then| if now >= then { now - then } else { *now })
        })
        .sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whichever channels have series of their own, the sum of all rates is what was counted.
    #[test]
    fn sums_of_rates_are_what_was_counted(
        steps in proptest::collection::vec(proptest::collection::vec((0usize..70, 0u8..8), 0..60), 1..12),
    ) {
        let all = Metrics::new().unwrap();
        let rest = all.for_parked_channels();
        let mut open: HashMap<usize, Arc<ChannelMetrics>> = HashMap::new();
        let mut before = counted(&scrape(&all));
        for step in steps {
            let (mut stored, mut connects, mut latencies) = (0, 0, 0);
            for (channel, what) in step {
                let metrics = match what {
                    0 => {
                        open.remove(&channel); // parked
                        continue;
                    }
                    1 => Arc::clone(&rest),
                    _ => Arc::clone(open.entry(channel).or_insert_with(|| all.channel(&format!("a/{channel}")))),
                };
                match what {
                    1 | 2 => { metrics.published("stored", 3); stored += 3; }
                    3 | 4 => { metrics.connected("latest"); metrics.subscribers.inc(); connects += 1; }
                    5 => metrics.subscribers.set(0),
                    _ => { metrics.log_to_tail.observe(0.003); latencies += 1; }
                }
            }
            let text = scrape(&all);
            let after = counted(&text);
            let named: HashSet<_> = after.keys().filter_map(|series| series.split('"').nth(1)).collect();
            prop_assert!(named.len() <= MAX_CHANNELS + 1);
            for (metric, expected) in [
                ("eventcast_publish_total", stored),
                ("eventcast_connects_total", connects),
                ("eventcast_fanout_seconds_count", latencies),
            ] {
                prop_assert_eq!(increase(&before, &after, metric), f64::from(expected), "{}", metric);
            }
            prop_assert!((increase(&before, &after, "eventcast_fanout_seconds_sum") - 0.003 * f64::from(latencies)).abs() < 1e-6);
            before = after;
        }
    }
}

use eventcast_wire::closing::CloseReason;
use eventcast_wire::{event::BadEvent, gap::GapReason};

use super::*;
use crate::delivery::DeliveryLedger;

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

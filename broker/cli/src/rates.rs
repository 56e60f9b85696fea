//! What channels do, from two scrapes of their brokers. Pure.

use serde::Serialize;

use crate::metrics::Metrics;

/// The histogram of the time from the log to the sockets.
const LATENCY: &str = "eventcast_fanout_seconds_bucket";

/// Two scrapes of one broker.
#[derive(Clone, Debug)]
pub(crate) struct Scrapes {
    pub(crate) before: Metrics,
    pub(crate) after: Metrics,
}

/// One channel, on all of its brokers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Activity {
    pub(crate) channel: String,
    pub(crate) subscribers: f64,
    /// Subscribers that have not reached the newest event.
    pub(crate) behind: f64,
    /// Events that were published, in a second.
    pub(crate) events: f64,
    /// Events that were delivered to all subscribers, in a second.
    pub(crate) delivered: f64,
    /// Bytes that were written to them, in a second.
    pub(crate) bytes: f64,
    /// Seconds in which 99 of 100 deliveries were made: the upper limit of a bucket. `None` without a delivery.
    pub(crate) p99: Option<f64>,
    /// Events that were declared lost since the brokers started.
    pub(crate) lost: f64,
}

impl Activity {
    /// What `channel` has done in the `seconds` between the scrapes of its brokers.
    pub(crate) fn of(channel: &str, brokers: &[Scrapes], seconds: f64) -> Self {
        let own = ("channel", channel);
        let now = |name: &str, labels: &[(&str, &str)]| {
            brokers.iter().filter_map(|scrapes| scrapes.after.sum(name, labels)).sum::<f64>()
        };
        // A broker that was restarted between the scrapes counts from 0.
        let rate = |scrapes: &Scrapes, name: &str, labels: &[(&str, &str)]| {
            let after = scrapes.after.sum(name, labels).unwrap_or_default();
            let before = scrapes.before.sum(name, labels).unwrap_or_default();
            (after - before).max(0.0) / seconds
        };
        let all = |name: &str, labels: &[(&str, &str)]| {
            brokers.iter().map(|scrapes| rate(scrapes, name, labels)).sum::<f64>()
        };
        // Each broker reads every event.
        let read = brokers.iter().map(|scrapes| rate(scrapes, "eventcast_events_in_total", &[own]));
        let outcome = "eventcast_subscriber_events_total";
        Self {
            channel: channel.to_owned(),
            subscribers: now("eventcast_subscribers", &[own]),
            behind: now("eventcast_subscribers_catching_up", &[own]),
            events: read.fold(0.0, f64::max),
            delivered: all(outcome, &[own, ("outcome", "delivered")]),
            bytes: all("eventcast_bytes_out_total", &[own]),
            p99: quantile(brokers, &[own, ("stage", "log_to_write")], 0.99),
            lost: now(outcome, &[own, ("outcome", "lost")]),
        }
    }
}

fn quantile(brokers: &[Scrapes], labels: &[(&str, &str)], share: f64) -> Option<f64> {
    let limits = brokers.iter().flat_map(|scrapes| scrapes.after.limits(LATENCY, labels));
    let mut limits: Vec<f64> = limits.collect();
    limits.sort_by(f64::total_cmp);
    limits.dedup();
    let count = |limit: f64| {
        let of = |scrapes: &Scrapes| {
            let after = scrapes.after.up_to(LATENCY, labels, limit);
            (after - scrapes.before.up_to(LATENCY, labels, limit)).max(0.0)
        };
        brokers.iter().map(of).sum::<f64>()
    };
    let all = count(*limits.last()?);
    if all == 0.0 {
        return None;
    }
    limits.into_iter().find(|limit| count(*limit) >= share * all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(events: u64, delivered: u64, fast: u64, all: u64) -> Metrics {
        let latency = |le: &str, count| {
            format!(
                "eventcast_fanout_seconds_bucket{{channel=\"a/b\",stage=\"log_to_write\",le=\"{le}\"}} {count}\n"
            )
        };
        let text = format!(
            "eventcast_subscribers{{channel=\"a/b\"}} 3\neventcast_subscribers{{channel=\"a/c\"}} 9\n\
             eventcast_events_in_total{{channel=\"a/b\"}} {events}\n\
             eventcast_subscriber_events_total{{channel=\"a/b\",outcome=\"delivered\"}} {delivered}\n\
             eventcast_subscriber_events_total{{channel=\"a/b\",outcome=\"lost\"}} 2\n"
        );
        Metrics::parse(
            &(text + &latency("0.01", fast) + &latency("0.1", all) + &latency("+Inf", all)),
        )
    }

    #[test]
    fn brokers_are_added_up_and_their_common_log_is_not() {
        let scrapes = Scrapes { before: scrape(10, 30, 5, 5), after: scrape(20, 60, 105, 110) };
        let activity = Activity::of("a/b", &[scrapes.clone(), scrapes], 5.0);
        let wanted = Activity {
            channel: "a/b".into(),
            subscribers: 6.0,
            behind: 0.0,
            events: 2.0,
            delivered: 12.0,
            bytes: 0.0,
            p99: Some(0.1),
            lost: 4.0,
        };
        assert_eq!(activity, wanted);
    }

    #[test]
    fn a_restarted_broker_and_a_silent_channel_have_no_rates() {
        let scrapes = Scrapes { before: scrape(20, 60, 9, 9), after: scrape(1, 3, 1, 1) };
        let activity = Activity::of("a/b", &[scrapes], 5.0);
        assert_eq!((activity.events, activity.delivered, activity.p99), (0.0, 0.0, None));
    }
}

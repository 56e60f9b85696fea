//! What channels do. Pure.

use super::{table, units};
use crate::{printable::printable, rates::Activity};

/// Channels, those with the most subscribers first.
pub(crate) fn top(activities: &[Activity]) -> String {
    let mut sorted: Vec<&Activity> = activities.iter().collect();
    sorted.sort_by(|a, b| {
        b.subscribers
            .total_cmp(&a.subscribers)
            .then(b.events.total_cmp(&a.events))
            .then(a.channel.cmp(&b.channel))
    });
    let header =
        ["CHANNEL", "SUBSCRIBERS", "BEHIND", "EVENTS/S", "DELIVERED/S", "BYTES/S", "P99", "LOST"];
    let mut rows = vec![header.map(str::to_owned)];
    for activity in sorted {
        rows.push([
            printable(&activity.channel),
            format!("{:.0}", activity.subscribers),
            format!("{:.0}", activity.behind),
            format!("{:.1}", activity.events),
            format!("{:.1}", activity.delivered),
            units::bytes(activity.bytes),
            activity.p99.map_or_else(|| "-".into(), latency),
            format!("{:.0}", activity.lost),
        ]);
    }
    table(&rows)
}

/// The upper limit of a bucket.
fn latency(seconds: f64) -> String {
    if seconds.is_infinite() {
        return "over the largest bucket".into();
    }
    format!("<{} ms", seconds * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::golden;

    #[test]
    fn channels_match_the_golden_file() {
        let activity = |channel: &str, subscribers, p99| Activity {
            channel: channel.into(),
            subscribers,
            behind: 3.0,
            events: 12.25,
            delivered: 4980.0,
            bytes: 1_258_291.0,
            p99,
            lost: 0.0,
        };
        let all = [
            activity("shop/quiet", 0.0, None),
            activity("shop/orders", 415.0, Some(0.005)),
            activity("shop/slow", 7.0, Some(f64::INFINITY)),
        ];
        golden("top", &top(&all));
    }
}

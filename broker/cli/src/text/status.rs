//! The status of a channel, its brokers and its Events. Pure.

use eventcast_crds::{channel::EventChannel, conditions::Advice};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;

use super::{table, units};
use crate::{
    brokers::{Broker, MAX_BROKERS},
    conditions::{Verdict, advice, verdict},
    docs_link::docs_link,
    metrics::Metrics,
    printable::printable,
    target::ChannelName,
};

/// Events that are shown.
const SHOWN_EVENTS: usize = 10;

/// What is known of a channel.
pub(crate) struct View<'a> {
    pub(crate) name: &'a ChannelName,
    pub(crate) channel: &'a EventChannel,
    pub(crate) brokers: &'a [Broker],
    pub(crate) events: &'a [Event],
    /// What cannot be read, and why.
    pub(crate) unknown: &'a [String],
    pub(crate) now: Timestamp,
}

/// All of it.
pub(crate) fn status(view: &View<'_>) -> String {
    let mut out = summary(view);
    out.push_str(&conditions(view));
    out.push_str(&brokers(view));
    out.push_str(&events(view));
    for line in view.unknown {
        out.push_str(&format!("\n{line}\n"));
    }
    out
}

fn summary(view: &View<'_>) -> String {
    let ChannelName { namespace, name } = view.name;
    let status = view.channel.status.clone().unwrap_or_default();
    let mut rows = vec![["channel".to_owned(), format!("{namespace}/{name}")]];
    let mut add = |name: &str, value: Option<String>| {
        rows.extend(value.map(|value| [name.to_owned(), printable(&value)]));
    };
    add(
        "deleted",
        view.channel.metadata.deletion_timestamp.as_ref().map(|time| {
            let age = units::age(view.now.duration_since(time.0).as_secs_f64());
            format!("for {age}; an operator has to finish it: is one running?")
        }),
    );
    add("url", Some(status.url.unwrap_or_else(|| "none yet".into())));
    add("brokers", status.brokers);
    add("pool", status.pool.map(|pool| pool.name));
    add("subscribers", status.subscribers.map(|count| count.to_string()));
    add("stream", status.stream.map(|stream| format!("{}, epoch {}", stream.name, stream.epoch)));
    add("log", log(view));
    table(&rows)
}

/// How full the log is, by the first broker that says so.
fn log(view: &View<'_>) -> Option<String> {
    let ChannelName { namespace, name } = view.name;
    let channel = format!("{namespace}/{name}");
    let answers = view.brokers.iter().filter_map(|broker| broker.answer.as_ref()?.as_ref().ok());
    let metrics: Vec<&Metrics> = answers.map(|answer| &answer.metrics).collect();
    let value =
        |name: &str| metrics.iter().find_map(|metrics| metrics.sum(name, &[("channel", &channel)]));
    let held = value("eventcast_log_bytes")?;
    let mut text = units::bytes(held);
    if let Some(max) = value("eventcast_log_max_bytes").filter(|max| *max > 0.0) {
        let percent = 100.0 * held / max;
        text += &format!(" of {} ({percent:.0} %)", units::bytes(max));
    }
    if let Some(events) = value("eventcast_log_events") {
        text += &format!(", {events} events");
    }
    if let Some(oldest) = value("eventcast_log_oldest_seconds").filter(|oldest| *oldest > 0.0) {
        text += &format!(", the oldest {}", units::age(oldest));
    }
    Some(text)
}

fn conditions(view: &View<'_>) -> String {
    let status = view.channel.status.clone().unwrap_or_default();
    if status.conditions.is_empty() {
        return "\nno operator has seen the channel yet: is one running, and does it watch this namespace?\n".into();
    }
    let mut rows = vec![["CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"].map(str::to_owned)];
    let mut hints = String::new();
    for condition in &status.conditions {
        let since = view.now.duration_since(condition.last_transition_time.0).as_secs_f64();
        let mark = match verdict(condition) {
            Verdict::Good => "  ",
            Verdict::Unknown | Verdict::Bad => "! ",
            Verdict::Broken => "!!",
        };
        rows.push([
            format!("{mark}{}", condition.type_),
            condition.status.clone(),
            condition.reason.clone(),
            units::age(since),
            printable(&condition.message),
        ]);
        if let Some(Advice { step, page }) = advice(condition) {
            let hint = format!("{}: {step}: {}\n", condition.reason, docs_link(page));
            if !hints.contains(&hint) {
                hints += &hint;
            }
        }
    }
    let gap = if hints.is_empty() { "" } else { "\n" };
    format!("\n{}{gap}{hints}", table(&rows))
}

fn brokers(view: &View<'_>) -> String {
    if view.brokers.is_empty() {
        return "\nno brokers\n".into();
    }
    let ChannelName { namespace, name } = view.name;
    let channel = format!("{namespace}/{name}");
    let mut rows =
        vec![["BROKER", "VERSION", "SUBSCRIBERS", "BEHIND", "LIVE", "PROBLEM"].map(str::to_owned)];
    for broker in view.brokers {
        let mut row = [broker.pod.as_str(), "-", "-", "-", "-", &broker.trouble].map(str::to_owned);
        match &broker.answer {
            None => {}
            Some(Err(why)) if broker.trouble.is_empty() => row[5].clone_from(why),
            Some(Err(why)) => row[5] = format!("{}; {why}", broker.trouble),
            Some(Ok(answer)) => {
                row[1].clone_from(&answer.state.version);
                if let Some(report) = answer.state.channel(&channel) {
                    row[2] = report.subscribers.to_string();
                    row[3] = report.catching_up.to_string();
                    row[4] = if report.live { "yes" } else { "no" }.to_owned();
                    let access = report.access.iter().map(|problem| problem.detail.as_str());
                    let problems = report.problem.as_deref().into_iter().chain(access);
                    let own = [broker.trouble.as_str()].into_iter();
                    let all: Vec<_> = own.chain(problems).filter(|text| !text.is_empty()).collect();
                    row[5] = all.join("; ");
                } else {
                    row[5] = "does not serve the channel".to_owned();
                }
            }
        }
        rows.push(row.map(|cell| printable(&cell)));
    }
    let more = if view.brokers.len() >= MAX_BROKERS { "more brokers are not asked\n" } else { "" };
    format!("\n{}{more}", table(&rows))
}

fn events(view: &View<'_>) -> String {
    if view.events.is_empty() {
        return String::new();
    }
    let time = |event: &Event| {
        let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
        let micro = series.or(event.event_time.as_ref()).map(|time| time.0);
        event.last_timestamp.as_ref().map(|time| time.0).or(micro)
    };
    let mut events: Vec<&Event> = view.events.iter().collect();
    events.sort_by_key(|event| std::cmp::Reverse(time(event)));
    let mut rows = vec![["EVENT", "REASON", "AGE", "MESSAGE"].map(str::to_owned)];
    for event in events.into_iter().take(SHOWN_EVENTS) {
        let age = time(event).map(|at| view.now.duration_since(at).as_secs_f64());
        let text = |value: &Option<String>| printable(value.as_deref().unwrap_or_default());
        rows.push([
            text(&event.type_),
            text(&event.reason),
            age.map_or_else(|| "-".into(), units::age),
            text(&event.message),
        ]);
    }
    format!("\n{}", table(&rows))
}

#[cfg(test)]
mod tests {
    use eventcast_crds::broker_status::BrokerStatus;
    use serde_json::{Value, json};

    use super::*;
    use crate::{brokers::Answer, text::golden};

    const NOW: &str = "2026-11-20T20:00:00Z";

    fn channel(status: &Value) -> EventChannel {
        let kind = json!({"apiVersion": "eventcast.dev/v1alpha1", "kind": "EventChannel", "spec": {},
            "metadata": {"name": "orders", "namespace": "shop"}, "status": status});
        serde_json::from_value(kind).unwrap()
    }

    fn condition(name: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({"type": name, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-11-20T19:54:05Z"})
    }

    fn shown(
        channel: &EventChannel,
        brokers: &[Broker],
        events: &[Event],
        unknown: &[String],
    ) -> String {
        let name = ChannelName { namespace: "shop".into(), name: "orders".into() };
        let now = NOW.parse().unwrap();
        status(&View { name: &name, channel, brokers, events, unknown, now })
    }

    #[test]
    fn a_status_matches_the_golden_file() {
        let good = channel(&json!({
            "url": "https://events.example.com/channels/shop/orders/events", "brokers": "2/2", "subscribers": 415,
            "stream": {"name": "SSE_shop_orders", "epoch": "k7q2m8", "created": "2026-11-01T00:00:00Z"},
            "conditions": [
                condition("Ready", "True", "Ready", ""),
                condition("DeliveryVerified", "False", "Buffered", "events are held back: nginx buffers responses"),
            ],
        }));
        let state: BrokerStatus = serde_json::from_value(json!({"version": "0.1.0", "channels": [{
            "channel": "shop/orders", "subscribers": 412, "catchingUp": 3, "live": true,
            "access": [{"what": "api keys", "reason": "SecretMissing", "detail": "no Secret keys"}]}]}))
        .unwrap();
        let metrics = "eventcast_log_bytes{channel=\"shop/orders\"} 536870912\neventcast_log_max_bytes{channel=\"shop/orders\"} 1073741824\n\
            eventcast_log_events{channel=\"shop/orders\"} 12345\neventcast_log_oldest_seconds{channel=\"shop/orders\"} 300000\n";
        let broker = |pod: &str, trouble: &str, answer| Broker {
            pod: pod.into(),
            trouble: trouble.into(),
            answer,
        };
        let brokers = [
            broker(
                "orders-broker-a",
                "",
                Some(Ok(Answer { state, metrics: Metrics::parse(metrics) })),
            ),
            broker("orders-broker-b", "NotReady", Some(Err("no answer within 10s".into()))),
            broker("orders-broker-c", "ImagePullBackOff", None),
        ];
        let event = |reason: &str, at: &str| {
            serde_json::from_value::<Event>(
                json!({"metadata": {}, "involvedObject": {}, "type": "Warning",
                "reason": reason, "message": "it\nhappened", "lastTimestamp": at}),
            )
            .unwrap()
        };
        let events =
            [event("Older", "2026-11-20T18:00:00Z"), event("Newer", "2026-11-20T19:59:59Z")];
        let mut text =
            shown(&good, &brokers, &events, &["Events cannot be listed: forbidden".into()]);
        text += "\n---\n";
        let broken = channel(&json!({"conditions": [
            condition("Ready", "False", "NatsUnreachable", "no connection to nats://nats:4222"),
            condition("StreamReady", "False", "NatsUnreachable", "no connection to nats://nats:4222"),
        ]}));
        text += &shown(&broken, &[], &[], &[]);
        text += "\n---\n";
        let mut deleted = channel(&json!({}));
        deleted.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-11-20T19:58:00Z")).unwrap();
        text += &shown(&deleted, &[], &[], &[]);
        golden("status", &text);
    }
}

//! A channel: its conditions and its brokers. Pure.

use eventcast_crds::channel::EventChannel;

use super::{Finding, Section, page};
use crate::{
    brokers::Broker,
    conditions::{Verdict, advice, verdict},
    target::ChannelName,
};

/// What a channel and its brokers say of themselves.
pub(crate) fn findings(
    name: &ChannelName,
    channel: &EventChannel,
    brokers: &[Broker],
) -> Vec<Finding> {
    let ChannelName { namespace, name } = name;
    let mut section = Section::new(format!("channel {namespace}/{name}"));
    conditions(channel, &mut section);
    about_brokers(&format!("{namespace}/{name}"), brokers, &mut section);
    section.done()
}

fn conditions(channel: &EventChannel, section: &mut Section) {
    let status = channel.status.clone().unwrap_or_default();
    if status.conditions.is_empty() {
        let what = "no operator has seen the channel";
        section.fail(
            what,
            "is an operator running, and does it watch this namespace?",
            page::CHANNEL,
        );
        return;
    }
    if channel.metadata.deletion_timestamp.is_some() {
        let what = "the channel is being deleted";
        section.warn(what, "an operator has to finish it: is one running?", page::CHANNEL);
    }
    if status.observed_generation != channel.metadata.generation {
        let what = "the newest change was not reconciled yet";
        section.warn(what, "wait, or read the log of the operator", page::CHANNEL);
    }
    for condition in &status.conditions {
        // It repeats one of the others.
        if condition.type_ == "Ready" || condition.type_ == "Stalled" {
            continue;
        }
        let what = format!("{} ({})", condition.type_, condition.reason);
        let what = match condition.message.as_str() {
            "" => what,
            message => format!("{what}: {message}"),
        };
        let advice = advice(condition);
        let (do_this, page) = advice.map_or(("", page::CHANNEL), |a| (a.step, a.page));
        match verdict(condition) {
            Verdict::Good => section.ok(format!("{} ({})", condition.type_, condition.reason)),
            Verdict::Unknown => section.warn(format!("{what}, not judged yet"), "", page),
            Verdict::Bad => section.warn(what, do_this, page),
            Verdict::Broken => section.fail(what, do_this, page),
        }
    }
}

fn about_brokers(channel: &str, brokers: &[Broker], section: &mut Section) {
    let mut versions: Vec<&str> = Vec::new();
    let mut good = 0;
    for broker in brokers {
        let pod = &broker.pod;
        if !broker.trouble.is_empty() {
            let advice = format!("kubectl describe pod {pod}");
            section.warn(
                format!("broker {pod}: {}", broker.trouble),
                &advice,
                page::TROUBLESHOOTING,
            );
            continue;
        }
        let answer = match &broker.answer {
            None => continue,
            Some(Err(why)) => {
                let what = format!("broker {pod} cannot be asked: {why}");
                section.warn(what, "", page::NETWORK);
                continue;
            }
            Some(Ok(answer)) => answer,
        };
        versions.push(&answer.state.version);
        match answer.state.channel(channel) {
            None => {
                let what = format!("broker {pod} does not serve the channel");
                section.fail(
                    what,
                    "wait a minute: the kubelet brings its configuration",
                    page::CHANNEL,
                );
            }
            Some(report) if !report.live => {
                let what = format!("broker {pod} cannot follow the log");
                section.fail(what, "read its log, and check NATS", page::TROUBLESHOOTING);
            }
            Some(_) => good += 1,
        }
    }
    versions.sort_unstable();
    versions.dedup();
    if good > 0 {
        section.ok(format!("{good} of {} brokers follow the log", brokers.len()));
    }
    if versions.len() > 1 {
        let what = format!("brokers have different versions: {}", versions.join(", "));
        section.warn(what, "wait for the end of the rollout", page::UPGRADING);
    }
}

#[cfg(test)]
mod tests {
    use eventcast_crds::broker_status::BrokerStatus;
    use serde_json::{Value, json};

    use super::*;
    use crate::{brokers::Answer, check::Level, metrics::Metrics};

    fn channel(conditions: &Value) -> EventChannel {
        serde_json::from_value(json!({
            "apiVersion": "eventcast.dev/v1alpha1", "kind": "EventChannel", "spec": {},
            "metadata": {"name": "a", "namespace": "b", "generation": 2},
            "status": {"observedGeneration": 2, "conditions": conditions},
        }))
        .unwrap()
    }

    fn found(channel: &EventChannel, brokers: &[Broker]) -> Vec<(Level, String)> {
        let name = ChannelName { namespace: "b".into(), name: "a".into() };
        let findings = findings(&name, channel, brokers);
        findings.into_iter().map(|finding| (finding.level, finding.what)).collect()
    }

    fn broker(version: &str, live: bool) -> Broker {
        let state: BrokerStatus = serde_json::from_value(json!({"version": version, "channels": [
            {"channel": "b/a", "subscribers": 1, "catchingUp": 0, "live": live}]}))
        .unwrap();
        let answer = Answer { state, metrics: Metrics::default() };
        Broker { pod: version.into(), trouble: String::new(), answer: Some(Ok(answer)) }
    }

    #[test]
    fn conditions_become_findings() {
        let condition = |name: &str, status: &str, reason: &str| {
            json!({"type": name, "status": status, "reason": reason, "message": "m",
                "lastTransitionTime": "2026-11-20T19:54:05Z"})
        };
        let channel = channel(&json!([
            condition("Ready", "False", "NatsUnreachable"),
            condition("Accepted", "True", "Valid"),
            condition("StreamReady", "False", "NatsUnreachable"),
            condition("AccessReady", "False", "SecretMissing"),
            condition("DeliveryVerified", "Unknown", "NotProbed"),
        ]));
        let wanted = [
            (Level::Ok, "Accepted (Valid)"),
            (Level::Fail, "StreamReady (NatsUnreachable): m"),
            (Level::Warn, "AccessReady (SecretMissing): m"),
            (Level::Warn, "DeliveryVerified (NotProbed): m, not judged yet"),
        ];
        assert_eq!(found(&channel, &[]), wanted.map(|(level, what)| (level, what.to_owned())));
    }

    #[test]
    fn brokers_are_compared() {
        let channel = channel(&json!([]));
        let trouble = Broker { pod: "p".into(), trouble: "Pending".into(), answer: None };
        let found = found(&channel, &[broker("1.0.0", true), broker("1.1.0", false), trouble]);
        let wanted = [
            (Level::Fail, "no operator has seen the channel"),
            (Level::Fail, "broker 1.1.0 cannot follow the log"),
            (Level::Warn, "broker p: Pending"),
            (Level::Ok, "1 of 3 brokers follow the log"),
            (Level::Warn, "brokers have different versions: 1.0.0, 1.1.0"),
        ];
        assert_eq!(found, wanted.map(|(level, what)| (level, what.to_owned())));
    }
}

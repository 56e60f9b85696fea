//! What to do about the conditions of a channel. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Conditions without which clients are not served. Others tell of something that is wrong besides.
const SERVING: [&str; 4] = ["Accepted", "StreamReady", "Available", "Exposed"];

/// What a condition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    /// It cannot be judged yet.
    Unknown,
    /// Clients are served all the same.
    Bad,
    /// Clients are not served, or soon will not be.
    Broken,
}

/// Ready summarises others. Stalled and Paused are bad if they are true.
pub(crate) fn verdict(condition: &Condition) -> Verdict {
    let name = condition.type_.as_str();
    match (condition.status.as_str(), name) {
        ("Unknown", _) => Verdict::Unknown,
        ("True", "Paused") | ("False", "Balanced" | "Autoscaled" | "UpToDate") => Verdict::Bad,
        ("True", "Stalled") => Verdict::Broken,
        ("False", "Stalled" | "Paused") | ("True", _) => Verdict::Good,
        (_, "Ready") => Verdict::Broken,
        (_, name) if SERVING.contains(&name) => Verdict::Broken,
        _ => Verdict::Bad,
    }
}

/// What to do about a reason, and the page that says more. The message of a condition says what is wrong.
const ADVICE: [(&str, &str, &str); 40] = [
    ("InvalidSpec", "correct the field that the message names", "KUBERNETES.md#a-channel"),
    ("Unreadable", "upgrade the operator: it is older than the object", "UPGRADING.md"),
    (
        "NameConflict",
        "rename the channel, or delete the object that has its name",
        "KUBERNETES.md#the-status",
    ),
    (
        "ApplyFailed",
        "the API server refuses an object: see the message and the log of the operator",
        "TROUBLESHOOTING.md",
    ),
    ("PoolMissing", "create the pool, or remove brokers.pool", "POOLS.md#a-pool-and-its-channels"),
    (
        "NotAllowedByPool",
        "add the namespace to channels.namespaces of the pool",
        "POOLS.md#a-pool-and-its-channels",
    ),
    (
        "PoolFull",
        "raise channels.max of the pool, or choose another one",
        "POOLS.md#a-pool-and-its-channels",
    ),
    (
        "SecretNotInPool",
        "a channel in a pool cannot use this Secret: give it brokers of its own",
        "POOLS.md#a-pool-and-its-channels",
    ),
    (
        "NotInPool",
        "remove the field that a channel in a pool cannot have",
        "POOLS.md#a-pool-and-its-channels",
    ),
    ("NatsUnreachable", "check that NATS runs and that the operator may connect to it", "NATS.md"),
    ("NatsTooOld", "upgrade nats-server to 2.12.3 or later", "NATS.md"),
    (
        "NotOwned",
        "the stream belongs to somebody else: set stream.adoptionPolicy or stream.name",
        "KUBERNETES.md#a-channel",
    ),
    (
        "SubjectConflict",
        "another stream has these subjects: change stream.subjectPrefix, or delete that stream",
        "KUBERNETES.md#a-channel",
    ),
    (
        "QuotaExceeded",
        "lower retention.maxBytes of channels, or give JetStream more storage",
        "NATS.md",
    ),
    ("TooFewServers", "lower retention.replicas, or add servers to the NATS cluster", "NATS.md"),
    (
        "ImmutableDrift",
        "undo the change, or recreate the stream: JetStream cannot make it",
        "KUBERNETES.md#the-status",
    ),
    ("NatsRefused", "see the message: NATS refuses the stream", "NATS.md"),
    (
        "StreamNotDeleted",
        "set deletionPolicy to Retain to delete the channel and keep the stream",
        "KUBERNETES.md#the-status",
    ),
    (
        "WaitingForBrokers",
        "wait; if it stays: kubectl describe the pods of the brokers",
        "TROUBLESHOOTING.md",
    ),
    ("ImageUnavailable", "check the name of the image and imagePullSecrets", "INSTALL.md"),
    ("BrokersCrashing", "read the log of a broker: kubectl logs --previous", "TROUBLESHOOTING.md"),
    ("Unschedulable", "add nodes, or lower brokers.resources", "KUBERNETES.md#a-channel"),
    ("ScaledToZero", "set brokers.replicas to one at least", "SCALING.md"),
    (
        "ConfigRejected",
        "the pool is older than the channel, or the channel is invalid: see the message",
        "POOLS.md",
    ),
    ("LogUnavailable", "check NATS and the permissions of the brokers there", "NATS.md"),
    ("GatewayApiMissing", "install the Gateway API, or use exposure.ingress", "proxies/README.md"),
    (
        "RouteNotAccepted",
        "see the message: the Gateway does not accept the HTTPRoute",
        "proxies/README.md",
    ),
    (
        "SecretMissing",
        "create the Secret that the message names, in the namespace of the channel",
        "KUBERNETES.md#access",
    ),
    ("KeysInvalid", "put valid keys into the Secret: a JWK set or PEM", "ACCESS.md#recipes"),
    (
        "KeysUnreachable",
        "brokers cannot fetch the keys: check jwksUrl and egress",
        "ACCESS.md#recipes",
    ),
    (
        "KeysStale",
        "keys were not fetched for 15 minutes: check jwksUrl and egress",
        "ACCESS.md#recipes",
    ),
    ("NoReviewRights", "set rbac.kubernetesIdentities of the chart", "KUBERNETES.md#access"),
    (
        "NoSharedState",
        "check NATS and the permissions of the brokers there",
        "ACCESS.md#what-brokers-share",
    ),
    ("CertificateInvalid", "put a certificate and its key into the Secret", "KUBERNETES.md#tls"),
    ("CertificateExpiring", "renew the certificate", "KUBERNETES.md#tls"),
    (
        "TokensGrantNothing",
        "give the issuer subscribe, publish, manage or grantsClaim",
        "ACCESS.md#recipes",
    ),
    (
        "Halted",
        "the new version does not get well: see the message",
        "UPGRADING.md#what-an-upgrade-does-to-channels",
    ),
    ("AtMaximum", "raise brokers.autoscaling.maxReplicas", "SCALING.md#what-to-look-at"),
    (
        "ForeignAutoscaler",
        "remove the other autoscaler, or brokers.autoscaling",
        "SCALING.md#what-to-look-at",
    ),
    (
        "RightsMissing",
        "upgrade the chart: the operator lacks a permission",
        "SCALING.md#what-to-look-at",
    ),
];

/// What to do about a condition that is not good, and a page.
pub(crate) fn advice(condition: &Condition) -> Option<(&'static str, &'static str)> {
    if matches!(verdict(condition), Verdict::Good | Verdict::Unknown) {
        return None;
    }
    if condition.type_ == "DeliveryVerified" {
        // The message names the setting of the proxy.
        return Some(("change what the message says", "DELIVERY-PROBE.md#what-it-finds"));
    }
    let known = ADVICE.iter().find(|(reason, ..)| *reason == condition.reason);
    known.map(|(_, what, page)| (*what, *page))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use serde_json::json;

    use super::*;

    fn condition(name: &str, status: &str, reason: &str) -> Condition {
        let since = "2026-11-20T19:54:05Z";
        serde_json::from_value(json!({
            "type": name, "status": status, "reason": reason, "message": "", "lastTransitionTime": since,
        }))
        .unwrap()
    }

    #[test]
    fn what_keeps_clients_from_being_served_is_worse() {
        for (name, status, wanted) in [
            ("Ready", "True", Verdict::Good),
            ("Available", "False", Verdict::Broken),
            ("AccessReady", "False", Verdict::Bad),
            ("DeliveryVerified", "Unknown", Verdict::Unknown),
            ("Stalled", "True", Verdict::Broken),
            ("Paused", "True", Verdict::Bad),
            ("Balanced", "False", Verdict::Bad),
        ] {
            assert_eq!(verdict(&condition(name, status, "X")), wanted, "{name} {status}");
        }
    }

    #[test]
    fn advice_is_for_what_is_not_good() {
        assert_eq!(advice(&condition("Available", "True", "ScaledToZero")), None);
        let told = advice(&condition("Available", "False", "ScaledToZero")).unwrap();
        assert_eq!(told.1, "SCALING.md");
        assert_eq!(advice(&condition("Available", "False", "OfTheFuture")), None);
    }

    /// The anchor of a heading, as GitHub makes it.
    fn anchor(heading: &str) -> String {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    }

    #[test]
    fn pages_and_anchors_exist() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let pages = ADVICE.iter().map(|(.., page)| *page);
        let pages: BTreeSet<_> = pages.chain(crate::check::PAGES).collect();
        for page in pages {
            let (file, wanted) = page.split_once('#').unwrap_or((page, ""));
            let text = fs::read_to_string(docs.join(file)).unwrap_or_else(|_| panic!("no {file}"));
            let mut headings = text.lines().filter(|line| line.starts_with('#'));
            let is_there = |line: &str| anchor(line.trim_start_matches('#').trim()) == wanted;
            assert!(wanted.is_empty() || headings.any(is_there), "{page} has no such heading");
        }
    }
}

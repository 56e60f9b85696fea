//! What to do about the conditions of a channel. Pure.

use eventcast_crds::conditions::{self, Advice};
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

/// What to do about a condition that is not good.
pub(crate) fn advice(condition: &Condition) -> Option<Advice> {
    if matches!(verdict(condition), Verdict::Good | Verdict::Unknown) {
        return None;
    }
    conditions::advice(&condition.type_, &condition.reason)
}

#[cfg(test)]
mod tests {
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
        let found = advice(&condition("Available", "False", "ScaledToZero")).unwrap();
        assert_eq!(found.page, "SCALING.md");
        assert_eq!(advice(&condition("Available", "False", "OfTheFuture")), None);
    }
}

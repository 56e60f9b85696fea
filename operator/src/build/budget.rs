//! Memory: from the limit of a pod to the budgets of the broker in it. Pure.

use std::collections::BTreeMap;

use eventcast_crds::{
    channel::brokers::Brokers,
    config::{Limits, Memory, Query},
};
use k8s_openapi::{api::core::v1::PodTemplateSpec, apimachinery::pkg::api::resource::Quantity};
use serde_json::{Value, json};

use crate::names;

/// Memory limit of a broker whose channel says nothing.
const DEFAULT_LIMIT: &str = "512Mi";
/// With less a broker cannot keep a tail that is worth its name.
const SMALLEST: u64 = 64 << 20;

/// The resources of a broker's container.
#[must_use]
pub fn resources(brokers: &Brokers) -> Value {
    match &brokers.resources {
        Some(resources) => json!(resources),
        None => json!({
            "requests": {"cpu": "100m", "memory": "256Mi"},
            "limits": {"memory": DEFAULT_LIMIT},
        }),
    }
}

/// What is wrong where an autoscaler is to count processor time and the broker requests none: it would count nothing, for ever.
/// `template` is what is merged over ours. A limit is a request, too, where there is no other.
///
/// # Errors
/// In words that say what to do.
pub fn countable(brokers: &Brokers, template: Option<&PodTemplateSpec>) -> Result<(), String> {
    let counts = brokers.autoscaling.as_ref().is_some_and(|a| a.cpu_percent.is_some());
    let some = |of: Option<&BTreeMap<String, Quantity>>| {
        of.and_then(|of| of.get("cpu"))
            .is_some_and(|cpu| !cpu.0.trim_matches(['0', 'm']).is_empty())
    };
    let ours = brokers.resources.as_ref();
    let ours = ours.is_none_or(|r| some(Some(&r.requests)) || some(Some(&r.limits)));
    let containers = template.and_then(|t| t.spec.as_ref()).map(|pod| &pod.containers);
    let theirs = containers.into_iter().flatten().filter(|c| c.name == names::BROKER_CONTAINER);
    let mut theirs = theirs.filter_map(|c| c.resources.as_ref());
    if !counts || ours || theirs.any(|r| some(r.requests.as_ref()) || some(r.limits.as_ref())) {
        return Ok(());
    }
    Err("spec.brokers.autoscaling.cpuPercent: counts nothing without a request for processor time: set \
         brokers.resources.requests.cpu, for example to 500m"
        .to_owned())
}

/// What a broker may hold in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Of the logs.
    pub memory: Memory,
    /// Of publish requests under way.
    pub body_bytes: usize,
    /// Of answers that clients have not read yet.
    pub answer_bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        let (body_bytes, answer_bytes) =
            (Limits::default().body_bytes, Query::default().answer_bytes);
        Self { memory: Memory::default(), body_bytes, answer_bytes }
    }
}

/// The budgets under the memory limit: an eighth each for the tail, for requests and for answers, a quarter for pages, the rest
/// for connections and the allocator. Without a limit the broker's own defaults, and never more than they.
///
/// # Errors
/// The limit is no quantity, or too small.
pub fn of(brokers: &Brokers) -> Result<Budget, String> {
    let defaults = Budget::default();
    let text = match &brokers.resources {
        None => DEFAULT_LIMIT,
        Some(resources) => match resources.limits.get("memory") {
            Some(quantity) => &quantity.0,
            None => return Ok(defaults),
        },
    };
    let path = "spec.brokers.resources.limits.memory";
    let limit = bytes(text).ok_or_else(|| format!("{path}: {text} is not a number of bytes"))?;
    if limit < SMALLEST {
        return Err(format!("{path}: {text} is too little for a broker: give it 64Mi or more"));
    }
    let (eighth, quarter) = (usize::try_from(limit / 8).unwrap_or(usize::MAX), limit / 4);
    let Budget { memory, body_bytes, answer_bytes } = defaults;
    let tail = memory.tail_bytes.min(eighth);
    let pages = memory.page_bytes.min(quarter);
    Ok(Budget {
        memory: Memory {
            tail_bytes: tail,
            all_tail_bytes: tail,
            page_bytes: pages,
            // one channel has the broker to itself
            channel_page_bytes: pages,
            ..memory
        },
        body_bytes: body_bytes.min(eighth),
        answer_bytes: answer_bytes.min(eighth),
    })
}

/// A Kubernetes quantity as whole bytes.
fn bytes(quantity: &str) -> Option<u64> {
    let split = quantity.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(quantity.len());
    let (number, suffix) = quantity.split_at(split);
    let unit = match suffix {
        "" => 1.0,
        "m" => 0.001,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        _ => return None,
    };
    let value = number.parse::<f64>().ok()? * unit;
    // exact below 2^53, far beyond any memory
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
    (0.0..9e15).contains(&value).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use eventcast_crds::channel::brokers::{Autoscaling, Resources};

    use super::*;

    fn limited(memory: &str) -> Result<Budget, String> {
        let limits = BTreeMap::from([("memory".to_owned(), Quantity(memory.to_owned()))]);
        let resources = Some(Resources { limits, ..Resources::default() });
        of(&Brokers { resources, ..Brokers::default() })
    }

    #[test]
    fn an_autoscaler_by_processor_needs_a_request() {
        let amounts = |cpu: &str| BTreeMap::from([("cpu".to_owned(), Quantity(cpu.to_owned()))]);
        let template = |requests| {
            let container = json!({"name": "broker", "resources": {"requests": requests}});
            serde_json::from_value::<PodTemplateSpec>(json!({"spec": {"containers": [container]}}))
                .unwrap()
        };
        let autoscaling = Autoscaling { cpu_percent: Some(60), ..Autoscaling::default() };
        let with = |resources: Option<Resources>, template: Option<&PodTemplateSpec>| {
            let autoscaling = Some(autoscaling.clone());
            countable(&Brokers { autoscaling, resources, ..Brokers::default() }, template).is_ok()
        };
        let none = || Some(Resources::default());
        assert!(with(None, None), "ours has one");
        assert!(!with(none(), None));
        assert!(!with(Some(Resources { requests: amounts("0"), ..Resources::default() }), None));
        assert!(with(Some(Resources { requests: amounts("1"), ..Resources::default() }), None));
        assert!(with(Some(Resources { limits: amounts("1"), ..Resources::default() }), None));
        assert!(with(none(), Some(&template(json!({"cpu": "100m"})))));
        assert!(!with(none(), Some(&template(json!({"memory": "1Gi"})))));
        let without = Brokers { resources: none(), ..Brokers::default() };
        assert!(countable(&without, None).is_ok(), "nobody counts");
    }

    #[test]
    fn quantities_are_bytes() {
        for (text, expected) in [
            ("1", Some(1)),
            ("128Mi", Some(128 << 20)),
            ("1.5Gi", Some(3 << 29)),
            ("2G", Some(2_000_000_000)),
            ("100000k", Some(100_000_000)),
            ("1e3", None),
            ("much", None),
            ("", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn budgets_follow_the_limit_and_end_at_the_defaults() {
        let defaults = Budget::default();
        let small = limited("64Mi").unwrap();
        assert_eq!((small.memory.tail_bytes, small.memory.page_bytes), (8 << 20, 16 << 20));
        assert_eq!((small.body_bytes, small.answer_bytes), (8 << 20, 8 << 20));
        let large = limited("64Gi").unwrap();
        assert_eq!(large, Budget { memory: large.memory.clone(), ..defaults.clone() });
        let Memory { tail_bytes, page_bytes, .. } = defaults.memory;
        assert_eq!((large.memory.tail_bytes, large.memory.page_bytes), (tail_bytes, page_bytes));
        let silent = of(&Brokers::default()).unwrap();
        assert_eq!((silent.memory.tail_bytes, silent.memory.page_bytes), (64 << 20, 128 << 20));
        let without = Brokers { resources: Some(Resources::default()), ..Brokers::default() };
        assert_eq!(of(&without).unwrap(), defaults);
        assert!(limited("63Mi").unwrap_err().contains("64Mi or more"));
        assert!(limited("lots").is_err());
    }
}

//! CPU and memory of the brokers: the resources of the container, and the memory budgets that follow from its limit. Pure.

use std::collections::BTreeMap;

use eventcast_crds::{
    channel::brokers::Brokers,
    config::{Limits, Memory, Query},
};
use k8s_openapi::{
    api::core::v1::{PodTemplateSpec, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::{names, quantity};

/// CPU request of a broker whose channel sets no resources.
const DEFAULT_CPU_REQUEST: &str = "100m";
/// Memory request of a broker whose channel sets no resources.
const DEFAULT_MEMORY_REQUEST: &str = "256Mi";
/// Memory limit of a broker whose channel sets no resources.
const DEFAULT_MEMORY_LIMIT: &str = "512Mi";
/// Smallest memory limit of a broker: a smaller one leaves too little for the tail.
const MIN_MEMORY_LIMIT_BYTES: u64 = 64 << 20;

/// The resources of the broker's container.
#[must_use]
pub fn container_resources(brokers: &Brokers) -> ResourceRequirements {
    let quantity = |text: &str| Quantity(text.to_owned());
    let (requests, limits) = match &brokers.resources {
        Some(resources) => (resources.requests.clone(), resources.limits.clone()),
        None => (
            BTreeMap::from([
                ("cpu".to_owned(), quantity(DEFAULT_CPU_REQUEST)),
                ("memory".to_owned(), quantity(DEFAULT_MEMORY_REQUEST)),
            ]),
            BTreeMap::from([("memory".to_owned(), quantity(DEFAULT_MEMORY_LIMIT))]),
        ),
    };
    ResourceRequirements {
        requests: (!requests.is_empty()).then_some(requests),
        limits: (!limits.is_empty()).then_some(limits),
        ..ResourceRequirements::default()
    }
}

/// Checks that the broker requests CPU if it is autoscaled by CPU: otherwise the autoscaler computes no utilisation. A limit counts as a
/// request, as in Kubernetes. `template` is `brokers.podTemplate`.
///
/// # Errors
/// What is missing and how to set it.
pub fn check_cpu_request(
    brokers: &Brokers,
    template: Option<&PodTemplateSpec>,
) -> Result<(), String> {
    let is_scaled_by_cpu = brokers.autoscaling.as_ref().is_some_and(|a| a.cpu_percent.is_some());
    if !is_scaled_by_cpu || cpu_request(brokers, template).is_some() {
        return Ok(());
    }
    Err("spec.brokers.autoscaling.cpuPercent: has no effect without a CPU request: set \
         brokers.resources.requests.cpu, for example to 500m"
        .to_owned())
}

/// What a pod template says about the resources of the broker's container.
fn custom_resources(template: Option<&PodTemplateSpec>) -> Option<&ResourceRequirements> {
    let containers = &template?.spec.as_ref()?.containers;
    let broker = containers.iter().find(|c| c.name == names::BROKER_CONTAINER)?;
    broker.resources.as_ref()
}

/// The CPU that a broker requests, in cores. A limit counts as a request, as in Kubernetes. `template` is the pod template of channel and operator.
#[must_use]
pub fn cpu_request(brokers: &Brokers, template: Option<&PodTemplateSpec>) -> Option<f64> {
    let own = container_resources(brokers);
    let custom = custom_resources(template);
    let requests = [custom.and_then(|c| c.requests.as_ref()), own.requests.as_ref()];
    let limits = [custom.and_then(|c| c.limits.as_ref()), own.limits.as_ref()];
    let cores = |amounts: &BTreeMap<String, Quantity>| quantity::parse(&amounts.get("cpu")?.0);
    requests.into_iter().chain(limits).flatten().filter_map(cores).find(|cores| *cores > 0.0)
}

/// How much memory the parts of a broker may use, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryBudget {
    /// Tails and pages of the logs.
    pub memory: Memory,
    /// Publish requests in progress.
    pub body_bytes: usize,
    /// Responses that clients have not read yet.
    pub answer_bytes: usize,
}

impl Default for MemoryBudget {
    fn default() -> Self {
        let (body_bytes, answer_bytes) =
            (Limits::default().body_bytes, Query::default().answer_bytes);
        Self { memory: Memory::default(), body_bytes, answer_bytes }
    }
}

/// Divides the memory limit: an eighth each for the tail, for requests and for responses, a quarter for pages, and the rest for
/// connections and the allocator. No part gets more than the broker's default, which also applies without a limit. A limit in `template`,
/// the pod template of channel and operator, replaces that of `brokers.resources`.
///
/// # Errors
/// The limit is not a quantity, or too small.
pub fn memory_budget(
    brokers: &Brokers,
    template: Option<&PodTemplateSpec>,
) -> Result<MemoryBudget, String> {
    let defaults = MemoryBudget::default();
    let custom = custom_resources(template).and_then(|r| r.limits.as_ref()?.get("memory"));
    let own = container_resources(brokers).limits.and_then(|mut limits| limits.remove("memory"));
    let (path, text) = match (custom, own) {
        (Some(quantity), _) => {
            ("podTemplate: the memory limit of the container broker", quantity.0.clone())
        }
        (None, Some(quantity)) => ("spec.brokers.resources.limits.memory", quantity.0),
        (None, None) => return Ok(defaults),
    };
    let limit = quantity::parse_bytes(&text)
        .ok_or_else(|| format!("{path}: {text} is not a number of bytes"))?;
    if limit < MIN_MEMORY_LIMIT_BYTES {
        return Err(format!("{path}: {text} is too little for a broker: set 64Mi or more"));
    }
    let (eighth, quarter) = (usize::try_from(limit / 8).unwrap_or(usize::MAX), limit / 4);
    let MemoryBudget { memory, body_bytes, answer_bytes } = defaults;
    let tail = memory.tail_bytes.min(eighth);
    let pages = memory.page_bytes.min(quarter);
    Ok(MemoryBudget {
        memory: Memory {
            tail_bytes: tail,
            all_tail_bytes: tail,
            page_bytes: pages,
            // A broker of the operator has a single channel.
            channel_page_bytes: pages,
            ..memory
        },
        body_bytes: body_bytes.min(eighth),
        answer_bytes: answer_bytes.min(eighth),
    })
}

#[cfg(test)]
mod tests {
    use eventcast_crds::channel::brokers::{Autoscaler, Autoscaling, Resources};
    use serde_json::json;

    use super::*;

    fn budget(memory_limit: &str) -> Result<MemoryBudget, String> {
        let limits = BTreeMap::from([("memory".to_owned(), Quantity(memory_limit.to_owned()))]);
        let resources = Some(Resources { limits, ..Resources::default() });
        memory_budget(&Brokers { resources, ..Brokers::default() }, None)
    }

    #[test]
    fn autoscaling_by_cpu_needs_a_cpu_request() {
        let cpu = |cpu: &str| BTreeMap::from([("cpu".to_owned(), Quantity(cpu.to_owned()))]);
        let template = |requests| {
            let container = json!({"name": "broker", "resources": {"requests": requests}});
            serde_json::from_value::<PodTemplateSpec>(json!({"spec": {"containers": [container]}}))
                .unwrap()
        };
        let autoscaling = Autoscaling {
            by: Autoscaler::default(),
            min_replicas: 1,
            max_replicas: 2,
            cpu_percent: Some(60),
            subscribers_per_broker: None,
            scale_down_stabilization_seconds: 600,
        };
        let is_valid = |resources: Option<Resources>, template: Option<&PodTemplateSpec>| {
            let autoscaling = Some(autoscaling.clone());
            let brokers = Brokers { autoscaling, resources, ..Brokers::default() };
            check_cpu_request(&brokers, template).is_ok()
        };
        let none = || Some(Resources::default());
        assert!(is_valid(None, None), "the default has a request");
        assert!(!is_valid(none(), None));
        for (amount, valid) in
            [("0", false), ("0m", false), ("0.0", false), ("1", true), ("1m", true)]
        {
            let requests = Resources { requests: cpu(amount), ..Resources::default() };
            assert_eq!(is_valid(Some(requests), None), valid, "{amount}");
        }
        assert!(is_valid(Some(Resources { limits: cpu("1"), ..Resources::default() }), None));
        assert!(is_valid(none(), Some(&template(json!({"cpu": "100m"})))));
        assert!(!is_valid(none(), Some(&template(json!({"memory": "1Gi"})))));
        let unscaled = Brokers { resources: none(), ..Brokers::default() };
        assert!(check_cpu_request(&unscaled, None).is_ok());
    }

    #[test]
    fn budgets_follow_the_limit_up_to_the_defaults() {
        let defaults = MemoryBudget::default();
        let small = budget("64Mi").unwrap();
        assert_eq!((small.memory.tail_bytes, small.memory.page_bytes), (8 << 20, 16 << 20));
        assert_eq!((small.body_bytes, small.answer_bytes), (8 << 20, 8 << 20));
        let large = budget("64Gi").unwrap();
        assert_eq!(large, MemoryBudget { memory: large.memory.clone(), ..defaults.clone() });
        let Memory { tail_bytes, page_bytes, .. } = defaults.memory;
        assert_eq!((large.memory.tail_bytes, large.memory.page_bytes), (tail_bytes, page_bytes));
        let unset = memory_budget(&Brokers::default(), None).unwrap();
        assert_eq!((unset.memory.tail_bytes, unset.memory.page_bytes), (64 << 20, 128 << 20));
        let unlimited = Brokers { resources: Some(Resources::default()), ..Brokers::default() };
        assert_eq!(memory_budget(&unlimited, None).unwrap(), defaults);
        let container = json!({"name": "broker", "resources": {"limits": {"memory": "128Mi"}}});
        let template = json!({"spec": {"containers": [container]}});
        let template: PodTemplateSpec = serde_json::from_value(template).unwrap();
        let custom = memory_budget(&Brokers::default(), Some(&template)).unwrap();
        assert_eq!(custom.memory.tail_bytes, 16 << 20, "the limit that the container really has");
        assert!(budget("63Mi").unwrap_err().contains("64Mi or more"));
        assert!(budget("lots").is_err() && budget("").is_err());
    }

    #[test]
    fn every_spelling_of_a_limit_is_read() {
        let tail = |text: &str| budget(text).unwrap().memory.tail_bytes;
        for (text, bytes) in [
            ("134217728", 128 << 20),
            ("128Mi", 128 << 20),
            ("0.125Gi", 128 << 20),
            ("134217728000m", 128 << 20),
            ("100000k", 100_000_000),
            ("200M", 200_000_000),
        ] {
            assert_eq!(tail(text), bytes / 8, "{text}");
        }
    }
}

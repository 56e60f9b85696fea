//! The brokers of a channel or of a pool, validated: what their objects are built from. Pure.

use std::collections::{BTreeMap, BTreeSet};

use eventcast_crds::{
    channel::{
        access::AccessSpec,
        brokers::{Autoscaler, Autoscaling, Brokers},
        exposure::Exposure,
        limits::LimitsSpec,
    },
    config::{BrokerConfig, load::display_path},
};
use k8s_openapi::{DeepMerge, api::core::v1::PodTemplateSpec};

use crate::{
    owner::{Owner, OwnerKind},
    resources,
    settings::Settings,
};

/// The brokers of a channel or of a pool.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Whose brokers they are.
    pub owner: Owner,
    /// The spec of the brokers, with defaults.
    pub brokers: Brokers,
    /// How clients reach them.
    pub exposure: Exposure,
    /// What the pods need for the credentials of clients: nothing in a pool.
    pub access: AccessSpec,
    /// The configuration file.
    pub config: BrokerConfig,
    /// Merged over the operator's own pod template: that of all brokers, and `brokers.podTemplate` over it.
    pub pod_template: Option<PodTemplateSpec>,
    /// Labels of every object and of the pods, besides the operator's own.
    pub labels: BTreeMap<String, String>,
    /// Annotations of every object and of the pods, besides the operator's own.
    pub annotations: BTreeMap<String, String>,
    /// Path in URLs, without a trailing slash.
    pub path: String,
    /// The largest body of a request that the brokers accept, in bytes.
    pub largest_body: usize,
    /// URLs that the brokers connect to, besides NATS.
    pub connects_to: BTreeSet<String>,
    /// Whether the brokers probe the delivery, through the proxies in front.
    pub probes: bool,
}

impl Workload {
    /// Name of every object.
    #[must_use]
    pub fn object_name(&self) -> String {
        self.owner.key.object_name()
    }

    /// Namespace of every object.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.owner.key.namespace
    }

    /// Image of the brokers: their own, else `default`.
    #[must_use]
    pub fn image<'a>(&'a self, default: &'a str) -> &'a str {
        self.brokers.image.as_deref().unwrap_or(default)
    }

    /// The CPU that a broker requests, in thousandths of a core; 0: none.
    #[must_use]
    pub fn cpu_request_millis(&self) -> u64 {
        let cores = resources::cpu_request(&self.brokers, self.pod_template.as_ref());
        let millis = (cores.unwrap_or(0.0) * 1000.0).clamp(0.0, 1e9);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let millis = millis.round() as u64;
        millis
    }

    /// The autoscaling that this operator does itself.
    #[must_use]
    pub fn autoscaling(&self) -> Option<&Autoscaling> {
        let autoscaling = self.brokers.autoscaling.as_ref()?;
        (autoscaling.by == Autoscaler::Operator).then_some(autoscaling)
    }

    /// The largest number of brokers: the maximum of the autoscaler, or the fixed number.
    #[must_use]
    pub fn max_brokers(&self) -> i32 {
        let brokers = &self.brokers;
        brokers.autoscaling.as_ref().map_or(brokers.replicas, |a| a.max_replicas)
    }

    /// Whether they are the brokers of a pool.
    #[must_use]
    pub fn is_pool(&self) -> bool {
        self.owner.key.kind == OwnerKind::Pool
    }
}

/// What channels and pools say about their brokers.
#[derive(Clone, Copy, Debug)]
pub struct BrokersSpec<'a> {
    /// Number, resources, scheduling.
    pub brokers: &'a Brokers,
    /// How clients reach them.
    pub exposure: &'a Exposure,
    /// Limits of each broker.
    pub limits: &'a LimitsSpec,
}

/// The pod template that is merged over the operator's own: that of all brokers with `brokers.podTemplate` over it. Adds to `problems` what the
/// rules of the CRDs cannot check.
pub(crate) fn checked_template(
    spec: BrokersSpec<'_>,
    settings: &Settings,
    problems: &mut Vec<String>,
) -> Option<PodTemplateSpec> {
    let own = spec.brokers.pod_template.as_ref();
    let own =
        own.and_then(|raw| parse_template(raw).map_err(|errors| problems.extend(errors)).ok());
    let mut template = settings.brokers.pod_template.clone();
    template.merge_from(own);
    problems.extend(resources::memory_budget(spec.brokers, template.as_ref()).err());
    problems.extend(resources::check_cpu_request(spec.brokers, template.as_ref()).err());
    for (i, text) in spec.exposure.trusted_proxies.iter().flatten().enumerate() {
        if !is_network(text) {
            let path = format!("spec.exposure.trustedProxies[{i}]");
            problems.push(format!("{path}: {text} is not a network: write it as 10.0.0.0/8"));
        }
    }
    let ranges = &spec.exposure.service.load_balancer_source_ranges;
    for (i, text) in ranges.iter().enumerate().filter(|(_, text)| !is_network(text)) {
        let path = format!("spec.exposure.service.loadBalancerSourceRanges[{i}]");
        problems.push(format!("{path}: {text} is not a network: write it as 203.0.113.0/24"));
    }
    template
}

fn is_network(text: &str) -> bool {
    text.parse::<ipnet::IpNet>().is_ok()
}

/// Replaces the path of the broker's configuration in a problem by the path in the spec.
pub(crate) fn with_spec_path(problem: &str) -> String {
    let known = problem.replace("channels[0].", "spec.");
    let known = known.replace("spec.stream:", "spec.stream.name:");
    let known = known.replace("spec.subjectPrefix:", "spec.stream.subjectPrefix:");
    known.replace("memory.", "spec.brokers.resources.limits.memory: the budget ")
}

/// Parses `brokers.podTemplate` strictly. The API server would reject an unknown field only later, and without its path.
fn parse_template(raw: &serde_json::Value) -> Result<PodTemplateSpec, Vec<String>> {
    let mut unknown = Vec::new();
    let read = serde_ignored::deserialize(raw, |path| {
        let path = display_path(&path);
        unknown
            .push(format!("spec.brokers.podTemplate.{path}: a PodTemplateSpec has no such field"));
    });
    match read {
        Ok(template) if unknown.is_empty() => Ok(template),
        Ok(_) => Err(unknown),
        Err(error) => Err(vec![format!("spec.brokers.podTemplate: {error}")]),
    }
}

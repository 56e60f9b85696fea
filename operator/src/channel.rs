//! A validated EventChannel with everything that later steps need. Pure.

use std::collections::BTreeMap;

use eventcast_crds::{
    channel::{
        EventChannel, EventChannelSpec, PROBE_ANNOTATION,
        brokers::{Autoscaler, Autoscaling},
    },
    config::{BrokerConfig, ChannelConfig, Probe, load::display_path},
};
use k8s_openapi::{
    DeepMerge, api::core::v1::PodTemplateSpec, apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Resource, ResourceExt};

use crate::{broker_config, broker_reports::ChannelKey, names, resources, settings::Settings};

#[cfg(test)]
pub(crate) mod fixture;

/// An EventChannel whose spec is valid.
#[derive(Clone, Debug)]
pub struct Channel {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// The owner reference of every object of the channel.
    pub owner: OwnerReference,
    /// The spec, with defaults.
    pub spec: EventChannelSpec,
    /// The channel in the terms of the broker's configuration, retention included. The stream is created from it.
    pub config: ChannelConfig,
    /// The configuration file of the brokers.
    pub broker: BrokerConfig,
    /// Merged over the operator's own pod template: that of all channels, and `brokers.podTemplate` over it.
    pub pod_template: Option<PodTemplateSpec>,
    /// Labels of every object and of the pods, besides the operator's own.
    pub labels: BTreeMap<String, String>,
    /// Annotations of every object and of the pods, besides the operator's own.
    pub annotations: BTreeMap<String, String>,
    /// The value of the annotation that requests a delivery probe.
    pub probe_request: Option<String>,
}

impl Channel {
    /// Validates what the rules of the CRD cannot check.
    ///
    /// # Errors
    /// Every problem, with the path of its field.
    pub fn new(ec: &EventChannel, settings: &Settings) -> Result<Self, Vec<String>> {
        let spec = ec.spec.clone();
        let (name, namespace) = (ec.name_any(), ec.namespace().unwrap_or_default());
        let mut problems = Vec::new();
        let own_template = spec
            .brokers
            .pod_template
            .as_ref()
            .and_then(|raw| parse_template(raw).map_err(|errors| problems.extend(errors)).ok());
        let pod_template = merged(settings.brokers.pod_template.clone(), own_template);
        if let Err(problem) = resources::memory_budget(&spec.brokers, pod_template.as_ref()) {
            problems.push(problem);
        }
        if let Err(problem) = resources::check_cpu_request(&spec.brokers, pod_template.as_ref()) {
            problems.push(problem);
        }
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
        let config = broker_config::channel_config(&namespace, &name, &spec);
        let broker = broker_config::broker_config(&config, &spec, pod_template.as_ref(), settings);
        problems.extend(broker.problems().iter().map(|p| with_spec_path(&p.to_string())));
        let with_stream = BrokerConfig { channels: vec![config.clone()], ..broker.clone() };
        for problem in with_stream.problems() {
            let problem = with_spec_path(&problem.to_string());
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let owner = OwnerReference {
            // With foreground deletion the brokers are deleted before the channel.
            block_owner_deletion: Some(true),
            ..ec.controller_owner_ref(&()).unwrap_or_default()
        };
        let uid = ec.uid().unwrap_or_default();
        let labels = settings.brokers.labels_for(ec.labels());
        let annotations = settings.brokers.annotations_for(ec.annotations());
        Ok(Self {
            name,
            namespace,
            uid,
            generation: ec.metadata.generation.unwrap_or_default(),
            owner,
            spec,
            config,
            broker,
            pod_template,
            labels,
            annotations,
            probe_request: ec.annotations().get(PROBE_ANNOTATION).cloned(),
        })
    }

    /// Lets the brokers probe the delivery as `probe` says.
    pub fn set_probe(&mut self, probe: Option<Probe>) {
        if let Some(channel) = self.broker.channels.first_mut() {
            channel.probe = probe;
        }
    }

    /// How the brokers probe the delivery; `None`: they do not.
    #[must_use]
    pub fn probe(&self) -> Option<&Probe> {
        self.broker.channels.first()?.probe.as_ref()
    }

    /// Namespace and name.
    #[must_use]
    pub fn key(&self) -> ChannelKey {
        (self.namespace.clone(), self.name.clone())
    }

    /// Name of every object of the channel.
    #[must_use]
    pub fn object_name(&self) -> String {
        names::object_name(&self.name)
    }

    /// Image of the brokers: the channel's own, else `default`.
    #[must_use]
    pub fn image<'a>(&'a self, default: &'a str) -> &'a str {
        self.spec.brokers.image.as_deref().unwrap_or(default)
    }

    /// The CPU that a broker requests, in thousandths of a core; 0: none.
    #[must_use]
    pub fn cpu_request_millis(&self) -> u64 {
        let cores = resources::cpu_request(&self.spec.brokers, self.pod_template.as_ref());
        let millis = (cores.unwrap_or(0.0) * 1000.0).clamp(0.0, 1e9);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let millis = millis.round() as u64;
        millis
    }

    /// Path of the channel in URLs, without a trailing slash.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/channels/{}/{}", self.namespace, self.name)
    }

    /// The autoscaling that this operator does itself.
    #[must_use]
    pub fn autoscaling(&self) -> Option<&Autoscaling> {
        let autoscaling = self.spec.brokers.autoscaling.as_ref()?;
        (autoscaling.by == Autoscaler::Operator).then_some(autoscaling)
    }

    /// The largest number of brokers: the maximum of the autoscaler, or the fixed number.
    #[must_use]
    pub fn max_brokers(&self) -> i32 {
        let brokers = &self.spec.brokers;
        brokers.autoscaling.as_ref().map_or(brokers.replicas, |a| a.max_replicas)
    }
}

fn is_network(text: &str) -> bool {
    text.parse::<ipnet::IpNet>().is_ok()
}

/// The pod template of all channels with that of the channel over it.
fn merged(
    default: Option<PodTemplateSpec>,
    own: Option<PodTemplateSpec>,
) -> Option<PodTemplateSpec> {
    let mut merged = default;
    merged.merge_from(own);
    merged
}

/// Replaces the path of the broker's configuration in a problem by the path in the channel's spec.
fn with_spec_path(problem: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_that_the_crd_cannot_find_are_reported_with_their_path() {
        let (_, settings) = fixture::channel("spec: {}");
        for (spec, expected) in [
            (
                "brokers: {resources: {limits: {memory: 1Mi}}}",
                "spec.brokers.resources.limits.memory: 1Mi is too little",
            ),
            (
                "exposure: {trustedProxies: [elsewhere]}",
                "spec.exposure.trustedProxies[0]: elsewhere is not a network",
            ),
            (
                "exposure: {service: {type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.1]}}",
                "spec.exposure.service.loadBalancerSourceRanges[0]: 10.0.0.1 is not a network",
            ),
            (
                "brokers: {podTemplate: {spec: {containers: [], colour: red}}}",
                "spec.brokers.podTemplate.spec.colour: a PodTemplateSpec has no such field",
            ),
            ("brokers: {podTemplate: {spec: 7}}", "spec.brokers.podTemplate: "),
            (
                "brokers: {resources: {}, autoscaling: {minReplicas: 1, maxReplicas: 2, cpuPercent: 50}}",
                "spec.brokers.autoscaling.cpuPercent: has no effect without a CPU request",
            ),
            ("delivery: {from: yesterday}", "spec.delivery.from: must be latest"),
            ("stream: {subjectPrefix: $SYS}", "spec.stream.subjectPrefix: "),
            ("retention: {replicas: 2}", "spec.retention.replicas: must be 1, 3 or 5"),
        ] {
            let object = fixture::event_channel(&format!("spec: {{{spec}}}"));
            let problems = Channel::new(&object, &settings).expect_err(spec);
            let found = problems.iter().any(|problem| problem.contains(expected));
            assert!(found, "{expected} not in {problems:#?}");
        }
    }
}

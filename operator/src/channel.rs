//! A validated EventChannel with everything that later steps need. Pure.

use std::path::PathBuf;

use eventcast_crds::{
    channel::{EventChannel, EventChannelSpec, PROBE_ANNOTATION},
    config::{BrokerConfig, ChannelConfig, Probe, Tls},
};
use kube::ResourceExt;

use crate::{
    broker_config,
    owner::{ChannelKey, Owner, OwnerKind},
    settings::Settings,
    workload::{BrokersSpec, Workload, checked_template, with_spec_path},
};

#[cfg(test)]
pub(crate) mod fixture;

/// An EventChannel whose spec is valid.
#[derive(Clone, Debug)]
pub struct Channel {
    /// The spec, with defaults.
    pub spec: EventChannelSpec,
    /// The channel in the terms of the broker's configuration, retention included. The stream is created from it.
    pub config: ChannelConfig,
    /// The brokers that serve the channel, unless it is in a pool.
    pub workload: Workload,
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
        let owner = Owner::new(OwnerKind::Channel, ec);
        let (namespace, name) = (&owner.key.namespace, &owner.key.name);
        let mut problems = Vec::new();
        let of_brokers =
            BrokersSpec { brokers: &spec.brokers, exposure: &spec.exposure, limits: &spec.limits };
        let pod_template = checked_template(of_brokers, settings, &mut problems);
        let config = broker_config::channel_config(namespace, name, &spec);
        let broker =
            broker_config::of_channel(&config, of_brokers, pod_template.as_ref(), settings);
        let mut checked = broker.clone();
        if spec.brokers.pool.is_some() {
            // The pool says which certificate authorities of clients there are.
            let file = || PathBuf::from("of-the-pool");
            let (certificate_file, key_file) = (file(), file());
            let client_ca_file = Some(file());
            checked.tls =
                Some(Tls { certificate_file, key_file, client_ca_file, ..Tls::default() });
        }
        problems.extend(checked.problems().iter().map(|p| with_spec_path(&p.to_string())));
        let with_stream = BrokerConfig { channels: vec![config.clone()], ..checked };
        for problem in with_stream.problems() {
            let problem = with_spec_path(&problem.to_string());
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let tokens = spec.access.tokens.iter();
        let workload = Workload {
            brokers: spec.brokers.clone(),
            exposure: spec.exposure.clone(),
            access: spec.access.clone(),
            config: broker,
            pod_template,
            labels: settings.brokers.labels_for(ec.labels()),
            annotations: settings.brokers.annotations_for(ec.annotations()),
            path: format!("/channels/{namespace}/{name}"),
            largest_body: spec.publishing.largest_body(),
            connects_to: tokens.filter_map(|token| token.jwks_url.clone()).collect(),
            probes: false,
            owner,
        };
        let probe_request = ec.annotations().get(PROBE_ANNOTATION).cloned();
        Ok(Self { spec, config, workload, probe_request })
    }

    /// Lets the brokers probe the delivery as `probe` says.
    pub fn set_probe(&mut self, probe: Option<Probe>) {
        self.workload.probes = probe.is_some();
        self.workload.connects_to.extend(probe.iter().map(|probe| probe.url.clone()));
        if let Some(channel) = self.workload.config.channels.first_mut() {
            channel.probe = probe;
        }
    }

    /// How the brokers probe the delivery; `None`: they do not.
    #[must_use]
    pub fn probe(&self) -> Option<&Probe> {
        self.workload.config.channels.first()?.probe.as_ref()
    }

    /// `metadata.name`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.workload.owner.key.name
    }

    /// `metadata.namespace`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.workload.namespace()
    }

    /// `metadata.uid`.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.workload.owner.uid
    }

    /// Namespace and name.
    #[must_use]
    pub fn key(&self) -> ChannelKey {
        (self.namespace().to_owned(), self.name().to_owned())
    }

    /// Path of the channel in URLs, without a trailing slash.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.workload.path
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
            ("access: {certificates: [{names: [a]}]}", "clientCa"),
        ] {
            let object = fixture::event_channel(&format!("spec: {{{spec}}}"));
            let problems = Channel::new(&object, &settings).expect_err(spec);
            let found = problems.iter().any(|problem| problem.contains(expected));
            assert!(found, "{expected} not in {problems:#?}");
        }
        let spec = "access: {certificates: [{names: [a]}]}, brokers: {pool: {name: p}}";
        let object = fixture::event_channel(&format!("spec: {{{spec}}}"));
        assert!(Channel::new(&object, &settings).is_ok(), "that is the pool's to say");
    }
}

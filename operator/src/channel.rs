//! A validated EventChannel: everything later steps need, and nothing that could still be wrong. Pure.

use eventcast_crds::{
    channel::{EventChannel, EventChannelSpec},
    config::{BrokerConfig, ChannelConfig, load::written},
};
use k8s_openapi::{
    api::core::v1::PodTemplateSpec, apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Resource, ResourceExt};

use crate::{
    build::{budget, config},
    names,
    settings::Settings,
};

/// A channel whose spec makes sense.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Name of the EventChannel.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its `metadata.uid`.
    pub uid: String,
    /// What every object of the channel names as its owner.
    pub owner: OwnerReference,
    /// What was asked for.
    pub spec: EventChannelSpec,
    /// The channel as the stream is made from it.
    pub config: ChannelConfig,
    /// What brokers read.
    pub broker: BrokerConfig,
    /// What is merged over our pod template.
    pub pod_template: Option<PodTemplateSpec>,
}

impl Channel {
    /// Checks what the API server's rules do not reach.
    ///
    /// # Errors
    /// Everything that is wrong, each with the path of its field.
    pub fn new(ec: &EventChannel, settings: &Settings) -> Result<Self, Vec<String>> {
        let spec = ec.spec.clone();
        let (name, namespace) = (ec.name_any(), ec.namespace().unwrap_or_default());
        let mut problems = Vec::new();
        let pod_template = spec
            .brokers
            .pod_template
            .as_ref()
            .and_then(|raw| template(raw).map_err(|found| problems.extend(found)).ok());
        if let Err(found) = budget::of(&spec.brokers) {
            problems.push(found);
        }
        if let Err(found) = budget::countable(&spec.brokers, pod_template.as_ref()) {
            problems.push(found);
        }
        for (i, text) in spec.exposure.trusted_proxies.iter().flatten().enumerate() {
            if text.parse::<ipnet::IpNet>().is_err() {
                let path = format!("spec.exposure.trustedProxies[{i}]");
                problems.push(format!("{path}: {text} is not a network: write it as 10.0.0.0/8"));
            }
        }
        let config = config::channel(&namespace, &name, &spec);
        let broker = config::broker(&config, &spec, settings);
        problems.extend(broker.problems().iter().map(|p| in_spec(&p.to_string())));
        let with_stream = BrokerConfig { channels: vec![config.clone()], ..broker.clone() };
        for problem in with_stream.problems() {
            let problem = in_spec(&problem.to_string());
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let owner = OwnerReference {
            block_owner_deletion: Some(true), // who deletes in the foreground sees the brokers go first
            ..ec.controller_owner_ref(&()).unwrap_or_default()
        };
        let uid = ec.uid().unwrap_or_default();
        Ok(Self { name, namespace, uid, owner, spec, config, broker, pod_template })
    }

    /// What every object of the channel is called.
    #[must_use]
    pub fn object_name(&self) -> String {
        names::object(&self.name)
    }

    /// The path of the channel's resource, without a slash at its end.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/channels/{}/{}", self.namespace, self.name)
    }

    /// The most brokers that there can be.
    #[must_use]
    pub fn most_brokers(&self) -> i32 {
        let brokers = &self.spec.brokers;
        brokers.autoscaling.as_ref().map_or(brokers.replicas, |a| a.max_replicas)
    }
}

/// The path that a person knows, for a path of the broker's configuration.
fn in_spec(problem: &str) -> String {
    let known = problem.replace("channels[0].", "spec.");
    let known = known.replace("spec.stream:", "spec.stream.name:");
    let known = known.replace("spec.subjectPrefix:", "spec.stream.subjectPrefix:");
    known.replace("memory.", "spec.brokers.resources.limits.memory: the budget ")
}

/// The escape hatch, read strictly: a key that Kubernetes does not know would be refused later, with worse words.
fn template(raw: &serde_json::Value) -> Result<PodTemplateSpec, Vec<String>> {
    let mut unknown = Vec::new();
    let read = serde_ignored::deserialize(raw, |path| {
        let path = written(&path);
        unknown
            .push(format!("spec.brokers.podTemplate.{path}: a PodTemplateSpec has no such field"));
    });
    match read {
        Ok(template) if unknown.is_empty() => Ok(template),
        Ok(_) => Err(unknown),
        Err(error) => Err(vec![format!("spec.brokers.podTemplate: {error}")]),
    }
}

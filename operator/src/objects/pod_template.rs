//! The pod template of the brokers' Deployment.

use std::collections::BTreeMap;

use k8s_openapi::{
    DeepMerge,
    api::core::v1::{
        Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
        LocalObjectReference, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
        ResourceFieldSelector, SeccompProfile, SecurityContext, TopologySpreadConstraint,
        VolumeMount,
    },
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};
use kube::core::ObjectMeta;
use serde_json::json;

use super::{Inputs, pod_labels, pod_selector, pod_volumes};
use crate::{
    broker_config::CONFIG_FILE,
    broker_defaults::LogDefaults,
    names, resources,
    settings::{CONFIG_FOLDER, Credentials},
    workload::Workload,
};

/// By these a Prometheus without its operator finds the pods to scrape.
const SCRAPE_ANNOTATIONS: [(&str, &str); 3] = [
    ("prometheus.io/scrape", "true"),
    ("prometheus.io/port", "9090"),
    ("prometheus.io/path", "/metrics"),
];

/// The operator's pod template with those of all channels and of the channel merged over it, as Kubernetes merges: containers, volumes and variables
/// by their names.
pub(super) fn build(
    workload: &Workload,
    inputs: Inputs<'_>,
    grace_seconds: u64,
) -> PodTemplateSpec {
    let hash = restart_hash(workload, inputs.credentials);
    let mut template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(pod_labels(workload)),
            annotations: Some(annotations(workload, inputs, hash)),
            ..ObjectMeta::default()
        }),
        spec: Some(pod(workload, inputs, grace_seconds)),
    };
    if let Some(custom) = &workload.pod_template {
        template.merge_from(custom.clone());
    }
    template
}

fn annotations(workload: &Workload, inputs: Inputs<'_>, hash: String) -> BTreeMap<String, String> {
    let mut annotations = workload.annotations.clone();
    if inputs.settings.brokers.metrics.annotations {
        let scrape = SCRAPE_ANNOTATIONS.map(|(key, value)| (key.to_owned(), value.to_owned()));
        annotations.extend(scrape);
    }
    annotations.insert(names::CONFIG_HASH_ANNOTATION.into(), hash);
    annotations
}

fn pod(workload: &Workload, inputs: Inputs<'_>, grace_seconds: u64) -> PodSpec {
    let brokers = &workload.brokers;
    let spread = brokers.topology_spread_constraints.clone().unwrap_or_else(|| {
        ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
            .map(|key| spread_constraint(workload, key))
            .to_vec()
    });
    let pull_secrets = inputs.settings.pull_secrets.iter();
    let pull_secrets: Vec<_> =
        pull_secrets.map(|name| LocalObjectReference { name: name.clone() }).collect();
    let (volumes, mounts) = pod_volumes::build(workload, inputs.credentials).into_iter().unzip();
    PodSpec {
        service_account_name: Some(workload.object_name()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: i64::try_from(grace_seconds).ok(),
        // No user and no groups: the image has a user, and OpenShift assigns one and rejects every other.
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".into(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        topology_spread_constraints: Some(spread),
        containers: vec![container(workload, inputs, mounts)],
        volumes: Some(volumes),
        node_selector: (!brokers.node_selector.is_empty()).then(|| brokers.node_selector.clone()),
        tolerations: (!brokers.tolerations.is_empty()).then(|| brokers.tolerations.clone()),
        priority_class_name: brokers.priority_class_name.clone(),
        image_pull_secrets: (!pull_secrets.is_empty()).then_some(pull_secrets),
        ..PodSpec::default()
    }
}

/// Spreads brokers over the values of the node label `key`. `ScheduleAnyway`: when a node is drained, its broker must find a place even if
/// the spread gets worse.
fn spread_constraint(workload: &Workload, key: &str) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        topology_key: key.into(),
        max_skew: 1,
        when_unsatisfiable: "ScheduleAnyway".into(),
        label_selector: Some(pod_selector(workload)),
        match_label_keys: Some(vec!["pod-template-hash".into()]),
        ..TopologySpreadConstraint::default()
    }
}

fn container(workload: &Workload, inputs: Inputs<'_>, mounts: Vec<VolumeMount>) -> Container {
    let settings = inputs.settings;
    let port = |name: &str, number| ContainerPort {
        name: Some(name.into()),
        container_port: number,
        ..ContainerPort::default()
    };
    let exposure = &workload.exposure;
    let public = [
        exposure.serves_plaintext().then(|| port("http", 8080)),
        exposure.tls.as_ref().map(|_| port("https", 8443)),
    ];
    let ports = public.into_iter().flatten().chain([port("admin", 9090)]).collect();
    Container {
        name: names::BROKER_CONTAINER.into(),
        image: Some(workload.image(&settings.broker_image).to_owned()),
        image_pull_policy: Some(settings.pull_policy.clone()),
        env: Some(environment(&settings.brokers.log)),
        args: Some(vec!["run".into(), "--config".into(), format!("{CONFIG_FOLDER}/{CONFIG_FILE}")]),
        ports: Some(ports),
        resources: Some(resources::container_resources(&workload.brokers)),
        // Independent of NATS: a restart would not bring NATS back.
        liveness_probe: Some(probe("/livez", 10, 3)),
        startup_probe: Some(probe("/livez", 1, 60)),
        readiness_probe: Some(probe("/readyz", 2, 2)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".into()]),
                ..Capabilities::default()
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

/// The memory limit comes from the container, because an autoscaler may change it there. Without a limit it is the memory of the node.
fn environment(log: &LogDefaults) -> Vec<EnvVar> {
    let (name, format) = ("EVENTCAST_LOG_FORMAT".into(), log.format.as_str().into());
    let limit = ResourceFieldSelector {
        container_name: Some(names::BROKER_CONTAINER.into()),
        resource: "limits.memory".into(),
        divisor: Some(Quantity("1".into())),
    };
    let limit = EnvVarSource { resource_field_ref: Some(limit), ..EnvVarSource::default() };
    vec![
        EnvVar { name, value: Some(format), ..EnvVar::default() },
        EnvVar {
            name: "EVENTCAST__MEMORY__LIMIT_BYTES".into(),
            value_from: Some(limit),
            ..EnvVar::default()
        },
    ]
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::String("admin".into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failure_threshold),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

/// SHA-256 of what a broker reads only at its start, so that no other change restarts the brokers.
fn restart_hash(workload: &Workload, credentials: &Credentials) -> String {
    let mut config = workload.config.restart_part();
    // A key that is not set counts as one that an older version of the operator did not know.
    config.retain(|_, value| !value.is_null());
    names::short_hash(&json!([config, credentials]).to_string())
}

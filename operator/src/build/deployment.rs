//! The brokers' Deployment. Pure. `replicas` is not in it: it has a field manager of its own (ADR 6).

use k8s_openapi::{DeepMerge, api::core::v1::PodTemplateSpec};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    Inputs, budget,
    config::{FILE, key_file},
};
use crate::{
    channel::Channel,
    names,
    settings::{CONFIG_FOLDER, Credentials, KEYS_FOLDER, NATS_FOLDER},
};

/// Uid and gid of the images.
const USER: i64 = 65532;
/// Between the end of the broker's own grace and the kubelet's patience.
const MARGIN_SECONDS: u64 = 2;
/// A new broker must hold so long before the next one is replaced: the streams of one have found a place by then.
const MIN_READY_SECONDS: u64 = 10;

pub(super) fn deployment(channel: &Channel, inputs: Inputs<'_>) -> Value {
    let brokers = u64::try_from(channel.max_brokers()).unwrap_or(1).max(1);
    let grace = channel.broker.shutdown.grace_seconds + MARGIN_SECONDS;
    json!({
        "spec": {
            "selector": {"matchLabels": names::selector(&channel.name)},
            // A broker goes only when another is ready in its place.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "minReadySeconds": MIN_READY_SECONDS,
            "progressDeadlineSeconds": (brokers * (grace + MIN_READY_SECONDS) * 3 / 2).max(600),
            "revisionHistoryLimit": 3,
            "template": template(channel, inputs, grace),
        },
    })
}

fn template(channel: &Channel, inputs: Inputs<'_>, grace: u64) -> Value {
    let ours = json!({
        "metadata": {
            "labels": names::labels(&channel.name),
            "annotations": {names::CONFIG_HASH_ANNOTATION: restart_hash(channel, inputs.credentials)},
        },
        "spec": pod(channel, inputs, grace),
    });
    let Some(theirs) = &channel.pod_template else {
        return ours;
    };
    // Kubernetes' own merge: lists of containers, volumes and variables by name.
    match serde_json::from_value::<PodTemplateSpec>(ours.clone()) {
        Ok(mut merged) => {
            merged.merge_from(theirs.clone());
            json!(merged)
        }
        // a unit test holds that ours can be read
        Err(_) => ours,
    }
}

fn pod(channel: &Channel, inputs: Inputs<'_>, grace: u64) -> Value {
    let brokers = &channel.spec.brokers;
    let mut pod = json!({
        "serviceAccountName": channel.object_name(),
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": grace,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": match &brokers.topology_spread_constraints {
            Some(theirs) => json!(theirs),
            None => json!(["kubernetes.io/hostname", "topology.kubernetes.io/zone"].map(|key| spread(channel, key))),
        },
        "containers": [container(channel, inputs)],
        "volumes": volumes(channel, inputs.credentials),
    });
    if !brokers.node_selector.is_empty() {
        pod["nodeSelector"] = json!(brokers.node_selector);
    }
    if !brokers.tolerations.is_empty() {
        pod["tolerations"] = json!(brokers.tolerations);
    }
    if let Some(class) = &brokers.priority_class_name {
        pod["priorityClassName"] = json!(class);
    }
    if !inputs.settings.pull_secrets.is_empty() {
        let named = inputs.settings.pull_secrets.iter().map(|name| json!({"name": name}));
        pod["imagePullSecrets"] = named.collect();
    }
    pod
}

/// Anyway: on a node that is drained the successor must find a place, even if it is not the best.
fn spread(channel: &Channel, key: &str) -> Value {
    json!({
        "topologyKey": key,
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": names::selector(&channel.name)},
        "matchLabelKeys": ["pod-template-hash"],
    })
}

fn container(channel: &Channel, inputs: Inputs<'_>) -> Value {
    let settings = inputs.settings;
    let probe = |path, period: u32, failures: u32| {
        json!({
            "httpGet": {"path": path, "port": "admin"},
            "periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": 2,
        })
    };
    json!({
        "name": names::BROKER_CONTAINER,
        "image": channel.image(&settings.broker_image),
        "imagePullPolicy": settings.pull_policy,
        "args": ["run", "--config", format!("{CONFIG_FOLDER}/{FILE}")],
        "ports": [{"name": "http", "containerPort": 8080}, {"name": "admin", "containerPort": 9090}],
        "resources": budget::resources(&channel.spec.brokers),
        // The process lives, and no more: NATS may be away for long, and a restart would help nobody.
        "livenessProbe": probe("/livez", 10, 3),
        "startupProbe": probe("/livez", 1, 60),
        "readinessProbe": probe("/readyz", 2, 2),
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts(channel, inputs.credentials),
    })
}

fn volumes(channel: &Channel, credentials: &Credentials) -> Vec<Value> {
    let mut volumes = vec![json!({"name": "config", "configMap": {"name": channel.object_name()}})];
    if !credentials.is_empty() {
        volumes.push(json!({"name": "nats", "secret": {"secretName": channel.object_name()}}));
    }
    let keys = channel.spec.access.tokens.iter().enumerate().filter_map(|(i, token)| {
        let key = token.key_secret.as_ref()?;
        Some(
            json!({"secret": {"name": key.name, "items": [{"key": key.key, "path": key_file(i)}]}}),
        )
    });
    let keys: Vec<_> = keys.collect();
    if !keys.is_empty() {
        volumes.push(json!({"name": "keys", "projected": {"sources": keys}}));
    }
    volumes
}

fn mounts(channel: &Channel, credentials: &Credentials) -> Vec<Value> {
    let mount = |name, path| json!({"name": name, "mountPath": path, "readOnly": true});
    let mut mounts = vec![mount("config", CONFIG_FOLDER)];
    if !credentials.is_empty() {
        mounts.push(mount("nats", NATS_FOLDER));
    }
    if channel.spec.access.tokens.iter().any(|t| t.key_secret.is_some()) {
        mounts.push(mount("keys", KEYS_FOLDER));
    }
    mounts
}

/// SHA-256 of what a broker reads at its start alone: a change of anything else rolls nothing.
fn restart_hash(channel: &Channel, credentials: &Credentials) -> String {
    let text = json!([channel.broker.restart_part(), credentials]).to_string();
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

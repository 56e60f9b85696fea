//! Names that must never change: a new name orphans everything that was created under the old one. Pure.

use sha2::{Digest, Sha256};

/// Field manager of everything that the operator applies (ADR 6).
pub const FIELD_MANAGER: &str = "eventcast-operator";
/// Field manager of a Deployment's `replicas` alone, so that an autoscaler can take over the field.
pub const SCALE_MANAGER: &str = "eventcast-operator-scale";
/// Field manager of the annotation of a pod that makes Kubernetes remove it first. Also the one that writes `replicas`: both are about the same step.
pub const DELETION_COST_MANAGER: &str = SCALE_MANAGER;
/// Field manager of the annotation of a pod with orders for its broker.
pub const ORDERS_MANAGER: &str = "eventcast-operator-orders";
/// Field manager of `status.subscribers` alone, which is written on its own schedule.
pub const SUBSCRIBERS_MANAGER: &str = "eventcast-operator-subscribers";
/// Field manager of the annotation of a pod with the hash of the channels of its pool.
pub const POOL_CONFIG_MANAGER: &str = "eventcast-operator-pool";
/// Annotation of a pod with the hash of the channels of its pool. The kubelet brings changed files at once when an annotation of the pod changes.
pub const POOL_CONFIG_ANNOTATION: &str = "eventcast.dev/channels-hash";
/// Name of the Lease for leader election.
pub const LEASE: &str = "eventcast-operator";
/// Name of the broker's container in its pod.
pub const BROKER_CONTAINER: &str = "broker";
/// Pod annotation with the hash of the configuration that a broker reads only at its start.
pub const CONFIG_HASH_ANNOTATION: &str = "eventcast.dev/config-hash";
/// Annotation of a Deployment with the hash of its pod template as the operator built it: another one rolls the brokers.
pub const TEMPLATE_HASH_ANNOTATION: &str = "eventcast.dev/template-hash";
/// Annotation of a Deployment that was rolled out by the operator: the hash of the template, the settings of the operator, and whether its brokers
/// were healthy before.
pub const ROLLOUT_RECORD_ANNOTATION: &str = "eventcast.dev/rollout-record";
/// Pod annotation of Kubernetes: of the pods of a ReplicaSet, those with the lowest cost are removed first.
pub const DELETION_COST_ANNOTATION: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Label selector of everything that the operator created.
pub const MANAGED_SELECTOR: &str = "app.kubernetes.io/managed-by=eventcast-operator";
/// Label with the name of the channel.
pub const CHANNEL_LABEL: &str = "eventcast.dev/channel";
/// Label with the name of the pool.
pub const POOL_LABEL: &str = "eventcast.dev/pool";

/// Metadata keys of a stream that identify the channel that owns it.
pub mod stream_metadata {
    /// `--cluster` of the operator.
    pub const CLUSTER: &str = "eventcast.dev/cluster";
    /// Namespace of the channel.
    pub const NAMESPACE: &str = "eventcast.dev/namespace";
    /// Name of the channel.
    pub const NAME: &str = "eventcast.dev/name";
    /// `metadata.uid` of the channel.
    pub const UID: &str = "eventcast.dev/uid";
}

/// The first 8 bytes of the SHA-256 of a text, in hexadecimal.
#[must_use]
pub fn short_hash(text: &str) -> String {
    let digest = Sha256::digest(text);
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

//! Names that are for ever: changing one orphans what was made under the old one. Pure.

use std::collections::BTreeMap;

use eventcast_crds::channel::GROUP;

/// Field manager of everything that is applied. ADR 6.
pub const MANAGER: &str = "eventcast-operator";
/// Field manager of a Deployment's `replicas` alone, so that an autoscaler can take the number over.
pub const SCALE_MANAGER: &str = "eventcast-operator-scale";
/// Field manager of `status.subscribers` alone, which is written at another rhythm.
pub const SUBSCRIBERS_MANAGER: &str = "eventcast-operator-subscribers";
/// The Lease that the leader holds.
pub const LEASE: &str = "eventcast-operator";
/// Name of the broker's container.
pub const CONTAINER: &str = "broker";
/// Hash of what a broker reads at its start alone.
pub const CONFIG_HASH: &str = "eventcast.dev/config-hash";
/// Finds everything that the operator made.
pub const MANAGED: &str = "app.kubernetes.io/managed-by=eventcast-operator";
/// Label with the name of the channel.
pub const CHANNEL_LABEL: &str = "eventcast.dev/channel";

/// Metadata keys of a stream that say whose it is.
pub mod mark {
    /// Name of the Kubernetes cluster, as the operator was told.
    pub const CLUSTER: &str = "eventcast.dev/cluster";
    /// Namespace of the channel.
    pub const NAMESPACE: &str = "eventcast.dev/namespace";
    /// Name of the channel.
    pub const NAME: &str = "eventcast.dev/name";
    /// `metadata.uid` of the channel.
    pub const UID: &str = "eventcast.dev/uid";
}

/// What every object of a channel is called.
#[must_use]
pub fn object(channel: &str) -> String {
    format!("{channel}-broker")
}

/// What finds the pods of a channel; cannot be changed once a Deployment has it.
#[must_use]
pub fn selector(channel: &str) -> BTreeMap<String, String> {
    let pairs = [("name", "eventcast-broker"), ("instance", channel), ("component", "broker")];
    pairs.into_iter().map(|(k, v)| (format!("app.kubernetes.io/{k}"), v.to_owned())).collect()
}

/// The labels of every object of a channel, its pods included. No version: it would roll every broker with each operator.
#[must_use]
pub fn labels(channel: &str) -> BTreeMap<String, String> {
    let mut labels = selector(channel);
    labels.insert("app.kubernetes.io/managed-by".into(), MANAGER.into());
    labels.insert("app.kubernetes.io/part-of".into(), "eventcast".into());
    labels.insert(format!("{GROUP}/channel"), channel.into());
    labels
}

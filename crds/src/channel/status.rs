//! The status of a channel.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::brokers::PoolReference;

/// The status that the operator writes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EventChannelStatus {
    /// Accepted, StreamReady, Available and Exposed; Ready if all of these are true; AccessReady; UpToDate; DeliveryVerified if delivery is probed; Autoscaled if the operator chooses the number of brokers;
    /// Balanced if there can be several brokers; Stalled while somebody must change something; Paused while
    /// reconciliation is paused.
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Generation of the spec that was reconciled last; -1 if none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// URL at which clients subscribe and publish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where Knative sends CloudEvents to the channel, inside the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// Ready and desired brokers, such as 2/3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brokers: Option<String>,
    /// Number of brokers.
    pub replicas: i32,
    /// Number of ready brokers.
    pub ready_replicas: i32,
    /// Label selector of the broker pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Open streams of all brokers, counted once a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribers: Option<i64>,
    /// The number of brokers that the operator has chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<AutoscalingStatus>,
    /// The pool that serves the channel. Absent if it has brokers of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolReference>,
    /// The last change of the brokers that serve the channel, until the earlier ones have closed their streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
    /// What the brokers have measured when they subscribed through the URL of clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryStatus>,
    /// The stream behind the channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamStatus>,
    /// Image of the brokers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The operator that reconciles this channel. Others leave the channel alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<OperatorStatus>,
    /// Version of the operator that wrote this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator_version: Option<String>,
}

/// A change of the brokers that serve a channel: from its own to a pool, back, or from a pool to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Moved {
    /// The pool that served the channel before. Absent if it had brokers of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PoolReference>,
    /// Since when new streams go to the new brokers (RFC 3339).
    pub at: String,
}

/// The number of brokers that the operator has chosen. After a restart of the operator it begins from there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalingStatus {
    /// Number of brokers.
    pub desired: i32,
    /// Reason of the condition Autoscaled.
    pub reason: String,
}

/// What the brokers have measured when they subscribed through the URL of clients. Written again only if a value has more than doubled or halved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryStatus {
    /// URL that was checked.
    pub url: String,
    /// Version of HTTP between the probe and the outermost proxy, such as HTTP/2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_version: Option<String>,
    /// Milliseconds from the request to the first byte of the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_milliseconds: Option<i64>,
    /// Milliseconds from the publication of an event to its arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_milliseconds: Option<i64>,
}

/// The operator that reconciles a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperatorStatus {
    /// Namespace of the operator.
    pub name: String,
    /// Until when no other operator takes the channel over (RFC 3339). Renewed while the operator runs. Absent: the claim lasts as long as the
    /// operator renews its Lease, and half an hour more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// An address as Knative reads it (the duck type `Addressable`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// URL that takes CloudEvents by POST.
    pub url: String,
}

/// The stream behind a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamStatus {
    /// Name of the stream in JetStream.
    pub name: String,
    /// Epoch of the stream, which is part of every cursor. A recreated stream has another one.
    pub epoch: String,
    /// Creation time of the stream (RFC 3339).
    pub created: String,
}

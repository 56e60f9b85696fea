//! The status of a pool.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::channel::status::{AutoscalingStatus, OperatorStatus};

/// The status that the operator writes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerPoolStatus {
    /// Accepted, Available and Exposed; Ready if all of these are true; UpToDate; Autoscaled if the operator chooses the number of brokers; Balanced if
    /// there can be several brokers; Stalled while somebody must change something; Paused while reconciliation is paused.
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Generation of the spec that was reconciled last; -1 if none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// URL of the pool. The channels are below it, as /channels/<namespace>/<name>/events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Channels that the pool serves.
    pub channels: i64,
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
    /// Open streams of all channels and brokers, counted once a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribers: Option<i64>,
    /// The number of brokers that the operator has chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<AutoscalingStatus>,
    /// Image of the brokers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The operator that reconciles this pool. Others leave it alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<OperatorStatus>,
    /// Version of the operator that wrote this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator_version: Option<String>,
}

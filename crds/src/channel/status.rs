//! What the operator reports of a channel.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator reports of a channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EventChannelStatus {
    /// Accepted, StreamReady, Available, Exposed and Ready, the sum of them; Paused while the operator looks away.
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where clients subscribe and publish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Brokers that are ready, of those that are wanted: 2/3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brokers: Option<String>,
    /// Brokers that there are.
    pub replicas: i32,
    /// Brokers that are ready.
    pub ready_replicas: i32,
    /// Label selector of the brokers' pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Open streams of all brokers, looked at once a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribers: Option<i64>,
    /// The stream behind the channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamStatus>,
    /// Image of the brokers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Version of the operator that wrote this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator_version: Option<String>,
}

/// The stream behind a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamStatus {
    /// Its name in JetStream.
    pub name: String,
    /// The name of its incarnation, as cursors have it.
    pub epoch: String,
    /// When it was created (RFC 3339).
    pub created: String,
}

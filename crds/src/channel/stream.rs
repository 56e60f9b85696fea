//! The JetStream stream behind a channel.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The JetStream stream behind a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamSpec {
    /// Name of the stream. If not set, SSE_<namespace>_<name>. Cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub name: Option<String>,
    /// Prefix of the channel's NATS subjects. If not set, sse.<namespace>.<name>. Cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub subject_prefix: Option<String>,
    /// Whether to adopt an existing stream of this name that the operator did not create.
    pub adoption_policy: AdoptionPolicy,
}

/// Whether to adopt a stream that the operator did not create.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AdoptionPolicy {
    /// Leave the stream unchanged. The channel does not become ready.
    #[default]
    Never,
    /// Adopt the stream: set its limits to those of the channel, and keep its events.
    Adopt,
}

/// Whether the stream is deleted with its channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Keep the stream. A new channel of the same name uses it again.
    #[default]
    Retain,
    /// Delete the stream and its events.
    Delete,
}

//! The JetStream stream behind a channel.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The JetStream stream behind a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamSpec {
    /// Name of the stream; SSE_<namespace>_<name> when absent. Cannot be changed later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub name: Option<String>,
    /// The channel's subjects begin with this; sse.<namespace>.<name> when absent. Cannot be changed later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub subject_prefix: Option<String>,
    /// What to do with a stream of this name that the operator did not create.
    pub adoption_policy: AdoptionPolicy,
}

/// What to do with a stream that somebody else created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AdoptionPolicy {
    /// Leave it alone; the channel is not ready.
    #[default]
    Never,
    /// Take it over: its limits are set to those of the channel, its events stay.
    Adopt,
}

/// What becomes of the stream when its channel is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays; a channel of the same name finds it again.
    #[default]
    Retain,
    /// It is deleted with all its events.
    Delete,
}

//! Logs of the broker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Logs. Changes apply without a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Log {
    /// Log filter, such as `info` or `eventcast_broker=debug,warn`. If not set, the one of the command line (`--log`) applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Whether there is a line for each request and for each end of a stream, with the target `eventcast::access`. Of requests that are
    /// refused, at most ten in a second.
    pub access: bool,
}

impl Log {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

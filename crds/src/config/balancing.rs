//! Closing streams at the request of the operator, so that they are spread evenly over brokers.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Balancing: at the request of the operator a broker that has more streams than others closes some, whose clients then reconnect elsewhere
/// without loss.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Balancing {
    /// File with the request of the operator. If not set, or if the file is missing, no stream is closed for balance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orders_file: Option<PathBuf>,
    /// Streams that are closed in a second at most: 1 to 10,000. In ten minutes no more are closed than there were, whatever is requested.
    pub shed_per_second: u32,
    /// Seconds for which a stream that was opened, perhaps after it was closed elsewhere, stays open: at most 3600.
    pub min_stream_seconds: u64,
}

impl Default for Balancing {
    fn default() -> Self {
        Self { orders_file: None, shed_per_second: 100, min_stream_seconds: 60 }
    }
}

impl Balancing {
    /// Whether nothing differs from the defaults.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

//! Limits of each broker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Limits;

/// Limits of each broker of the channel, beside `delivery.maxSubscribers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitsSpec {
    /// Subscribers of one broker from one client address. Behind a proxy that is not trusted (exposure.trustedProxies) all clients
    /// have one address.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub subscribers_per_address: usize,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        let Limits { subscribers_per_address, .. } = Limits::default();
        Self { subscribers_per_address }
    }
}

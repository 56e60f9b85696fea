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
    /// How long a connection without a request is kept. Longer than the proxies in front keep theirs (60 s is common), or they send
    /// requests on connections that are about to be closed.
    #[schemars(range(min = 1, max = 3600))]
    pub idle_seconds: u64,
    /// Bytes of a request's head, which is its request line and its headers, cookies included. Beyond, the answer is 431.
    #[schemars(range(min = 4096, max = 262_144))]
    pub head_bytes: usize,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        let Limits { subscribers_per_address, idle_seconds, head_bytes, .. } = Limits::default();
        Self { subscribers_per_address, idle_seconds, head_bytes }
    }
}

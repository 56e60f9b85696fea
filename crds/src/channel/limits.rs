//! Limits of each broker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Limits;

/// Limits of each broker of the channel. `delivery.maxSubscribers` is another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitsSpec {
    /// Maximum number of subscribers of one broker from one client address. Behind a proxy that is not trusted
    /// (exposure.trustedProxies) all clients have the address of the proxy.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub subscribers_per_address: usize,
    /// Seconds after which an idle connection is closed. Must be longer than the idle timeout of the proxies in front (60 s is common);
    /// otherwise they send requests on connections that are about to be closed.
    #[schemars(range(min = 1, max = 3600))]
    pub idle_seconds: u64,
    /// Maximum size of a request's head (request line and headers, cookies included) in bytes. A larger one is answered with 431.
    #[schemars(range(min = 4096, max = 262_144))]
    pub head_bytes: usize,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        let Limits { subscribers_per_address, idle_seconds, head_bytes, .. } = Limits::default();
        Self { subscribers_per_address, idle_seconds, head_bytes }
    }
}

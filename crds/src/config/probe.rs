//! The delivery probe of a channel.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a broker checks that events reach clients: it subscribes through the URL that clients use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// The URL of the channel's events, as clients open it.
    #[schemars(length(min = 8, max = 2048))]
    pub url: String,
    /// Seconds between two probes of one broker, randomised by a fifth: 60 to 86,400.
    #[serde(default = "default_interval")]
    #[schemars(range(min = 60, max = 86_400))]
    pub interval_seconds: u64,
    /// Seconds that the stream of a probe stays open: 1 to 600. Proxies that end streams sooner are noticed. At least one heartbeat is awaited in
    /// any case.
    #[serde(default = "default_stream")]
    #[schemars(range(min = 1, max = 600))]
    pub stream_seconds: u64,
    /// The proxy between clients and brokers, if the answers do not tell: `nginx`, `haproxy`, `envoy`, `traefik` or another name. Determines which setting
    /// is advised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub proxy: Option<String>,
    /// A new value starts a probe at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub request: Option<String>,
}

fn default_interval() -> u64 {
    300
}

/// Longer than the usual time limits of proxies: 15 s (Envoy), 30 s (Google Cloud), 60 s (nginx, AWS).
fn default_stream() -> u64 {
    70
}

impl Probe {
    /// A probe of `url` with defaults for all other keys.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.into(),
            interval_seconds: default_interval(),
            stream_seconds: default_stream(),
            proxy: None,
            request: None,
        }
    }
}

//! The delivery probe of a channel.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How brokers check that events reach clients: each subscribes through status.url, as a client does, and publishes events that only this stream
/// receives. They are not stored. The condition DeliveryVerified says what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProbeSpec {
    /// Whether brokers probe. If not set: if clients outside of the cluster have a URL, that is with an Ingress, an HTTPRoute or a load balancer. With
    /// true, the Service is probed if there is none of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Seconds between two probes of one broker, randomised by a fifth.
    #[schemars(range(min = 60, max = 86_400))]
    pub interval_seconds: u64,
    /// Seconds that the stream of a probe stays open. Proxies that end streams sooner are noticed. At least one heartbeat is awaited in any case.
    #[schemars(range(min = 1, max = 600))]
    pub stream_seconds: u64,
}

impl Default for ProbeSpec {
    fn default() -> Self {
        let crate::config::Probe { interval_seconds, stream_seconds, .. } =
            crate::config::Probe::new("");
        Self { enabled: None, interval_seconds, stream_seconds }
    }
}

//! Settings of the brokers of all channels: the file of `--broker-defaults`. Pure.

mod metadata;
mod parse;

use std::collections::BTreeMap;

use eventcast_crds::config::{Limits, Log, Overload, Query, Telemetry};
use k8s_openapi::api::{
    core::v1::PodTemplateSpec,
    networking::v1::{NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer},
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// What the brokers of all channels have in common. A channel's own settings override it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerDefaults {
    /// Labels of all objects and pods.
    pub labels: BTreeMap<String, String>,
    /// Annotations of all objects and pods.
    pub annotations: BTreeMap<String, String>,
    /// Patterns of the channel's labels that its objects and pods get, such as `cost.example.com/*`.
    pub inherit_labels: Vec<String>,
    /// Patterns of the channel's annotations that its objects and pods get.
    pub inherit_annotations: Vec<String>,
    /// Merged over the operator's pod template, and below `brokers.podTemplate` of the channel.
    pub pod_template: Option<PodTemplateSpec>,
    /// The brokers' log.
    pub log: LogDefaults,
    /// Where the spans of brokers go.
    pub telemetry: Telemetry,
    /// Limits of a broker for which a channel has no field.
    pub limits: LimitDefaults,
    /// Limits of history and statistics requests.
    pub query: QueryDefaults,
    /// The PodMonitors.
    pub pod_monitor: PodMonitorDefaults,
    /// How brokers are found by a Prometheus without its operator.
    pub metrics: MetricsDefaults,
    /// The NetworkPolicies.
    pub network_policy: NetworkPolicyDefaults,
}

/// The brokers' log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LogDefaults {
    /// Filter, such as `info` or `eventcast_broker=debug,warn`. `None`: the broker's own.
    pub level: Option<String>,
    /// Format of the lines.
    pub format: LogFormat,
    /// Whether there is an access log.
    pub access: bool,
}

impl LogDefaults {
    /// What a running broker takes over, unlike the format.
    #[must_use]
    pub fn log(&self) -> Log {
        Log { level: self.level.clone(), access: self.access }
    }
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object in a line.
    #[default]
    Json,
    /// Human-readable text.
    Text,
}

impl LogFormat {
    /// The value of `EVENTCAST_LOG_FORMAT`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
        }
    }
}

/// Limits of a broker; those that are not set have the broker's own default. `limits` and `delivery.maxSubscribers` of a channel are
/// others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitDefaults {
    /// Maximum number of open connections.
    pub connections: Option<usize>,
    /// Maximum number of subscribers.
    pub subscribers: Option<usize>,
    /// Response to a subscriber beyond a limit.
    pub overload: Option<Overload>,
    /// Allowed values of the header `Host`.
    pub allowed_hosts: Option<Vec<String>>,
    /// Maximum number of publishes in progress.
    pub publishes_in_flight: Option<usize>,
}

impl LimitDefaults {
    /// The broker's default limits, with these instead where they are set.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let default = Limits::default();
        let Self { connections, subscribers, overload, allowed_hosts, publishes_in_flight } = self;
        Limits {
            connections: connections.unwrap_or(default.connections),
            subscribers: subscribers.unwrap_or(default.subscribers),
            overload: overload.unwrap_or(default.overload),
            allowed_hosts: allowed_hosts.clone().unwrap_or_default(),
            publishes_in_flight: publishes_in_flight.unwrap_or(default.publishes_in_flight),
            ..default
        }
    }
}

/// Limits of history and statistics requests; those that are not set have the broker's own default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryDefaults {
    /// Maximum number of events that a request scans.
    pub scan_events: Option<usize>,
    /// Maximum number of bytes that a request scans.
    pub scan_bytes: Option<usize>,
    /// Maximum number of requests at the same time.
    pub concurrent: Option<usize>,
}

impl QueryDefaults {
    /// The broker's default limits, with these instead where they are set.
    #[must_use]
    pub fn query(&self) -> Query {
        let default = Query::default();
        Query {
            scan_events: self.scan_events.unwrap_or(default.scan_events),
            scan_bytes: self.scan_bytes.unwrap_or(default.scan_bytes),
            concurrent: self.concurrent.unwrap_or(default.concurrent),
            ..default
        }
    }
}

/// The PodMonitors of the brokers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMonitorDefaults {
    /// Further labels, by which a Prometheus selects them.
    pub labels: BTreeMap<String, String>,
    /// Scrape interval, such as `15s`.
    pub interval: String,
    /// Scrape timeout; `None`: that of Prometheus.
    pub scrape_timeout: Option<String>,
    /// Rules over the labels of a target.
    pub relabelings: Vec<Map<String, Value>>,
    /// Rules over the labels of its metrics.
    pub metric_relabelings: Vec<Map<String, Value>>,
    /// Further fields of the endpoint, such as `honorLabels`.
    pub endpoint_additional_properties: Map<String, Value>,
}

impl Default for PodMonitorDefaults {
    fn default() -> Self {
        Self {
            labels: BTreeMap::new(),
            interval: "15s".into(),
            scrape_timeout: None,
            relabelings: Vec::new(),
            metric_relabelings: Vec::new(),
            endpoint_additional_properties: Map::new(),
        }
    }
}

/// How brokers are found by a Prometheus without its operator.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MetricsDefaults {
    /// Whether pods have the annotations `prometheus.io/*`.
    pub annotations: bool,
}

impl Default for MetricsDefaults {
    fn default() -> Self {
        Self { annotations: true }
    }
}

/// The NetworkPolicies of the brokers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicyDefaults {
    /// Further rules for connections to brokers.
    pub extra_ingress: Vec<NetworkPolicyIngressRule>,
    /// Further rules for connections of brokers.
    pub extra_egress: Vec<NetworkPolicyEgressRule>,
    /// Peers that may connect to the admin port; all if empty. The operator must be one of them.
    pub metrics_from: Vec<NetworkPolicyPeer>,
}

//! Where the spans of the broker go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Traces of the broker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Telemetry {
    /// The export of traces to an OpenTelemetry collector, by OTLP over HTTP.
    #[serde(skip_serializing_if = "Otlp::is_default")]
    pub otlp: Otlp,
}

impl Telemetry {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The export of traces to an OpenTelemetry collector, by OTLP over HTTP. The variables `OTEL_*` of the environment win.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Otlp {
    /// URL of the collector, such as `http://collector.monitoring:4318`; `/v1/traces` is appended. If not set, nothing is exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Share of the traces that begin at a broker and are recorded: 0 to 1. If not set, 0.01. Traces that begin elsewhere are recorded if
    /// their `traceparent` says that they are sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_ratio: Option<f64>,
}

impl Otlp {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

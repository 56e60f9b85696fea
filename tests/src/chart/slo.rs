//! The service levels of the chart: recording rules, and the files for Sloth and Pyrra. The types have as much as the files use.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;

use super::{promql::Known, read};

/// The windows over which Sloth computes ratios.
pub const SLOTH_WINDOWS: [&str; 8] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d"];

/// A group of recording rules.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordGroup {
    /// Its name.
    pub name: String,
    /// How often they are evaluated.
    pub interval: String,
    /// Its rules.
    pub rules: Vec<Record>,
}

/// A recording rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The name of its series.
    pub record: String,
    /// What it records.
    pub expr: String,
    /// Labels of its series.
    pub labels: BTreeMap<String, String>,
}

/// `sloth.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sloth {
    /// Version of the format.
    pub version: String,
    /// Name of the service.
    pub service: String,
    /// The service levels.
    pub slos: Vec<SlothLevel>,
}

/// One service level for Sloth.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the format of Sloth, https://sloth.dev/specs/default/")]
pub struct SlothLevel {
    pub name: String,
    pub objective: f64,
    pub description: String,
    pub sli: Sli,
    pub alerting: Alerting,
}

/// How a service level is measured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the format of Sloth")]
pub struct Sli {
    pub events: Events,
}

/// A ratio of events. An object of Kubernetes has the same keys in camel case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the format of Sloth")]
pub struct Events {
    #[serde(alias = "errorQuery")]
    pub error_query: String,
    #[serde(alias = "totalQuery")]
    pub total_query: String,
}

/// Alerts that Sloth makes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the format of Sloth")]
pub struct Alerting {
    pub name: String,
    pub annotations: BTreeMap<String, String>,
    #[serde(alias = "pageAlert")]
    pub page_alert: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(alias = "ticketAlert")]
    pub ticket_alert: BTreeMap<String, BTreeMap<String, String>>,
}

/// The `spec` of an object for Sloth.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the format of Sloth, https://sloth.dev/specs/k8s/")]
pub struct PrometheusServiceLevel {
    pub service: String,
    pub slos: Vec<SlothLevel>,
}

/// The `spec` of an object for Pyrra.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the format of Pyrra, pyrra.dev/v1alpha1")]
pub struct ServiceLevelObjective {
    pub target: String,
    pub window: String,
    pub description: String,
    pub alerting: PyrraAlerting,
    pub indicator: Indicator,
}

/// Alerts that Pyrra makes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the format of Pyrra")]
pub struct PyrraAlerting {
    pub name: String,
}

/// How Pyrra measures a service level.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
#[expect(missing_docs, reason = "the format of Pyrra")]
pub enum Indicator {
    Ratio { errors: Metric, total: Metric, grouping: Vec<String> },
    Latency { success: Metric, total: Metric, grouping: Vec<String> },
}

impl Indicator {
    /// The counters of errors or successes, and of all events.
    #[must_use]
    pub fn selectors(&self) -> [&str; 2] {
        match self {
            Self::Ratio { errors: part, total, .. }
            | Self::Latency { success: part, total, .. } => [&part.metric, &total.metric],
        }
    }
}

/// A selector of a counter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the format of Pyrra")]
pub struct Metric {
    pub metric: String,
}

/// The recording rules.
///
/// # Errors
/// When the file is not of that form.
pub fn records() -> Result<Vec<Record>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        groups: Vec<RecordGroup>,
    }
    let file: File = serde_saphyr::from_str(&read("charts/eventcast/files/slo/rules.yaml")?)?;
    Ok(file.groups.into_iter().flat_map(|group| group.rules).collect())
}

/// The series that the recording rules make.
#[must_use]
pub fn recorded() -> Known {
    ["errors", "events"].iter().fold(Known::default(), |known, what| {
        known.and(&format!("eventcast:slo_{what}:rate5m"), &["channel", "slo"])
    })
}

/// The file for Sloth.
///
/// # Errors
/// When it is not of that form.
pub fn sloth() -> Result<Sloth> {
    Ok(serde_saphyr::from_str(&read("charts/eventcast/files/slo/sloth.yaml")?)?)
}

/// The `spec` of each object in the file for Pyrra, with its name.
///
/// # Errors
/// When one is not of that form.
pub fn pyrra() -> Result<Vec<(String, ServiceLevelObjective)>> {
    let objects = super::parse(&read("charts/eventcast/files/slo/pyrra.yaml")?)?;
    let of = |object: serde_json::Value| {
        let name = super::text(&object, "/metadata/name").to_owned();
        Ok((name, serde_json::from_value(object["spec"].clone())?))
    };
    objects.into_iter().map(of).collect()
}

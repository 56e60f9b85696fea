//! Alerts, dashboards and runbooks of the chart, and the metrics that operators promise.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

use super::{
    files,
    promql::Known,
    read,
    slo::{self, Events},
    stem,
};

/// A group of rules.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its alerts.
    pub rules: Vec<Rule>,
}

/// An alert.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name.
    pub alert: String,
    /// When it fires.
    pub expr: String,
    /// For how long that must hold; empty: at once.
    #[serde(default, rename = "for")]
    pub lasts: String,
    /// Severity.
    pub labels: BTreeMap<String, String>,
    /// Summary, description, runbook.
    pub annotations: BTreeMap<String, String>,
}

/// All alerts.
///
/// # Errors
/// When the file is not of that form.
pub fn rules() -> Result<Vec<Rule>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        groups: Vec<Group>,
    }
    let file: File = serde_saphyr::from_str(&read("charts/eventcast/files/alerts.yaml")?)?;
    Ok(file.groups.into_iter().flat_map(|group| group.rules).collect())
}

/// Every dashboard, with its file's name.
///
/// # Errors
/// When one is no JSON.
pub fn dashboards() -> Result<Vec<(String, Value)>> {
    let of = |file: std::path::PathBuf| {
        let text = fs::read_to_string(&file)?;
        let value = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
        Ok((stem(&file), value))
    };
    files("charts/eventcast/files/dashboards", ".json")?.into_iter().map(of).collect()
}

/// Every panel of a dashboard, but the rows.
#[must_use]
pub fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    panels.filter(|panel| panel["type"] != "row").collect()
}

/// Every query of a dashboard's panels.
#[must_use]
pub fn queries(dashboard: &Value) -> Vec<&str> {
    let targets = panels(dashboard)
        .into_iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets.filter_map(|target| target["expr"].as_str()).collect()
}

/// Every query of a dashboard's annotations.
#[must_use]
pub fn annotations(dashboard: &Value) -> Vec<&str> {
    let list = dashboard["annotations"]["list"].as_array().into_iter().flatten();
    list.filter_map(|annotation| annotation["expr"].as_str()).collect()
}

/// Every text that names metrics, with where it stands: alerts, service levels, dashboards, runbooks, and pages for troubleshooting.
///
/// # Errors
/// When one of them cannot be read.
pub fn texts() -> Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    for rule in rules()? {
        texts.push((rule.alert, rule.expr));
    }
    for (name, dashboard) in dashboards()? {
        let variables = dashboard["templating"]["list"].as_array().into_iter().flatten();
        let of_variables = variables.filter_map(|variable| variable["definition"].as_str());
        let all = queries(&dashboard).into_iter().chain(of_variables);
        let all = all.chain(annotations(&dashboard));
        texts.extend(all.map(|query| (format!("dashboard {name}"), query.to_owned())));
    }
    texts.extend(slo::records()?.into_iter().map(|rule| (rule.record, rule.expr)));
    for level in slo::sloth()?.slos {
        let Events { error_query, total_query } = level.sli.events;
        texts.extend([error_query, total_query].map(|query| (level.name.clone(), query)));
    }
    for (name, level) in slo::pyrra()? {
        texts.extend(
            level.indicator.selectors().map(|selector| (name.clone(), selector.to_owned())),
        );
    }
    for file in files("docs/runbooks", ".md")? {
        texts.push((format!("runbook {}", stem(&file)), fs::read_to_string(&file)?));
    }
    for page in ["docs/TROUBLESHOOTING.md", "docs/NATS.md", "docs/proxies/README.md"] {
        texts.push((page.to_owned(), read(page)?));
    }
    Ok(texts)
}

/// What an operator serves besides, if there are pools.
#[must_use]
pub fn pools() -> Known {
    Known::default()
        .and("eventcast_operator_pool_channels", &["pool"])
        .and("eventcast_operator_pool_max_channels", &["pool"])
}

/// What an operator serves from its start.
#[must_use]
pub fn operator() -> Known {
    let histogram = "eventcast_operator_reconcile_seconds";
    Known::default()
        .and("eventcast_operator_reconciles_total", &["result"])
        .and(&format!("{histogram}_bucket"), &["le"])
        .and(&format!("{histogram}_sum"), &[])
        .and(&format!("{histogram}_count"), &[])
        .and("eventcast_operator_failures_total", &["reason"])
        .and("eventcast_operator_channels", &["ready"])
        .and("eventcast_operator_drift_repairs_total", &["kind"])
        .and("eventcast_operator_leader", &[])
        .and("eventcast_operator_watch_errors_total", &["kind"])
        .and("eventcast_operator_api_writes_total", &["kind", "verb"])
        .and("eventcast_operator_nats_connected", &[])
        .and("eventcast_operator_stream_changes_total", &["change"])
        .and("eventcast_operator_schema_differences", &[])
        .and("eventcast_operator_panics_total", &[])
        .and("eventcast_operator_looks_total", &["result"])
        .and("eventcast_operator_scalings_total", &["direction"])
        .and("eventcast_operator_episodes_total", &["end"])
        .and("eventcast_operator_imbalance_ratio", &[])
        .and("eventcast_operator_rollouts", &["state"])
        .and("eventcast_operator_autopilot_channels", &["condition", "reason"])
        .and("eventcast_build_info", &["program", "version", "architecture"])
        .and("process_cpu_seconds_total", &[])
        .and("process_open_fds", &[])
        .and("process_max_fds", &[])
        .and("process_resident_memory_bytes", &[])
        .and("process_virtual_memory_bytes", &[])
        .and("process_start_time_seconds", &[])
        .and("process_threads", &[])
}

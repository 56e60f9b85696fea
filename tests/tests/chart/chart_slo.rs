//! Service levels: the recording rules compute what they say, and the files for Sloth and Pyrra query what exists.

use std::{collections::BTreeSet, fmt::Write as _, fs};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    chart::{self, find, slo},
    process,
};
use serde_json::{Value, json};

use super::chart_monitoring::promtool;

#[test]
fn recording_rules_compute_errors_and_events() -> Result<()> {
    promtool(&["check", "rules", "charts/eventcast/files/slo/rules.yaml"])?;
    promtool(&["test", "rules", "tests/chart/slo_test.yaml"])?;
    Ok(())
}

#[test]
fn every_service_level_is_recorded_and_the_same_in_both_files() -> Result<()> {
    let records = slo::records()?;
    let recorded: BTreeSet<_> = records.iter().map(|rule| rule.labels["slo"].clone()).collect();
    let sloth = slo::sloth()?;
    ensure!(sloth.version == "prometheus/v1", "{}", sloth.version);
    let levels: BTreeSet<_> = sloth.slos.iter().map(|level| level.name.clone()).collect();
    ensure!(levels == recorded, "{levels:?}, {recorded:?}");
    let pyrra = slo::pyrra()?;
    ensure!(pyrra.len() == sloth.slos.len(), "{} of {}", pyrra.len(), sloth.slos.len());
    for (level, (name, other)) in sloth.slos.iter().zip(&pyrra) {
        ensure!(*name == format!("eventcast-{}", level.name), "{name}");
        ensure!(other.target.parse::<f64>()? == level.objective, "{name}: {}", other.target);
        ensure!(other.description == level.description, "{name}: {}", other.description);
        ensure!(other.alerting.name == level.alerting.name, "{name}: alerts");
        let runbook = level.alerting.annotations["runbook_url"].rsplit('/').next();
        let runbook = format!("docs/runbooks/{}", runbook.unwrap_or_default());
        ensure!(chart::read(&runbook).is_ok(), "{name}: no {runbook}");
        for (query, what) in
            [(&level.sli.events.error_query, "errors"), (&level.sli.events.total_query, "events")]
        {
            let series = format!("eventcast:slo_{what}:rate5m{{slo=\"{}\"}}", level.name);
            ensure!(query.contains(&series), "{name}: {query}");
        }
    }
    Ok(())
}

#[test]
fn queries_are_valid_for_every_window_of_sloth_and_for_pyrra() -> Result<()> {
    let mut rules = "groups: [{name: slo, rules: [".to_owned();
    let mut add = |query: &str| write!(rules, "{{record: 'a:b', expr: {}}},", json!(query));
    for level in slo::sloth()?.slos {
        let events = level.sli.events;
        for window in slo::SLOTH_WINDOWS {
            let of = |query: &str| query.replace("{{.window}}", window);
            let (errors, total) = (of(&events.error_query), of(&events.total_query));
            ensure!(!errors.contains('{') || !errors.contains("{{"), "a window is left: {errors}");
            add(&format!("({errors}) / ({total})"))?;
        }
    }
    for (_, level) in slo::pyrra()? {
        let [part, total] = level.indicator.selectors();
        add(&format!(
            "sum by (channel) (increase({part}[30d])) / sum by (channel) (increase({total}[30d]))"
        ))?;
    }
    let folder = process::folder("eventcast-chart-")?;
    let file = folder.path().join("slo.yaml");
    fs::write(&file, rules + "]}]")?;
    promtool(&["check", "rules", "--lint=none", file.to_str().context("UTF-8")?])?;
    Ok(())
}

#[test]
fn the_objects_are_the_files() -> Result<()> {
    let options = "slo.rules=true,slo.sloth=true,slo.pyrra=true,\
        alerts.runbookBaseUrl=https://wiki.example.com/r/";
    let manifests = chart::render(&["--set", options])?;
    let rule = find(&manifests, "PrometheusRule/eventcast-slo")?;
    let group: slo::RecordGroup = serde_json::from_value(rule["spec"]["groups"][0].clone())?;
    let exprs = |rules: Vec<slo::Record>| -> Vec<_> {
        rules.into_iter().map(|rule| (rule.record, rule.expr, rule.labels)).collect()
    };
    ensure!(exprs(group.rules) == exprs(slo::records()?), "the recording rules");
    let object = find(&manifests, "PrometheusServiceLevel/eventcast")?;
    let object: slo::PrometheusServiceLevel = serde_json::from_value(object["spec"].clone())?;
    for (have, want) in object.slos.iter().zip(slo::sloth()?.slos) {
        ensure!(have.name == want.name && have.objective == want.objective, "{}", have.name);
        ensure!(have.sli.events.error_query == want.sli.events.error_query, "{}", have.name);
        ensure!(have.sli.events.total_query == want.sli.events.total_query, "{}", have.name);
        let url = &have.alerting.annotations["runbook_url"];
        ensure!(url.starts_with("https://wiki.example.com/r/Eventcast"), "{url}");
    }
    for (name, _) in slo::pyrra()? {
        find(&manifests, &format!("ServiceLevelObjective/{name}"))?;
    }
    let none: Vec<Value> = chart::render(&[])?;
    ensure!(
        !none.iter().any(|m| chart::text(m, "/kind").contains("ServiceLevel")),
        "off by default"
    );
    Ok(())
}

//! Dashboards: what Grafana takes, by the rules of grafana/dashboard-linter, and queries that every variable narrows.

use std::{collections::BTreeSet, fmt::Write as _, fs};

use anyhow::{Context as _, Result, bail, ensure};
use eventcast_tests::{
    chart::{
        monitoring::{self, panels, queries},
        promql,
    },
    process,
};
use serde_json::{Value, json};

use super::chart_monitoring::promtool;

/// The variables that every dashboard has, with what they mean when all is selected.
const VARIABLES: [(&str, &str); 3] = [("cluster", ".*"), ("namespace", ".*"), ("job", ".+")];
/// Metrics of a process, which have no label `channel`. A query over them is narrowed by `instance`, or by a match with one of a channel.
const OF_PROCESSES: [&str; 5] = [
    "process_",
    "eventcast_build_info",
    "eventcast_operator_",
    "eventcast_http_requests_total",
    "eventcast_shard_",
];

fn variables(dashboard: &Value) -> Vec<&Value> {
    dashboard["templating"]["list"].as_array().into_iter().flatten().collect()
}

#[test]
fn dashboards_are_what_grafana_takes() -> Result<()> {
    let dashboards = monitoring::dashboards()?;
    let names: Vec<_> = dashboards.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["broker", "channels", "operator", "slo"]);
    let mut rules = "groups: [{name: dashboards, rules: [".to_owned();
    for (name, dashboard) in &dashboards {
        assert!(dashboard["schemaVersion"].as_u64() >= Some(39), "{name}");
        assert_eq!(dashboard["uid"], format!("eventcast-{name}"));
        assert_eq!(dashboard["editable"], false, "{name}: a change in Grafana would be lost");
        for query in queries(dashboard).into_iter().chain(monitoring::annotations(dashboard)) {
            let mut query = query.replace("$__rate_interval", "5m").replace("$__range", "3h");
            for variable in variables(dashboard) {
                let variable = format!("${}", variable["name"].as_str().unwrap_or_default());
                query = query.replace(&variable, ".*");
            }
            assert!(!query.contains('$'), "{name}: a variable that is not there: {query}");
            write!(rules, "{{record: 'a:b', expr: {}}},", json!(query))?;
        }
        overlaps(dashboard).with_context(|| name.clone())?;
    }
    let folder = process::folder("eventcast-chart-")?;
    let file = folder.path().join("queries.yaml");
    fs::write(&file, rules + "]}]")?;
    promtool(&["check", "rules", "--lint=none", file.to_str().context("UTF-8")?])?;
    Ok(())
}

#[test]
fn every_panel_says_what_it_shows_and_in_which_unit() -> Result<()> {
    for (name, dashboard) in monitoring::dashboards()? {
        let mut titles = BTreeSet::new();
        for panel in panels(&dashboard) {
            let text = |pointer: &str| panel.pointer(pointer).and_then(Value::as_str);
            let title = text("/title").context("no title")?;
            ensure!(titles.insert(title), "{name}: two panels {title}");
            let place = format!("{name}: {title}");
            ensure!(
                text("/description").is_some_and(|text| text.len() > 10),
                "{place}: description"
            );
            ensure!(text("/fieldConfig/defaults/unit").is_some(), "{place}: unit");
            ensure!(panel["datasource"]["uid"] == "${datasource}", "{place}: datasource");
            ensure!(panel["targets"].as_array().is_some_and(|t| !t.is_empty()), "{place}: targets");
            for link in panel["links"].as_array().into_iter().flatten() {
                let url = link["url"].as_str().unwrap_or_default();
                let (_, page) = url.split_once("/blob/main/").context(url.to_owned())?;
                ensure!(eventcast_tests::repository().join(page).is_file(), "{place}: {url}");
            }
        }
    }
    Ok(())
}

#[test]
fn every_dashboard_has_the_same_variables() -> Result<()> {
    for (name, dashboard) in monitoring::dashboards()? {
        let variables = variables(&dashboard);
        ensure!(variables[0]["name"] == "datasource", "{name}: datasource is the first");
        ensure!(variables[0]["type"] == "datasource", "{name}: datasource");
        for (variable, all) in VARIABLES {
            let found = variables.iter().find(|v| v["name"] == variable);
            let found = found.with_context(|| format!("{name}: no variable {variable}"))?;
            let place = format!("{name}: {variable}");
            ensure!(found["allValue"] == all, "{place}: all means {}", found["allValue"]);
            ensure!(found["multi"] == true && found["includeAll"] == true, "{place}: all, several");
        }
        for variable in &variables[1..] {
            ensure!(
                variable["refresh"] == 2,
                "{name}: {} follows the time range",
                variable["name"]
            );
            ensure!(variable["datasource"]["uid"] == "${datasource}", "{name}: datasource");
        }
        let has_channel = variables.iter().any(|v| v["name"] == "channel");
        ensure!(has_channel == (name != "operator"), "{name}: channel");
    }
    Ok(())
}

/// A query with the data source that it was written for is narrowed by every variable; counters are under a rate; the window of a rate
/// fits the panel.
fn lint(query: &str, has_channel: bool) -> Result<()> {
    for (metric, labels) in promql::asked(query).selectors {
        let mut needed = vec!["cluster", "namespace", "job"];
        let of_process = OF_PROCESSES.iter().any(|prefix| metric.starts_with(prefix))
            || !labels.iter().any(|label| label == "channel");
        if has_channel && of_process {
            let narrowed = labels.iter().any(|label| label == "instance")
                || query
                    .contains("and on (cluster, namespace, job, instance) eventcast_channel_live{");
            ensure!(narrowed || metric == "eventcast_build_info", "{metric} ignores the channel");
        }
        if has_channel && !of_process {
            needed.push("channel");
        }
        for label in needed {
            let matcher = format!("{label}=~\"${label}\"");
            ensure!(labels.iter().any(|have| have == label), "{metric} ignores {label}");
            ensure!(query.contains(&matcher), "not {matcher}");
        }
        let is_counter =
            ["_total", "_bucket", "_count", "_sum"].iter().any(|end| metric.ends_with(end));
        for (at, _) in query.match_indices(&format!("{metric}{{")) {
            let before = &query[..at];
            let rated = before.ends_with("rate(") || before.ends_with("increase(");
            ensure!(rated == is_counter, "{metric}: counters, and only they, are under a rate");
            if rated {
                let (_, after) = query[at..].split_once('}').context("a selector")?;
                let window = after.strip_prefix('[').and_then(|rest| rest.split_once(']'));
                match window.map(|(window, _)| window) {
                    Some("$__rate_interval") => {}
                    Some("$__range") if before.ends_with("increase(") => {}
                    other => bail!("{metric}: the window {other:?} does not fit the panel"),
                }
            }
        }
    }
    Ok(())
}

#[test]
fn every_query_is_narrowed_by_every_variable_and_rates_fit_the_panel() -> Result<()> {
    for (name, dashboard) in monitoring::dashboards()? {
        for query in queries(&dashboard) {
            let linted = lint(query, name != "operator");
            linted.with_context(|| format!("{name}: {query}"))?;
        }
    }
    let narrow = r#"cluster=~"$cluster",namespace=~"$namespace",job=~"$job""#;
    let channel = r#"channel=~"$channel""#;
    for (wrong, why) in [
        (format!("sum(eventcast_a{{{channel}}})"), "cluster"),
        (format!("sum(eventcast_connections{{{narrow}}})"), "the channel"),
        (format!("rate(eventcast_a_total{{{channel},{narrow}}}[5m])"), "the window"),
        (format!("sum(eventcast_a_total{{{channel},{narrow}}})"), "under a rate"),
        (format!("rate(eventcast_a{{{channel},{narrow}}}[$__rate_interval])"), "under a rate"),
    ] {
        let told = lint(&wrong, true).err().with_context(|| wrong.clone())?.to_string();
        ensure!(told.contains(why), "{wrong}: {told}");
    }
    Ok(())
}

/// No two panels have one id, or one place.
fn overlaps(dashboard: &Value) -> Result<()> {
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().context("no panels")? {
        ensure!(ids.insert(panel["id"].as_u64()), "an id comes twice: {}", panel["id"]);
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap_or_default();
        ensure!(at("x") + at("w") <= 24, "too far right: {}", panel["title"]);
        for cell in (at("x")..at("x") + at("w"))
            .flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
        {
            ensure!(cells.insert(cell), "over another panel: {}", panel["title"]);
        }
    }
    Ok(())
}

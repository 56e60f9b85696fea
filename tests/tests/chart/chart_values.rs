//! Values as they come from parent charts, empty keys and older releases, and names that YAML or Kubernetes takes for something else.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    chart::{self, find, render_by_helm_4, render_of, text, title},
    golden::golden,
};
use serde_json::{Map, Value, json};

use crate::chart::{copy, kinds};

/// Mappings from which `null` removes a key: their keys are no defaults that come back.
const FREE: [&str; 4] = ["podSecurityContext", "containerSecurityContext", "resources", "labels"];

fn defaults() -> Result<Map<String, Value>> {
    Ok(serde_saphyr::from_str(&chart::read("charts/eventcast/values.yaml")?)?)
}

/// Values with each leaf, and each free mapping, changed.
fn change(
    values: &Map<String, Value>,
    leaf: fn(&Value) -> Value,
    free: fn(&Value) -> Value,
) -> Value {
    let changed = values.iter().map(|(key, value)| {
        let changed = match value {
            Value::Object(_) if FREE.contains(&key.as_str()) => free(value),
            Value::Object(more) if !more.is_empty() => change(more, leaf, free),
            _ => leaf(value),
        };
        (key.clone(), changed)
    });
    Value::Object(changed.collect())
}

fn only_free(values: &Map<String, Value>) -> Value {
    let kept = values.iter().filter_map(|(key, value)| match value {
        Value::Object(_) if FREE.contains(&key.as_str()) => Some((key.clone(), value.clone())),
        Value::Object(more) if !more.is_empty() => Some((key.clone(), only_free(more))),
        _ => None,
    });
    Value::Object(kept.collect())
}

#[test]
fn defaults_are_the_values_golden() -> Result<()> {
    let defaults = change(&defaults()?, Value::clone, |_| json!({}));
    let text = serde_json::to_string_pretty(&defaults)? + "\n";
    golden("charts/eventcast/files/defaults.json", &text);
    Ok(())
}

/// As a values file with a key and nothing behind it has, and `--reuse-values` where a release is older than a value.
#[test]
fn values_that_are_null_or_missing_get_their_default() -> Result<()> {
    let defaults = defaults()?;
    let (_folder, copy) = copy()?;
    let file = copy.join("null.yaml");
    let options = ["--values", file.to_str().context("UTF-8")?];
    let expected = render_of(&copy, &[])?;
    let render = |values: &Value| {
        fs::write(&file, values.to_string())?;
        render_of(&copy, &options)
    };
    assert_eq!(render(&change(&defaults, |_| Value::Null, Value::clone))?, expected);
    let sections = defaults.keys().map(|section| (section.clone(), Value::Null)).collect();
    render(&Value::Object(sections))?;
    // now the chart has no defaults of its own
    fs::write(copy.join("values.yaml"), "{}")?;
    assert_eq!(render(&only_free(&defaults))?, expected);
    Ok(())
}

#[test]
fn every_template_begins_with_the_defaults() -> Result<()> {
    let folders = ["", "/nats", "/observability", "/operator", "/rbac", "/tests"];
    let mut found = 0;
    for folder in folders {
        for ending in [".yaml", "NOTES.txt"] {
            for file in chart::files(&format!("charts/eventcast/templates{folder}"), ending)? {
                let begins = fs::read_to_string(&file)?
                    .starts_with("{{- include \"eventcast.defaults\" . -}}\n");
                ensure!(begins, "{} does not begin with the defaults", file.display());
                found += 1;
            }
        }
    }
    ensure!(found > 20, "only {found} templates");
    Ok(())
}

/// A release may be named `my.app`, and a namespace `1e3`, which YAML takes for a number.
#[test]
fn names_stay_text_and_are_valid_for_services() -> Result<()> {
    let (folder, copy) = copy()?;
    let file = folder.path().join("values.yaml");
    let values = json!({
        "nameOverride": "a-name-that-is-cut-behind-its-last-dot-x.y",
        "watchNamespaces": ["7", "1e4"],
        "serviceAccount": {"name": "12"},
        "dashboards": {"enabled": true, "namespace": "34"},
        "image": {"registry": "", "repository": "1e3"},
        "nats": {
            "auth": {"existingSecret": "56", "existingSecretKey": "7"},
            "tls": {"existingSecret": "0x8"},
            "storage": {"className": "-"},
        },
    });
    fs::write(&file, values.to_string())?;
    let file = file.to_str().context("UTF-8")?;
    let releases = [
        ("my.app", "3240286e-210077"),
        ("12345", "1e3"),
        ("true", "0x1f"),
        ("null", "no"),
        ("a-release-as-long-as-helm-allows-it-to-be-with-a.dot", "1234"),
    ];
    for (release, namespace) in releases {
        for options in [&["--values", file][..], &["--set-string", "fullnameOverride=9.a"], &[]] {
            let command = ["template", release, "--namespace", namespace];
            let manifests = chart::parse(&chart::helm(&command, &copy, options)?)?;
            for manifest in &manifests {
                let title = title(manifest);
                kinds::check(manifest).with_context(|| format!("{release}: {title}"))?;
                let name = text(manifest, "/metadata/name");
                let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
                let service = text(manifest, "/kind") == "Service";
                ensure!(!service || begins && !name.contains('.'), "{release}: {title}");
            }
        }
    }
    let set = chart::parse(&chart::helm(&["template", "a"], &copy, &["--values", file])?)?;
    let set = set.iter().find(|manifest| text(manifest, "/kind") == "StatefulSet");
    let claim = &set.context("no StatefulSet")?["spec"]["volumeClaimTemplates"][0]["spec"];
    assert_eq!(claim["storageClassName"], "", "`-` is no class");
    Ok(())
}

/// A chart with this one as `events`, under a condition, and with globals as the charts of others take them.
fn parent(folder: &Path, chart: &Path) -> Result<()> {
    fs::create_dir_all(folder.join("charts"))?;
    chart::run(Command::new("cp").arg("-r").arg(chart).arg(folder.join("charts/eventcast")))?;
    let version =
        text(&serde_saphyr::from_str(&fs::read_to_string(chart.join("Chart.yaml"))?)?, "/version")
            .to_owned();
    let dependency = json!({"name": "eventcast", "version": version, "alias": "events", "condition": "events.enabled"});
    let own = json!({"apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": [dependency]});
    fs::write(folder.join("Chart.yaml"), own.to_string())?;
    let global = json!({"imageRegistry": "mirror.example.com", "imagePullSecrets": ["mirror", {"name": "other"}], "storageClass": "fast"});
    let values = json!({"global": global, "events": {"enabled": true, "replicas": 1}});
    fs::write(folder.join("values.yaml"), values.to_string())?;
    Ok(())
}

#[test]
fn a_parent_chart_has_a_condition_an_alias_and_globals() -> Result<()> {
    let (folder, copy) = copy()?;
    let umbrella = folder.path().join("parent");
    parent(&umbrella, &copy)?;
    let manifests = render_of(&umbrella, &[])?;
    let operator = find(&manifests, "Deployment/eventcast-events-operator")?;
    let pod = &operator["spec"]["template"]["spec"];
    assert_eq!(operator["spec"]["replicas"], 1);
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "mirror"}, {"name": "other"}]));
    let image = text(pod, "/containers/0/image");
    assert!(image.starts_with("mirror.example.com/eventcast/"), "{image}");
    for manifest in &manifests {
        kinds::check(manifest).with_context(|| title(manifest))?;
    }
    ensure!(render_of(&umbrella, &["--set", "events.enabled=false"])?.is_empty());
    Ok(())
}

#[test]
fn intervals_are_durations_of_prometheus() -> Result<()> {
    for interval in ["15s", "1m30s", "1h", "500ms"] {
        let set = format!(
            "metrics.podMonitor.enabled=true,metrics.podMonitor.interval={interval},brokers.podMonitor.interval={interval}"
        );
        let manifests = render_by_helm_4(&["--set", &set])?;
        let monitor = find(&manifests, "PodMonitor/eventcast-operator")?;
        assert_eq!(text(monitor, "/spec/podMetricsEndpoints/0/interval"), interval);
    }
    Ok(())
}

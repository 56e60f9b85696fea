//! The custom resources as JSON Schema, checked by a validator of JSON Schema: that of helm, which takes manifests for values.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::crd::Crd;
use eventcast_tests::{chart, process};
use serde_json::Value;
use tempfile::TempDir;

/// For each kind a chart whose values are an object of it.
pub(crate) fn validator() -> Result<TempDir> {
    let folder = process::folder("eventcast-schema-")?;
    for crd in Crd::ALL {
        let chart = folder.path().join(crd.kind());
        fs::create_dir(&chart)?;
        fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: object\nversion: 0.1.0\n")?;
        let schema = chart::read(&format!("crds/{}.schema.json", crd.kind().to_lowercase()))?;
        fs::write(chart.join("values.schema.json"), schema)?;
    }
    Ok(folder)
}

pub(crate) fn validate(validator: &TempDir, manifest: &str) -> Result<()> {
    let file = validator.path().join("manifest.yaml");
    fs::write(&file, manifest)?;
    let file = file.to_str().context("a path that is not UTF-8")?;
    let object: Value = serde_saphyr::from_str(manifest)?;
    let chart = validator.path().join(chart::text(&object, "/kind"));
    chart::helm(&["template"], &chart, &["--values", file]).map(drop)
}

#[test]
fn examples_are_valid_and_mistakes_are_found_without_a_cluster() -> Result<()> {
    let validator = validator()?;
    for file in chart::files("charts/eventcast/examples", ".yaml")? {
        let text = fs::read_to_string(&file)?;
        for (i, manifest) in chart::parse(&text)?.into_iter().enumerate() {
            let place = format!("{} {i}", file.display());
            validate(&validator, &manifest.to_string()).with_context(|| place)?;
        }
    }
    let head = "apiVersion: eventcast.dev/v1alpha1\nkind: EventChannel\nmetadata: {name: a}\n";
    validate(
        &validator,
        &format!(
            "{head}spec: {{brokers: {{resources: {{limits: {{cpu: 2}}}}, podTemplate: {{x: 1}}}}}}"
        ),
    )?;
    for (spec, says) in [
        ("spec: {colour: red}", "additional properties 'colour' not allowed"),
        ("spec: {delivery: {heartbeatSeconds: soon}}", "got string, want integer"),
        ("spec: {retention: {storage: Paper}}", "value must be one of"),
        ("spec: {exposure: {ingress: {}}}", "missing property 'host'"),
    ] {
        let error = validate(&validator, &format!("{head}{spec}")).err().context(spec)?;
        ensure!(error.to_string().contains(says), "{spec}: {error}");
    }
    let pool = head.replace("EventChannel", "BrokerPool");
    validate(&validator, &format!("{pool}spec: {{channels: {{namespaces: {{from: All}}}}}}"))?;
    let error = validate(&validator, &format!("{pool}spec: {{brokers: {{pool: {{name: b}}}}}}"));
    let error = error.err().context("a pool has no pool")?;
    ensure!(error.to_string().contains("additional properties 'pool' not allowed"), "{error}");
    let other = head.replace("v1alpha1", "v2");
    ensure!(validate(&validator, &other).is_err(), "another version");
    Ok(())
}

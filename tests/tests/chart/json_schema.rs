//! The EventChannel as JSON Schema, checked by a validator of JSON Schema: that of helm, which takes manifests for values.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{chart, process};
use tempfile::TempDir;

/// A chart whose values are an EventChannel.
pub(crate) fn validator() -> Result<TempDir> {
    let folder = process::folder("eventcast-schema-")?;
    fs::write(folder.path().join("Chart.yaml"), "apiVersion: v2\nname: channel\nversion: 0.1.0\n")?;
    let schema = chart::read("crds/eventchannel.schema.json")?;
    fs::write(folder.path().join("values.schema.json"), schema)?;
    Ok(folder)
}

pub(crate) fn validate(validator: &TempDir, manifest: &str) -> Result<()> {
    let file = validator.path().join("manifest.yaml");
    fs::write(&file, manifest)?;
    let file = file.to_str().context("a path that is not UTF-8")?;
    chart::helm(&["template"], validator.path(), &["--values", file]).map(drop)
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
    let other = head.replace("v1alpha1", "v2");
    ensure!(validate(&validator, &other).is_err(), "another version");
    Ok(())
}

//! The documents: the annotations that the operator puts on an Ingress are the settings of `docs/proxies`, which these tests run.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    proxy::{Controller, Kind},
    repository,
};
use serde_json::Value;

/// The annotations of the Ingress in the golden of the operator.
fn annotations() -> Result<Vec<(String, String)>> {
    let golden = fs::read_to_string(repository().join("operator/src/objects/golden/full.yaml"))?;
    let ingress = golden.split("\n---\n").find(|object| object.contains("kind: Ingress\n"));
    let ingress: Value = serde_saphyr::from_str(ingress.context("no Ingress")?)?;
    let annotations = ingress["metadata"]["annotations"].as_object().context("no annotations")?;
    let text = |(key, value): (&String, &Value)| {
        Ok((key.clone(), value.as_str().context("not a string")?.to_owned()))
    };
    annotations.iter().map(text).collect()
}

/// The same, in the units of the configuration.
fn in_its_units(text: &str) -> String {
    text.replace(" 1h;", " 3600s;").replace(" 4m;", " 4194304;")
}

#[test]
fn the_annotations_of_an_ingress_are_the_settings_that_these_tests_run() -> Result<()> {
    for (key, value) in annotations()? {
        // set by the channel of the golden, to see that it overrides the operator
        let value = if value == "2h" { "1h" } else { &value };
        let known = Controller::line(&key, value);
        let (kind, line) = known.with_context(|| format!("{key} is not known"))?;
        let file = if kind == Kind::Nginx { "nginx.conf" } else { "haproxy.cfg" };
        let text = fs::read_to_string(repository().join("docs/proxies").join(file))?;
        ensure!(in_its_units(&text).contains(&line), "{key}: {file} has no {line:?}");
    }
    Ok(())
}

//! YAML blocks: channels and pools are valid by the schemas of the CRDs, values by that of the chart, and everything else is YAML.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::chart;
use serde_json::{Value, json};

use super::pages;
use crate::json_schema::{validate, validator};

/// The fields of an object schema.
fn properties(schema: &Value) -> BTreeSet<String> {
    schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

#[test]
fn channels_and_values_in_the_documents_are_valid() -> Result<()> {
    let schema: Value = serde_json::from_str(&chart::read("crds/eventchannel.schema.json")?)?;
    let fields = properties(&schema["properties"]["spec"]);
    let values: Value = serde_saphyr::from_str(&chart::read("charts/eventcast/values.yaml")?)?;
    let values: BTreeSet<_> = values.as_object().context("values")?.keys().cloned().collect();
    let (validator, file) = (validator()?, tempfile::NamedTempFile::new()?);
    let mut checked = (0, 0);
    for page in pages()? {
        for (line, block) in page.blocks("yaml") {
            let place = page.place(line);
            for document in chart::parse(&block).with_context(|| place.clone())? {
                // those of an Application of Argo CD, and of a HelmRelease of Flux
                let inner = ["/spec/source/helm/valuesObject", "/spec/values"];
                let inner = inner.iter().find_map(|path| document.pointer(path)).cloned();
                let document = inner.unwrap_or(document);
                let Some(object) = document.as_object() else { continue };
                let all_in = |names: &BTreeSet<String>| object.keys().all(|k| names.contains(k));
                if object
                    .get("kind")
                    .is_some_and(|kind| kind == "EventChannel" || kind == "BrokerPool")
                {
                    validate(&validator, &document.to_string()).with_context(|| place.clone())?;
                    checked.0 += 1;
                    continue;
                }
                // `brokers` and `nats` are fields of both
                let as_values = all_in(&values).then(|| {
                    fs::write(file.path(), document.to_string())?;
                    chart::template(&["--values", &file.path().display().to_string()])
                });
                let as_spec = all_in(&fields).then(|| {
                    let channel = json!({
                        "apiVersion": "eventcast.dev/v1alpha1", "kind": "EventChannel",
                        "metadata": {"name": "a"}, "spec": document,
                    });
                    validate(&validator, &channel.to_string())
                });
                match (as_values, as_spec) {
                    (Some(Ok(_)), _) => checked.1 += 1,
                    (_, Some(Ok(()))) => checked.0 += 1,
                    (Some(Err(error)), _) | (_, Some(Err(error))) => {
                        return Err(error.context(place));
                    }
                    (None, None) => {}
                }
            }
        }
    }
    ensure!(checked.0 >= 5 && checked.1 >= 5, "only {checked:?} blocks of channels and values");
    Ok(())
}

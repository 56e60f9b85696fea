//! Helm 4 renders what Helm 3 renders.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use eventcast_tests::chart;
use serde_json::Value;

fn by_title(manifests: Vec<Value>) -> BTreeMap<(String, String), Value> {
    let key = |manifest: &Value| {
        (chart::title(manifest), chart::text(manifest, "/metadata/namespace").to_owned())
    };
    manifests.into_iter().map(|manifest| (key(&manifest), manifest)).collect()
}

#[test]
fn every_combination_is_the_same_by_both() -> Result<()> {
    for file in chart::files("tests/chart/values", ".yaml")? {
        let path = file.to_str().context("a path that is not UTF-8")?;
        let three = by_title(chart::render(&["--values", path])?);
        let four = by_title(chart::render_by_helm_4(&["--values", path])?);
        assert_eq!(three, four, "{path}");
    }
    Ok(())
}

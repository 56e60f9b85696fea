//! The workspace, the chart, the images that the chart uses and the labels in the Dockerfile have one version.

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::chart;
use serde_json::Value;

const VERSION: &str = env!("CARGO_PKG_VERSION"); // of the workspace

fn yaml(path: &str) -> Result<Value> {
    Ok(serde_saphyr::from_str(&chart::read(path)?)?)
}

#[test]
fn the_chart_has_the_version_of_the_workspace() -> Result<()> {
    let chart = yaml("charts/eventcast/Chart.yaml")?;
    assert_eq!(chart["version"], VERSION);
    assert_eq!(chart["appVersion"], VERSION);
    Ok(())
}

#[test]
fn every_image_has_the_version_of_the_workspace() -> Result<()> {
    let tagged = |name: &str| format!("ghcr.io/eventcast/eventcast-{name}:{VERSION}");
    let rendered = chart::template(&[])?;
    let listed = yaml("charts/eventcast/Chart.yaml")?["annotations"]["artifacthub.io/images"]
        .as_str()
        .context("Chart.yaml lists no images")?
        .to_owned();
    for name in ["operator", "broker"] {
        ensure!(rendered.contains(&tagged(name)), "the chart does not ask for {}", tagged(name));
        ensure!(listed.contains(&tagged(name)), "Chart.yaml does not list {}", tagged(name));
    }
    let dockerfile = chart::read("charts/Dockerfile")?;
    let labels: Vec<_> =
        dockerfile.lines().filter(|line| line.starts_with("ARG VERSION=")).collect();
    assert_eq!(labels, vec![format!("ARG VERSION={VERSION}"); 2]);
    Ok(())
}

#[test]
fn the_listed_nats_is_the_one_of_the_values() -> Result<()> {
    let values = yaml("charts/eventcast/values.yaml")?;
    let image = &values["nats"]["image"];
    let text = |key: &str| image[key].as_str().with_context(|| format!("no nats.image.{key}"));
    let wanted = format!("{}/{}:{}", text("registry")?, text("repository")?, text("tag")?);
    let listed = chart::read("charts/eventcast/Chart.yaml")?;
    ensure!(listed.contains(&wanted), "Chart.yaml does not list {wanted}");
    Ok(())
}

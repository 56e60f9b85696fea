//! Renders the chart with the real helm, and checks the result.
//!
//! - [`render`] returns the manifests, [`helm`] the errors for invalid values;
//! - [`pods`]: whether its pods run under the restricted standard; [`rights`]: its permissions;
//! - [`values`]: the table of the chart's README;
//! - [`monitoring`]: alerts, dashboards and runbooks; [`slo`]: service levels; [`promql`]: which metrics they query, and whether these exist.

pub mod monitoring;
pub mod pods;
pub mod promql;
pub mod rights;
pub mod slo;
pub mod values;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{kube::program, repository};

/// The oldest Kubernetes that the chart is for.
const KUBERNETES: &str = "1.30.0";
/// The release of [`render`].
const TEMPLATE: [&str; 4] = ["template", "eventcast", "--namespace", "eventcast-system"];

/// The folder of the chart.
#[must_use]
pub fn folder() -> PathBuf {
    repository().join("charts/eventcast")
}

/// A file of the repository.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &str) -> Result<String> {
    fs::read_to_string(repository().join(path)).with_context(|| format!("failed to read {path}"))
}

/// The files of a folder of the repository that end in `ending`, by name.
///
/// # Errors
/// When the folder cannot be read.
pub fn files(path: &str, ending: &str) -> Result<Vec<PathBuf>> {
    let folder = repository().join(path);
    let entries = fs::read_dir(&folder).with_context(|| format!("failed to list {path}"))?;
    let mut files: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    files.retain(|file| file.to_string_lossy().ends_with(ending));
    files.sort();
    Ok(files)
}

/// The name of a file without its folder and its last ending.
#[must_use]
pub fn stem(file: &Path) -> String {
    file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What a program prints.
///
/// # Errors
/// Its output, when it fails.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("failed to start {command:?}"))?;
    let [out, err] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    if !output.status.success() {
        bail!("{command:?}: {out}{err}");
    }
    Ok(out)
}

/// `helm COMMAND CHART`, for the oldest Kubernetes.
///
/// # Errors
/// What helm complains of.
pub fn helm(command: &[&str], chart: &Path, options: &[&str]) -> Result<String> {
    let mut helm = Command::new(program("helm"));
    helm.args(command).arg(chart).args(["--kube-version", KUBERNETES]).args(options);
    run(&mut helm)
}

/// As [`render`], by Helm 4.
///
/// # Errors
/// When helm refuses the values, or renders no YAML.
pub fn render_by_helm_4(options: &[&str]) -> Result<Vec<Value>> {
    let mut helm = Command::new(program("helm4"));
    helm.args(TEMPLATE).arg(folder()).args(["--kube-version", KUBERNETES]).args(options);
    parse(&run(&mut helm)?)
}

/// The manifests of a release `eventcast` in `eventcast-system`.
///
/// # Errors
/// When helm refuses the values, or renders no YAML.
pub fn render(options: &[&str]) -> Result<Vec<Value>> {
    parse(&template(options)?)
}

/// As [`render`], of a changed copy of the chart.
///
/// # Errors
/// When helm refuses the values, or renders no YAML.
pub fn render_of(chart: &Path, options: &[&str]) -> Result<Vec<Value>> {
    parse(&helm(&TEMPLATE, chart, options)?)
}

/// As [`render`], as text.
///
/// # Errors
/// When helm refuses the values.
pub fn template(options: &[&str]) -> Result<String> {
    helm(&TEMPLATE, &folder(), options)
}

/// The documents of a YAML stream. A duplicate key is an error.
///
/// # Errors
/// When it is no YAML.
pub fn parse(text: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("not YAML")?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// What helm renders from each file of `tests/chart/values`, by the file's name.
///
/// # Errors
/// When it refuses one.
pub fn combinations() -> Result<Vec<(String, Vec<Value>)>> {
    let of = |file: PathBuf| {
        let path = file.to_str().context("a path that is not UTF-8")?;
        let manifests = render(&["--values", path]).with_context(|| path.to_owned())?;
        Ok((stem(&file), manifests))
    };
    files("tests/chart/values", ".yaml")?.into_iter().map(of).collect()
}

/// A string in a manifest, `""` where there is none.
#[must_use]
pub fn text<'a>(manifest: &'a Value, pointer: &str) -> &'a str {
    manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `Kind/name`.
#[must_use]
pub fn title(manifest: &Value) -> String {
    format!("{}/{}", text(manifest, "/kind"), text(manifest, "/metadata/name"))
}

/// The manifest of that title.
///
/// # Errors
/// When there is none.
pub fn find<'a>(manifests: &'a [Value], wanted: &str) -> Result<&'a Value> {
    manifests
        .iter()
        .find(|manifest| title(manifest) == wanted)
        .with_context(|| format!("no {wanted}"))
}

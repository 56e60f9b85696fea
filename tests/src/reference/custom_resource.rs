//! The fields and rules of a custom resource, from the schema of its definition.

use anyhow::{Context as _, Result};
use eventcast_crds::crd::Crd;
use serde_json::Value;

/// Fields with a type of Kubernetes: its documentation describes what is below them.
const OF_KUBERNETES: [&str; 5] = [
    "spec.brokers.tolerations[]",
    "spec.brokers.topologySpreadConstraints[]",
    "spec.channels.namespaces.selector",
    "spec.brokers.podTemplate",
    "status.conditions[]",
];

/// The reference: one row for each field of spec and status, then the rules.
///
/// # Errors
/// The definition has no schema.
pub fn markdown(crd: Crd) -> Result<String> {
    let definition = serde_json::to_value(crd.definition()?)?;
    let version = &definition["spec"]["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"];
    let (kind, group) = (crd.kind(), &definition["spec"]["group"]);
    let (group, name) = (group.as_str().context("no group")?, version["name"].as_str());
    let mut out = format!(
        "# {kind}\n\n{}\n\n`apiVersion: {group}/{}`, `kind: {kind}`. Generated from the types in `crds/src` by `make docs`; `kubectl explain` shows the same, and\n\
         `crds/{}.schema.json` is for editors. A field that is not set has its default.\n",
        schema["description"].as_str().unwrap_or_default().trim(),
        name.context("no version")?,
        kind.to_lowercase(),
    );
    let mut rules = Vec::new();
    for part in ["spec", "status"] {
        out.push_str(&format!("\n## {part}\n\n| field | type | meaning |\n|---|---|---|\n"));
        fields(&schema["properties"][part], part, &mut out, &mut rules);
    }
    out.push_str("\n## Rules\n\nThe API server rejects an object that breaks one of these:\n\n");
    for rule in rules {
        out.push_str(&format!("- {rule}\n"));
    }
    Ok(out)
}

fn fields(at: &Value, path: &str, out: &mut String, rules: &mut Vec<String>) {
    for (name, field) in at["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let meaning = field["description"].as_str().unwrap_or_default();
        let meaning = escaped(&meaning.split_whitespace().collect::<Vec<_>>().join(" "));
        out.push_str(&format!("| `{path}` | {} | {meaning} |\n", kind(field)));
        for (below, suffix) in [(field, ""), (&field["items"], "[]")] {
            let path = format!("{path}{suffix}");
            if !OF_KUBERNETES.contains(&&*path) {
                fields(below, &path, out, rules);
            }
        }
    }
    let own = at["x-kubernetes-validations"].as_array().into_iter().flatten();
    rules.extend(own.filter_map(|rule| rule["message"].as_str()).map(escaped));
}

/// The type of a field, with its values or bounds.
fn kind(field: &Value) -> String {
    let name = match field["type"].as_str() {
        Some("array") => format!("list of {}", kind(&field["items"])),
        Some(name) => name.to_owned(),
        None => "any".to_owned(),
    };
    if let Some(values) = field["enum"].as_array() {
        let values = values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`"));
        return values.collect::<Vec<_>>().join(", ");
    }
    match (field["minimum"].as_f64(), field["maximum"].as_f64()) {
        (Some(least), Some(most)) => format!("{name}, {least} to {most}"),
        (Some(least), None) => format!("{name}, at least {least}"),
        _ => name,
    }
}

/// As Markdown shows it in a table: no cell ends, no tag begins, and a star stands for itself.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('*', "\\*")
}

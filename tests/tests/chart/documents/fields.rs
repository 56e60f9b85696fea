//! Names in the text: `exposure.service.type` and the like are fields of a channel or pool, values of the chart or keys of the configuration.

use anyhow::{Result, ensure};
use eventcast_tests::chart;
use serde_json::Value;

use super::pages;

/// What names of files end in.
const FILES: [&str; 11] =
    ["md", "rs", "go", "mjs", "yaml", "json", "creds", "conf", "crt", "key", "svc"];

/// Follows a reference within a schema, also one that may be `null`.
fn resolve<'a>(root: &'a Value, at: &'a Value) -> &'a Value {
    let any = at["anyOf"].as_array().into_iter().flatten().find(|one| one["$ref"].is_string());
    let at = any.unwrap_or(at);
    match at["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        Some(name) => &root["$defs"][name],
        None => at,
    }
}

/// Whether a schema has a field at `path`. What it leaves open (a pod template, labels) has all fields.
fn in_schema(root: &Value, at: &Value, path: &[&str]) -> bool {
    let mut at = resolve(root, at);
    if at["items"].is_object() {
        at = resolve(root, &at["items"]);
    }
    let Some((name, rest)) = path.split_first() else { return true };
    match at["properties"].get(name) {
        Some(property) => in_schema(root, property, rest),
        None => at["properties"].is_null() && !at["type"].is_null() && at["type"] != "string",
    }
}

/// Whether the chart has a value at `path`. An empty object takes everything.
fn in_values(at: &Value, path: &[&str]) -> bool {
    let Some((name, rest)) = path.split_first() else { return true };
    match at.as_object() {
        Some(object) if object.is_empty() => true,
        Some(object) => object.get(*name).is_some_and(|value| in_values(value, rest)),
        None => false,
    }
}

/// A path at the beginning of a piece of code: at least two names of letters and digits, joined by dots.
fn path(code: &str) -> Option<Vec<&str>> {
    let end = code.find([':', ' ', '{', '[', '=']).unwrap_or(code.len());
    let names: Vec<_> = code[..end].split('.').collect();
    let is_name = |name: &&str| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_alphanumeric())
    };
    (names.len() > 1 && names.iter().all(is_name)).then_some(names)
}

#[test]
fn fields_and_values_that_the_documents_name_exist() -> Result<()> {
    let channel: Value = serde_json::from_str(&chart::read("crds/eventchannel.schema.json")?)?;
    let pool: Value = serde_json::from_str(&chart::read("crds/brokerpool.schema.json")?)?;
    let config: Value = serde_json::from_str(&chart::read("docs/config.schema.json")?)?;
    let values: Value = serde_saphyr::from_str(&chart::read("charts/eventcast/values.yaml")?)?;
    let (spec, of_pool) = (&channel["properties"]["spec"], &pool["properties"]["spec"]);
    let roots = [&spec["properties"], &of_pool["properties"], &config["properties"], &values];
    let (mut missing, mut found) = (Vec::new(), 0);
    for page in pages()? {
        // decisions and changes tell what was, too
        if page.path.starts_with("docs/adr") || page.path.ends_with("CHANGELOG.md") {
            continue;
        }
        for (line, text) in page.prose() {
            for code in text.split('`').skip(1).step_by(2) {
                let Some(names) = path(code) else { continue };
                let names = if names[0] == "spec" { &names[1..] } else { &names[..] };
                let is_file = FILES.iter().any(|end| names.ends_with(&[end]));
                if is_file || names == ["limits", "cpu"] {
                    continue; // the latter is a key of a ResourceQuota
                }
                if names[0] == "status" {
                    let exists = [&channel, &pool]
                        .into_iter()
                        .any(|kind| in_schema(kind, &kind["properties"]["status"], &names[1..]));
                    if !exists {
                        missing.push(format!("{}: {code}", page.place(line)));
                    }
                    continue;
                }
                if !roots.iter().any(|root| root.get(names[0]).is_some()) {
                    continue;
                }
                found += 1;
                let exists = in_schema(&channel, spec, names)
                    || in_schema(&pool, of_pool, names)
                    || in_schema(&config, &config, names)
                    || in_values(&values, names);
                if !exists {
                    missing.push(format!("{}: {code}", page.place(line)));
                }
            }
        }
    }
    ensure!(missing.is_empty(), "neither fields nor values nor keys:\n{}", missing.join("\n"));
    ensure!(found > 100, "only {found} names");
    Ok(())
}

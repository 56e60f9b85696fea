//! The chart's values as a table: keys and defaults from `values.yaml`, descriptions from its `# --` comments.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// A value of the chart.
#[derive(Debug, PartialEq)]
pub struct Entry {
    /// Path, joined by dots.
    pub key: String,
    /// Default, as JSON.
    pub default: String,
    /// The text of its comment.
    pub meaning: String,
}

/// The values of `text`, in its order.
///
/// # Errors
/// When it is no YAML, or a value has no `# --` comment.
pub fn entries(text: &str) -> Result<Vec<Entry>> {
    let values: Value = serde_saphyr::from_str(text)?;
    let mut entries: Vec<Entry> = Vec::new();
    let mut path: Vec<(usize, &str)> = Vec::new();
    let mut comment: Option<String> = None;
    for line in text.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if let Some(begin) = content.strip_prefix("# -- ") {
            comment = Some(begin.to_owned());
        } else if let Some(more) = content.strip_prefix('#') {
            if let Some(comment) = &mut comment {
                comment.push_str(more);
            }
        } else if let Some((key, _)) = content.split_once(':') {
            path.retain(|(outer, _)| *outer < indent);
            path.push((indent, key));
            let names: Vec<&str> = path.iter().map(|(_, name)| *name).collect();
            let key = names.join(".");
            let default = values.pointer(&format!("/{}", names.join("/")));
            let default = default.with_context(|| format!("no value at {key}"))?;
            let inside = |entry: &Entry| key.starts_with(&format!("{}.", entry.key));
            match comment.take() {
                Some(meaning) => entries.push(Entry { key, default: default.to_string(), meaning }),
                None => ensure!(
                    default.is_object() || entries.iter().any(inside),
                    "{key} has no comment that begins with # --"
                ),
            }
        }
    }
    Ok(entries)
}

/// The table of the chart's README.
///
/// # Errors
/// Those of [`entries`].
pub fn table(text: &str) -> Result<String> {
    let mut out = "| value | default | meaning |\n|---|---|---|\n".to_owned();
    for Entry { key, default, meaning } in entries(text)? {
        writeln!(out, "| `{key}` | `{default}` | {meaning} |")?;
    }
    Ok(out)
}

/// Every path in `value` that does not lead to a mapping with something in it.
#[must_use]
pub fn leaves(value: &Value) -> Vec<String> {
    fn walk(value: &Value, path: &str, leaves: &mut Vec<String>) {
        match value.as_object().filter(|fields| !fields.is_empty()) {
            None => leaves.push(path.to_owned()),
            Some(fields) => {
                for (name, value) in fields {
                    let dot = if path.is_empty() { "" } else { "." };
                    walk(value, &format!("{path}{dot}{name}"), leaves);
                }
            }
        }
    }
    let mut found = Vec::new();
    walk(value, "", &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_paths_defaults_and_whole_comments() {
        let text = "# about\na:\n  # -- First,\n  # and more.\n  b: 1\n  # aside\n  # -- Map.\n  c:\n    d: {}\n# -- List.\ne: []\n";
        let table = table(text).unwrap();
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| `a.b` | `1` | First, and more. |",
                "| `a.c` | `{\"d\":{}}` | Map. |",
                "| `e` | `[]` | List. |"
            ]
        );
        assert!(entries("a: 1\n").is_err());
        assert_eq!(
            leaves(&serde_json::json!({"a": {"b": 1, "c": {}}, "d": []})),
            ["a.b", "a.c", "d"]
        );
    }
}

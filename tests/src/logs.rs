//! Log lines in JSON, and the keys that docs/LOGS.md lists.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value};

use crate::repository;

/// Keys of every line.
pub const COMMON: [&str; 4] = ["timestamp", "level", "target", "message"];

/// A log line.
pub type Line = Map<String, Value>;

/// The keys that docs/LOGS.md lists: in backticks in the first column of a table, and those of every line.
///
/// # Errors
/// When the document has no such table.
pub fn documented_keys() -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(repository().join("docs/LOGS.md"))?;
    let (_, keys) = text.split_once("## Keys").context("a section of keys")?;
    let (keys, _) = keys.split_once("\n## ").context("a section after it")?;
    let firsts = keys.lines().filter(|line| line.starts_with("| `"));
    let firsts = firsts.filter_map(|line| line.split('|').nth(1));
    let mut listed: BTreeSet<_> =
        firsts.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    listed.extend(COMMON.map(str::to_owned));
    Ok(listed)
}

/// The lines of a log in JSON. The last one may not be complete yet, and is left out then.
///
/// # Errors
/// When a line is not a JSON object.
pub fn lines(log: &str) -> Result<Vec<Line>> {
    let complete = log.rsplit_once('\n').map_or("", |(complete, _)| complete);
    let parse = |line: &str| serde_json::from_str(line).with_context(|| format!("line {line}"));
    complete.lines().map(parse).collect()
}

/// Expects every line to be flat, to have the common keys, and others only if they are documented.
///
/// # Errors
/// When one is not or does not.
pub fn check(lines: &[Line]) -> Result<()> {
    let documented = documented_keys()?;
    for line in lines {
        for key in COMMON {
            ensure!(line.get(key).is_some_and(Value::is_string), "no {key}: {line:?}");
        }
        for (key, value) in line {
            ensure!(!value.is_object() && !value.is_array(), "{key} is not flat: {line:?}");
            let ours = line["target"].as_str().is_some_and(|t| t.starts_with("eventcast"));
            ensure!(!ours || documented.contains(key), "{key} is not documented: {line:?}");
        }
    }
    Ok(())
}

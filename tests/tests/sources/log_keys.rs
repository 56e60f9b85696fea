//! The keys of log lines are those that docs/LOGS.md lists.

use std::{collections::BTreeSet, fs};

use anyhow::{Result, ensure};
use eventcast_tests::{
    logs::{COMMON, documented_keys},
    repository,
};

use super::scan::rust_files;

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The arguments of every call of a logging macro in `text`, without strings.
fn calls(text: &str) -> Vec<String> {
    let mut calls = Vec::new();
    for level in LEVELS {
        let name = format!("tracing::{level}!(");
        for (at, _) in text.match_indices(&name) {
            let (mut depth, mut quoted, mut escaped) = (1, false, false);
            let mut arguments = String::new();
            for character in text[at + name.len()..].chars() {
                match character {
                    '"' if !escaped => quoted = !quoted,
                    '(' if !quoted => depth += 1,
                    ')' if !quoted => depth -= 1,
                    _ => {}
                }
                escaped = quoted && character == '\\' && !escaped;
                if depth == 0 {
                    break;
                }
                arguments.push(if quoted && character != '"' { ' ' } else { character });
            }
            calls.push(arguments);
        }
    }
    calls
}

/// The keys of one call: `key = value`, `%key`, `?key`, `key`.
fn keys(arguments: &str) -> Vec<String> {
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for character in arguments.chars() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(character);
        }
    }
    let parts = parts.iter().map(|part| part.trim());
    let fields = parts
        .filter(|part| !part.is_empty() && !part.starts_with('"') && !part.starts_with("target:"));
    let name = |part: &str| part.split(['=', ' ']).next().unwrap_or_default().trim().to_owned();
    fields.map(|part| name(part.trim_start_matches(['%', '?']))).collect()
}

#[test]
fn every_key_of_a_log_line_is_documented_and_the_other_way_round() -> Result<()> {
    let documented = documented_keys()?;
    let mut used = BTreeSet::new();
    for folder in ["broker/src", "operator/src", "crds/runtime/src"] {
        for file in rust_files(&repository().join(folder))? {
            let text = fs::read_to_string(&file)?;
            for call in calls(&text) {
                for key in keys(&call) {
                    ensure!(
                        documented.contains(&key),
                        "{}: docs/LOGS.md has no key {key}: tracing::…!({call})",
                        file.display()
                    );
                    used.insert(key);
                }
            }
        }
    }
    let unused: Vec<_> = documented
        .iter()
        .filter(|key| !used.contains(*key) && !COMMON.contains(&key.as_str()))
        .collect();
    ensure!(unused.is_empty(), "docs/LOGS.md lists keys that nothing logs: {unused:?}");
    Ok(())
}

#[test]
fn keys_are_found_in_every_form() {
    let text = r#"fn f() { tracing::warn!(target: T, %client, ?delay, status, error = %Chain(&e, 1), "a, (b) \" c"); }"#;
    let calls = calls(text);
    assert_eq!(calls.len(), 1);
    assert_eq!(keys(&calls[0]), ["client", "delay", "status", "error"]);
}

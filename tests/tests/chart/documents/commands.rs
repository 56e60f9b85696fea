//! Commands: `helm`, `kubectl` and `eventcast` know the subcommands and flags of those in the documents, and the chart the values that they set.

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{chart, kube::program, process};

use super::pages;

const PROGRAMS: [&str; 3] = ["helm", "kubectl", "eventcast"];

/// The commands of a block that begin with one of these programs, also after a pipe or in `$(…)`.
fn commands(block: &str) -> Vec<Vec<String>> {
    let joined = block.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in joined.lines() {
        let line = line.strip_prefix("$ ").unwrap_or(line);
        let line = line.split(" #").next().unwrap_or_default();
        for command in line.split(['|', '&', ';']).flat_map(|part| part.split("$(")) {
            let words: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
            if words.first().is_some_and(|word| PROGRAMS.contains(&word.as_str())) {
                found.push(words);
            }
        }
    }
    found
}

/// What a program prints on `--help` of a subcommand, with the flags that all of them have.
fn help(program_name: &str, subcommand: &[&str]) -> Result<String> {
    let path = match program_name {
        "eventcast" => process::built("eventcast"),
        name => program(name),
    };
    let mut command = Command::new(path);
    command.args(subcommand).arg("--help");
    let mut text = chart::run(&mut command)?;
    if program_name == "kubectl" {
        let mut options = Command::new(program(program_name));
        text += &chart::run(options.arg("options"))?;
    }
    Ok(text)
}

/// The words of a command before its first argument that is no subcommand.
fn subcommand(words: &[String]) -> Vec<&str> {
    /// Commands that have subcommands.
    const GROUPS: [(&str, &str); 5] = [
        ("kubectl", "create"),
        ("kubectl", "rollout"),
        ("kubectl", "auth"),
        ("kubectl", "top"),
        ("eventcast", "token"),
    ];
    let mut plain = Vec::new();
    let mut skip = false;
    for word in &words[1..] {
        if skip {
            skip = false;
        } else if word == "-n" || word == "--namespace" || word == "--server" {
            skip = true;
        } else if !word.starts_with('-') {
            plain.push(word.as_str());
        }
    }
    let depth = match plain.first() {
        Some(&"create") if plain.get(1) == Some(&"secret") => 3,
        Some(&first) if GROUPS.contains(&(words[0].as_str(), first)) => 2,
        _ => 1,
    };
    plain.truncate(depth);
    plain
}

#[test]
fn flags_of_commands_in_the_documents_exist() -> Result<()> {
    let values: serde_json::Value =
        serde_saphyr::from_str(&chart::read("charts/eventcast/values.yaml")?)?;
    let mut helps = BTreeMap::new();
    let mut found = 0;
    for page in pages()? {
        let blocks = ["", "sh", "console"].into_iter().flat_map(|language| page.blocks(language));
        for (line, block) in blocks {
            for words in commands(&block) {
                let place = || format!("{}: {}", page.place(line), words.join(" "));
                let parts = subcommand(&words);
                let key = format!("{} {}", words[0], parts.join(" "));
                if !helps.contains_key(&key) {
                    let text = help(&words[0], &parts).with_context(place)?;
                    helps.insert(key.clone(), text);
                }
                for word in &words[1..] {
                    let flag = word.split('=').next().unwrap_or_default();
                    if flag.starts_with('-') {
                        let text = &helps[&key];
                        let known = [" ", ",", "=", "\n"]
                            .iter()
                            .any(|end| text.contains(&format!("{flag}{end}")));
                        ensure!(known, "{}: no flag {flag}", place());
                        found += 1;
                    }
                }
                for pair in words.windows(2).filter(|pair| pair[0] == "--set") {
                    let path = pair[1].split('=').next().unwrap_or_default();
                    let pointer = format!("/{}", path.replace('.', "/"));
                    ensure!(values.pointer(&pointer).is_some(), "{}: no value {path}", place());
                }
            }
        }
    }
    ensure!(found > 30, "only {found} flags");
    Ok(())
}

//! Commands in the documents: a shell can parse them, their programs know their subcommands and flags, the chart the values that they set, and the
//! Makefile their targets. Queries are valid PromQL.

use std::{collections::BTreeMap, fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{chart, kube::program, process};
use serde_json::json;

use super::{Page, pages};
use crate::chart_monitoring::promtool;

const PROGRAMS: [&str; 6] =
    ["helm", "kubectl", "eventcast", "eventcast-broker", "eventcast-operator", "nats"];
/// Plugins of `kubectl`, which need not be installed.
const PLUGINS: [&str; 2] = ["eventcast", "krew"];

/// The blocks and the code in the text of a page that may have commands, each with the number of its line.
fn code(page: &Page) -> Vec<(usize, String)> {
    let mut found = blocks(page);
    for (line, text) in page.prose() {
        found.extend(text.split('`').skip(1).step_by(2).map(|code| (line, code.to_owned())));
    }
    found
}

/// The blocks of a page that may have commands, without what the commands print.
fn blocks(page: &Page) -> Vec<(usize, String)> {
    let mut found: Vec<_> = ["", "sh"].iter().flat_map(|language| page.blocks(language)).collect();
    found.extend(page.blocks("console").into_iter().map(|(line, block)| {
        let typed = block.lines().filter_map(|line| line.strip_prefix("$ "));
        (line, typed.map(|line| format!("{line}\n")).collect())
    }));
    found
}

/// The commands of a block that begin with one of these programs, also after a pipe or in `$(…)`.
fn commands(block: &str) -> Vec<Vec<String>> {
    let joined = block.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in joined.lines() {
        let line = line.strip_prefix("$ ").unwrap_or(line);
        let line = line.split(" #").next().unwrap_or_default();
        for part in line.split(['|', '&', ';']) {
            for (n, command) in part.split("$(").enumerate() {
                let end = command.rfind(')').filter(|_| n > 0);
                let command = &command[..end.unwrap_or(command.len())];
                let words: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
                let is_program = |word: &String| PROGRAMS.contains(&word.as_str());
                // a list of crates is no command
                let is_list = words.get(1).is_some_and(|word| word.starts_with("eventcast-"));
                if words.first().is_some_and(is_program) && !is_list {
                    found.push(words);
                }
            }
        }
    }
    found
}

/// What a program prints on `--help` of a subcommand, with the flags that all of them have.
fn help(program_name: &str, subcommand: &[&str]) -> Result<String> {
    let path = match program_name {
        name if name.starts_with("eventcast") => process::built(name),
        name => program(name),
    };
    let mut command = Command::new(path);
    command.args(subcommand).arg("--help");
    let mut text = chart::run(&mut command)?;
    if program_name == "kubectl" {
        let mut options = Command::new(program(program_name));
        text += &chart::run(options.arg("options"))?;
    }
    // `nats` writes `--[no-]progress` for two flags
    Ok(text.replace("[no-]", "no-") + &text.replace("[no-]", ""))
}

/// The words of a command before its first argument that is no subcommand.
fn subcommand(words: &[String]) -> Vec<&str> {
    /// Commands that have subcommands.
    const GROUPS: [(&str, &str); 9] = [
        ("kubectl", "create"),
        ("kubectl", "rollout"),
        ("kubectl", "auth"),
        ("kubectl", "top"),
        ("eventcast", "token"),
        ("nats", "account"),
        ("nats", "backup"),
        ("nats", "server"),
        ("nats", "stream"),
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
        Some(&"backup") if plain.get(1) == Some(&"restore") => 3,
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
        for (line, block) in code(&page) {
            for words in commands(&block) {
                let place = || format!("{}: {}", page.place(line), words.join(" "));
                let parts = subcommand(&words);
                if words[0] == "kubectl" && parts.iter().any(|part| PLUGINS.contains(part)) {
                    continue;
                }
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
    ensure!(found > 150, "only {found} flags");
    Ok(())
}

#[test]
fn a_shell_can_parse_the_commands_of_the_documents() -> Result<()> {
    let bash = process::find_on_path("bash").context("no bash")?;
    let file = tempfile::NamedTempFile::new()?;
    let mut found = 0;
    for page in pages()? {
        for (line, block) in blocks(&page) {
            if commands(&block).is_empty() && !block.contains("curl ") {
                continue;
            }
            fs::write(file.path(), &block)?;
            chart::run(Command::new(&bash).arg("-n").arg(file.path()))
                .with_context(|| page.place(line))?;
            found += 1;
        }
    }
    ensure!(found > 80, "only {found} blocks");
    Ok(())
}

#[test]
fn targets_of_make_in_the_documents_exist() -> Result<()> {
    let makefile = chart::read("Makefile")?;
    let mut found = 0;
    for page in pages()? {
        // its examples have Makefiles of their own, and `make run` too
        for (line, block) in code(&page) {
            for command in block.lines() {
                let Some(target) = command.strip_prefix("make ") else { continue };
                let target = target.split([' ', '=']).next().unwrap_or_default();
                let exists = makefile.lines().any(|line| line.starts_with(&format!("{target}:")));
                ensure!(exists, "{}: no target {target}", page.place(line));
                found += 1;
            }
        }
    }
    ensure!(found > 30, "only {found} targets");
    Ok(())
}

/// One query a line, so that a reader can paste it.
#[test]
fn queries_in_the_documents_are_valid() -> Result<()> {
    let (mut rules, mut places) = (Vec::new(), Vec::new());
    for page in pages()? {
        for (line, block) in page.blocks("promql") {
            for (n, query) in block.lines().enumerate() {
                rules.push(json!({"record": format!("query:{}", rules.len()), "expr": query}));
                places.push(format!("query:{} is {}", places.len(), page.place(line + n)));
            }
        }
    }
    let groups = json!({"groups": [{"name": "documents", "rules": rules}]});
    let file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
    fs::write(file.path(), groups.to_string())?;
    promtool(&["check", "rules", &file.path().display().to_string()])
        .with_context(|| places.join("\n"))?;
    ensure!(places.len() > 40, "only {} queries", places.len());
    Ok(())
}

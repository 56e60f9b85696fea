//! `tests/clients/clients.json`: which clients there are, and what is to be known of each.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::{process::find_on_path, repository};

/// A client of `clients.json`, with the fields that the suites use.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// `node`, `python`, `go` or `browser`.
    pub language: String,
    /// To be run from the root of the repository, with the URL appended.
    pub command: Vec<String>,
    /// Hands `eventcast.*` events to the application.
    pub delivers_control: bool,
    /// Tells when the stream opens.
    pub tells_open: bool,
    /// What it makes of the time of `retry:`.
    #[serde(default)]
    pub retry: String,
    /// What it does after each kind of end.
    pub after: After,
    /// Drops an event that the end of the stream cuts, as the standard requires.
    pub drops_partial_event: bool,
    /// What of the data it does not deliver.
    pub loses: Vec<String>,
}

/// `returns` or `stops`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct After {
    /// A clean end of the stream.
    pub end: String,
    /// A connection that was cut.
    pub cut: String,
    /// A connection that was refused.
    pub refused: String,
    /// A status 4xx to the first request.
    #[serde(rename = "4xx")]
    pub client_error: String,
    /// A status 5xx.
    #[serde(rename = "5xx")]
    pub server_error: String,
    /// 204.
    #[serde(rename = "204")]
    pub no_content: String,
}

/// The clients of one language.
///
/// # Errors
/// When the table cannot be read, or what such a client runs with is not installed.
pub fn entries(language: &str) -> Result<Vec<Entry>> {
    let file = repository().join("tests/clients/clients.json");
    let text = fs::read_to_string(&file).context("failed to read clients.json")?;
    let all: Vec<Entry> = serde_json::from_str(&text).context("failed to read clients.json")?;
    let of_language: Vec<Entry> = all.into_iter().filter(|e| e.language == language).collect();
    ensure!(!of_language.is_empty(), "clients.json has no client for {language}");
    for entry in &of_language {
        entry.check_installed()?;
    }
    Ok(of_language)
}

impl Entry {
    fn check_installed(&self) -> Result<()> {
        let part = if self.language == "browser" { "browsers" } else { "clients" };
        let missing = self.needs().into_iter().find(|file| !file.exists());
        match missing {
            None => Ok(()),
            Some(file) => anyhow::bail!(
                "{} needs {}: run tests/tools/install.sh {part}",
                self.name,
                file.display()
            ),
        }
    }

    /// The program, and the packages where they lie elsewhere.
    fn needs(&self) -> Vec<PathBuf> {
        let program = &self.command[0];
        let program = if program.contains('/') {
            repository().join(program)
        } else {
            find_on_path(program).unwrap_or_else(|| PathBuf::from(program))
        };
        let packages = ["node", "browser"].contains(&self.language.as_str()).then(|| {
            repository().join(format!("tests/clients/{}/node_modules/.stamp", self.language))
        });
        std::iter::once(program).chain(packages).collect()
    }

    /// What it makes of data.
    #[must_use]
    pub fn sees(&self, data: &str) -> String {
        let loses = |what: &str| self.loses.iter().any(|lost| lost == what);
        let mut seen = data;
        if loses("all-lines-but-the-last") {
            seen = seen.rsplit('\n').next().unwrap_or_default();
        }
        if loses("outer-spaces") {
            seen = seen.trim_matches(is_space_in_javascript);
        }
        if loses("leading-bom") {
            seen = seen.strip_prefix('\u{feff}').unwrap_or(seen);
        }
        if loses("leading-newlines") {
            seen = seen.trim_start_matches('\n');
        }
        if loses("trailing-newlines") {
            seen = seen.trim_end_matches('\n');
        }
        if loses("leading-spaces") {
            let lines = seen.split('\n').map(|line| line.trim_start_matches(' '));
            return lines.collect::<Vec<_>>().join("\n");
        }
        seen.to_owned()
    }
}

/// What `String.prototype.trim` removes.
fn is_space_in_javascript(c: char) -> bool {
    c == '\u{feff}' || (c.is_whitespace() && c != '\u{85}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_client_with_all_that_the_suites_ask() {
        let text = fs::read_to_string(repository().join("tests/clients/clients.json")).unwrap();
        let all: Vec<Entry> = serde_json::from_str(&text).unwrap();
        assert_eq!(all.len(), 21);
        for entry in all {
            let After { end, cut, refused, client_error, server_error, no_content } = &entry.after;
            for word in [end, cut, refused, client_error, server_error, no_content] {
                assert!(word == "returns" || word == "stops", "{}: {word}", entry.name);
            }
        }
    }

    #[test]
    fn a_missing_program_is_reported_with_advice() {
        let entry = Entry {
            name: "x".into(),
            language: "python".into(),
            command: vec![".tools/no-such/python".into()],
            ..Entry::default()
        };
        let said = entry.check_installed().unwrap_err().to_string();
        assert!(said.ends_with("run tests/tools/install.sh clients"), "{said}");
    }

    #[test]
    fn quirks_change_what_is_seen() {
        let loses = |what: &[&str]| Entry {
            loses: what.iter().map(|w| (*w).to_owned()).collect(),
            ..Entry::default()
        };
        assert_eq!(loses(&[]).sees("\n a\n"), "\n a\n");
        assert_eq!(loses(&["leading-spaces", "trailing-newlines"]).sees("  a\n b\n\n"), "a\nb");
        assert_eq!(loses(&["leading-newlines", "leading-bom"]).sees("\u{feff}\n\na\n"), "a\n");
        let last = loses(&["all-lines-but-the-last", "outer-spaces"]);
        assert_eq!(
            ["a\n b ", "\u{feff}a\u{85}", "a\n"].map(|data| last.sees(data)),
            ["b", "a\u{85}", ""]
        );
    }
}

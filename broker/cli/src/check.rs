//! `eventcast check`: what was looked at, how it is, and what to do.
//!
//! [`cluster`] and [`probe`] observe; [`channel`] and [`judge`] draw conclusions.

pub(crate) mod channel;
pub(crate) mod cluster;
pub(crate) mod judge;
pub(crate) mod probe;

use serde::Serialize;

use crate::docs_link::docs_link;

/// Pages that findings name, besides those of conditions.
#[cfg(test)]
pub(crate) const PAGES: [&str; 9] = [
    page::ACCESS,
    page::CHANNEL,
    page::DELIVERY,
    page::INSTALL,
    page::NETWORK,
    page::PROXIES,
    page::STATUS_CODES,
    page::TROUBLESHOOTING,
    page::UPGRADING,
];

/// Pages of the documentation.
mod page {
    pub(super) const ACCESS: &str = "ACCESS.md#refusals";
    pub(super) const CHANNEL: &str = "KUBERNETES.md#the-status";
    pub(super) const DELIVERY: &str = "DELIVERY-PROBE.md#what-it-finds";
    pub(super) const INSTALL: &str = "INSTALL.md";
    pub(super) const NETWORK: &str = "NETWORK.md";
    pub(super) const PROXIES: &str = "proxies/README.md#by-product";
    pub(super) const STATUS_CODES: &str = "TROUBLESHOOTING.md#status-codes";
    pub(super) const TROUBLESHOOTING: &str = "TROUBLESHOOTING.md#streams";
    pub(super) const UPGRADING: &str = "UPGRADING.md";
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Ok,
    /// It works, or it could not be looked at.
    Warn,
    Fail,
}

/// One line of the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) section: String,
    pub(crate) level: Level,
    pub(crate) what: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
    /// Where the documentation says more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) link: Option<String>,
}

/// The findings of one section.
#[derive(Debug)]
pub(crate) struct Section {
    name: String,
    findings: Vec<Finding>,
}

impl Section {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), findings: Vec::new() }
    }

    pub(crate) fn ok(&mut self, what: impl Into<String>) {
        self.add(Level::Ok, what.into(), None, None);
    }

    pub(crate) fn warn(&mut self, what: impl Into<String>, advice: &str, page: &str) {
        self.add(Level::Warn, what.into(), Some(advice), Some(page));
    }

    pub(crate) fn fail(&mut self, what: impl Into<String>, advice: &str, page: &str) {
        self.add(Level::Fail, what.into(), Some(advice), Some(page));
    }

    fn add(&mut self, level: Level, what: String, advice: Option<&str>, page: Option<&str>) {
        self.findings.push(Finding {
            section: self.name.clone(),
            level,
            what,
            advice: advice.filter(|text| !text.is_empty()).map(str::to_owned),
            link: page.map(docs_link),
        });
    }

    pub(crate) fn done(self) -> Vec<Finding> {
        self.findings
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::PAGES;

    /// The anchor of a heading, as GitHub makes it.
    fn anchor(heading: &str) -> String {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    }

    #[test]
    fn pages_and_anchors_exist() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        for page in PAGES {
            let (file, wanted) = page.split_once('#').unwrap_or((page, ""));
            let text = fs::read_to_string(docs.join(file)).unwrap_or_else(|_| panic!("no {file}"));
            let mut headings = text.lines().filter(|line| line.starts_with('#'));
            let is_there = |line: &str| anchor(line.trim_start_matches('#').trim()) == wanted;
            assert!(wanted.is_empty() || headings.any(is_there), "{page} has no such heading");
        }
    }
}

//! Which metrics of ours a query asks for, with which labels, and whether somebody serves them.
//!
//! Knows as much of PromQL as that needs: strings, selectors, and lists of labels behind `by`, `on` and their like.

use std::collections::{BTreeMap, BTreeSet};

use crate::metrics::Metrics;

/// What the names of our metrics begin with.
const METRIC_PREFIXES: [&str; 3] = ["eventcast_", "eventcast:", "process_"];
/// Labels that Prometheus itself adds.
const TARGET_LABELS: [&str; 4] = ["cluster", "instance", "job", "namespace"];
/// Words before a list of labels.
const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// Metrics by their names in a scrape (with `_bucket` and the like), each with its labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known(pub BTreeMap<String, BTreeSet<String>>);

impl Known {
    /// What a scrape shows.
    #[must_use]
    pub fn of(scrape: &Metrics) -> Self {
        let mut known = Self::default();
        for sample in &scrape.0 {
            let labels = known.0.entry(sample.name.clone()).or_default();
            labels.extend(sample.labels.keys().cloned());
        }
        known
    }

    /// Adds a metric that is not a histogram.
    #[must_use]
    pub fn and(mut self, name: &str, labels: &[&str]) -> Self {
        self.0.insert(name.to_owned(), labels.iter().map(|&label| label.to_owned()).collect());
        self
    }

    /// Both together.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Metrics and labels that `query` uses and that do not exist.
    #[must_use]
    pub fn unserved(&self, query: &str) -> Vec<String> {
        let asked = asked(query);
        let mut missing = Vec::new();
        let everywhere: BTreeSet<&String> = self.0.values().flatten().collect();
        for (metric, labels) in &asked.selectors {
            let Some(have) = self.0.get(metric) else {
                missing.push(metric.clone());
                continue;
            };
            let lacking = labels
                .iter()
                .filter(|label| !have.contains(*label) && !TARGET_LABELS.contains(&label.as_str()));
            missing.extend(lacking.map(|label| format!("{metric}{{{label}}}")));
        }
        let strange = asked.grouping.iter().filter(|label| {
            !TARGET_LABELS.contains(&label.as_str()) && !everywhere.contains(label)
        });
        missing.extend(strange.map(|label| format!("by ({label})")));
        missing
    }
}

/// What a query asks for.
#[derive(Debug, Default, PartialEq)]
pub struct Asked {
    /// Metrics of ours and the labels they are selected by.
    pub selectors: Vec<(String, Vec<String>)>,
    /// Labels that results are grouped or matched by.
    pub grouping: Vec<String>,
}

/// Reads a query, or any text with names of metrics in it.
#[must_use]
pub fn asked(query: &str) -> Asked {
    let mut asked = Asked::default();
    let tokens = tokens(query);
    let list = |from: usize, close: char| {
        let until = tokens[from..].iter().position(|token| *token == Token::Mark(close));
        &tokens[from..until.map_or(tokens.len(), |count| from + count)]
    };
    for (at, token) in tokens.iter().enumerate() {
        let Token::Word(word) = token else { continue };
        match tokens.get(at + 1) {
            Some(Token::Mark('(')) if GROUPING.contains(word) => {
                asked.grouping.extend(list(at + 2, ')').iter().filter_map(Token::word));
            }
            next if METRIC_PREFIXES.iter().any(|p| word.starts_with(p) && word.len() > p.len()) => {
                let braces = next == Some(&Token::Mark('{'));
                let inside = if braces { list(at + 2, '}') } else { &[] };
                let labels = inside.iter().filter_map(Token::word).collect();
                asked.selectors.push(((*word).to_owned(), labels));
            }
            _ => {}
        }
    }
    asked
}

#[derive(Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Mark(char),
}

impl Token<'_> {
    fn word(&self) -> Option<String> {
        match self {
            Self::Word(word) => Some((*word).to_owned()),
            Self::Mark(_) => None,
        }
    }
}

/// Words and marks; strings and numbers are left out.
fn tokens(mut text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    while let Some(first) = text.chars().next() {
        let length = match first {
            '"' => string(text),
            _ if is_name(first) => {
                let length = text.find(|c| !is_name(c)).unwrap_or(text.len());
                if !first.is_ascii_digit() {
                    tokens.push(Token::Word(text[..length].trim_end_matches(':')));
                }
                length
            }
            _ => {
                if !first.is_whitespace() {
                    tokens.push(Token::Mark(first));
                }
                first.len_utf8()
            }
        };
        text = &text[length..];
    }
    tokens
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == ':'
}

/// The length of the string at the beginning of `text`, quotes included.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_labels_and_groupings_are_found() {
        let query = r#"histogram_quantile(0.99, sum by (stage, le) (rate(eventcast_a_bucket{stage=~"x|eventcast_no\"",channel="$channel"}[5m])))
            and on (job) eventcast_b offset 5m > 0"#;
        let asked = asked(query);
        let a = ("eventcast_a_bucket".to_owned(), vec!["stage".to_owned(), "channel".to_owned()]);
        assert_eq!(asked.selectors, [a, ("eventcast_b".to_owned(), vec![])]);
        assert_eq!(asked.grouping, ["stage", "le", "job"]);
    }

    #[test]
    fn missing_metrics_are_named() {
        let scrape = Metrics::parse("eventcast_a{channel=\"x\"} 1\n").unwrap();
        let known = Known::of(&scrape).and("eventcast_b", &[]);
        assert!(
            known.unserved("sum by (channel, instance) (eventcast_a + eventcast_b)").is_empty()
        );
        let wrong = "sum by (chanel) (eventcast_a{topic=\"y\"}) + eventcast_c";
        assert_eq!(known.unserved(wrong), ["eventcast_a{topic}", "eventcast_c", "by (chanel)"]);
    }
}

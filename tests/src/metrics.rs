//! A scrape of `/metrics`: samples by name and labels.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

/// One sample of the Prometheus text format.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name with its suffix (`_total`, `_bucket`).
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

/// All samples of one scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(pub Vec<Sample>);

impl Metrics {
    /// Reads the text format.
    ///
    /// # Errors
    /// When a line is not of it.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples: Result<Vec<Sample>> = lines
            .map(|line| sample(line).with_context(|| format!("not a sample: {line:?}")))
            .collect();
        samples.map(Self)
    }

    /// The sum over all samples of `name` that have all of `labels`; 0 where there is none.
    #[must_use]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| {
            let has = |(key, value): &(&str, &str)| {
                sample.labels.get(*key).is_some_and(|have| have == value)
            };
            sample.name == name && labels.iter().all(has)
        };
        self.0.iter().filter(fits).map(|sample| sample.value).sum()
    }

    /// Whether there is any sample of `name`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|sample| sample.name == name)
    }
}

fn sample(line: &str) -> Option<Sample> {
    let split = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(split);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (key, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(key.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// A label value up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_over_labels() {
        let text = "# HELP x y\n# TYPE x counter\nx{a=\"1\",b=\"q\\\"}\"} 2\nx{a=\"1\",b=\"r\"} 3\n\
                    x{a=\"2\",b=\"r\"} 5 1700000000\ny 1e3\nz_bucket{le=\"+Inf\"} 7\n";
        let metrics = Metrics::parse(text).unwrap();
        assert_eq!(metrics.metric("x", &[]), 10.0);
        assert_eq!(metrics.metric("x", &[("a", "1")]), 5.0);
        assert_eq!(metrics.metric("x", &[("b", "q\"}")]), 2.0);
        assert_eq!(metrics.metric("y", &[]), 1000.0);
        assert_eq!(metrics.metric("z_bucket", &[("le", "+Inf")]), 7.0);
        assert!(metrics.has("y") && !metrics.has("w"));
        assert!(Metrics::parse("novalue").is_err());
    }
}

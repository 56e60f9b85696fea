//! The text format of Prometheus, as far as commands need it. Pure.

/// The samples of one scrape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(Vec<Sample>);

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    /// As they are written: `channel="a/b",reason="expired"`.
    labels: String,
    value: f64,
}

impl Metrics {
    /// Lines that are no samples are ignored.
    pub(crate) fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(Sample::parse).collect())
    }

    /// The sum of the samples of `name` that have all of `labels`; `None` if there is none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut values = self.samples(name, labels).map(|sample| sample.value).peekable();
        values.peek()?;
        Some(values.sum())
    }

    /// The upper limits of the buckets of a histogram.
    pub(crate) fn limits(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        self.samples(name, labels).filter_map(Sample::limit).collect()
    }

    /// How many observations a histogram has up to a limit.
    pub(crate) fn up_to(&self, name: &str, labels: &[(&str, &str)], limit: f64) -> f64 {
        let samples = self.samples(name, labels);
        samples.filter(|sample| sample.limit() == Some(limit)).map(|sample| sample.value).sum()
    }

    fn samples(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Sample> {
        let wanted: Vec<_> =
            labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let name = name.to_owned();
        self.0.iter().filter(move |sample| {
            let mut own = wanted.iter();
            sample.name == name && own.all(|label| sample.labels.split(',').any(|l| l == label))
        })
    }
}

impl Sample {
    fn parse(line: &str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let (head, value) = line.rsplit_once(' ')?;
        let (name, labels) = head.split_once('{').unwrap_or((head, ""));
        let labels = labels.trim_end_matches('}').to_owned();
        Some(Self { name: name.to_owned(), labels, value: value.parse().ok()? })
    }

    /// The upper limit of a bucket.
    fn limit(&self) -> Option<f64> {
        let limit = self.labels.split(',').find_map(|label| label.strip_prefix("le=\""))?;
        limit.trim_end_matches('"').parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_their_labels() {
        let text = "# HELP x y\n# TYPE x counter\nx{channel=\"a/b\",reason=\"expired\"} 2\nx{channel=\"a/b\",reason=\"invalid\"} 3\nx{channel=\"a/c\"} 5\nup 1\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("x", &[("channel", "a/b")]), Some(5.0));
        assert_eq!(metrics.sum("x", &[("channel", "a/b"), ("reason", "expired")]), Some(2.0));
        assert_eq!(metrics.sum("up", &[]), Some(1.0));
        assert_eq!(metrics.sum("x", &[("channel", "none")]), None);
    }
}

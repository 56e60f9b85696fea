//! OpenMetrics 1.0, the text format of metrics that has exemplars. Pure.
//!
//! A scraper asks for it with `Accept`. Prometheus does, and stores exemplars with `--enable-feature=exemplar-storage`.

use std::fmt::{self, Display, Write as _};

use http::{HeaderMap, header};
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

/// The media type of what [`render`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// An observation of a bucket, and the span that it was made in.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// In hexadecimal.
    pub trace_id: String,
    /// In hexadecimal.
    pub span_id: String,
    /// What was observed.
    pub value: f64,
    /// When, in seconds since 1970.
    pub seconds: f64,
}

/// Whether a scraper would rather have OpenMetrics than the text format of Prometheus.
#[must_use]
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<_> = values.flat_map(|value| value.split(',')).collect();
    let quality = |name: &str| {
        let of = |range: &&str| {
            let mut parts = range.split(';').map(str::trim);
            parts.next().is_some_and(|media| media.eq_ignore_ascii_case(name)).then(|| {
                let mut qualities = parts.filter_map(|part| part.strip_prefix("q="));
                qualities.next().map_or(Some(1.0), |q| q.parse().ok()).unwrap_or(0.0)
            })
        };
        ranges.iter().filter_map(of).fold(0.0, f64::max)
    };
    let open = quality("application/openmetrics-text");
    open > 0.0 && open >= quality("text/plain")
}

/// Writes `families`. `exemplar` is asked for each bucket of a histogram: the name of its family, its labels, and its index; that of
/// `+Inf` is the number of the others.
#[must_use]
pub fn render(
    families: &[MetricFamily],
    exemplar: impl Fn(&str, &[LabelPair], usize) -> Option<Exemplar>,
) -> String {
    let mut out = String::new();
    for family in families {
        // Writing to a string does not fail.
        write_family(&mut out, family, &exemplar).unwrap_or_default();
    }
    out + "# EOF\n"
}

fn write_family(
    out: &mut String,
    family: &MetricFamily,
    exemplar: &impl Fn(&str, &[LabelPair], usize) -> Option<Exemplar>,
) -> fmt::Result {
    let full = family.name();
    let (name, kind) = match family.get_field_type() {
        // A counter is named without the suffix of its samples, and has to have one.
        MetricType::COUNTER => match full.strip_suffix("_total") {
            Some(name) => (name, "counter"),
            None => (full, "unknown"),
        },
        MetricType::GAUGE => (full, "gauge"),
        MetricType::HISTOGRAM => (full, "histogram"),
        _ => return Ok(()), // there are none
    };
    writeln!(out, "# TYPE {name} {kind}")?;
    writeln!(out, "# HELP {name} {}", Escaped(family.help()))?;
    for metric in family.get_metric() {
        match family.get_field_type() {
            MetricType::HISTOGRAM => write_histogram(out, name, metric, exemplar)?,
            MetricType::COUNTER => {
                let value = metric.get_counter().get_value();
                writeln!(out, "{full}{} {}", Labels(metric.get_label(), None), Number(value))?;
            }
            _ => {
                let value = metric.get_gauge().get_value();
                writeln!(out, "{full}{} {}", Labels(metric.get_label(), None), Number(value))?;
            }
        }
    }
    Ok(())
}

fn write_histogram(
    out: &mut String,
    name: &str,
    metric: &Metric,
    exemplar: &impl Fn(&str, &[LabelPair], usize) -> Option<Exemplar>,
) -> fmt::Result {
    let (histogram, labels) = (metric.get_histogram(), metric.get_label());
    let bounds = histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite());
    let counts = bounds.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
    let all = histogram.get_sample_count();
    for (index, (bound, count)) in counts.chain([(f64::INFINITY, all)]).enumerate() {
        write!(out, "{name}_bucket{} {count}", Labels(labels, Some(bound)))?;
        if let Some(Exemplar { trace_id, span_id, value, seconds }) = exemplar(name, labels, index)
        {
            let value = Number(value);
            write!(
                out,
                " # {{trace_id=\"{trace_id}\",span_id=\"{span_id}\"}} {value} {seconds:.3}"
            )?;
        }
        out.push('\n');
    }
    writeln!(out, "{name}_count{} {all}", Labels(labels, None))?;
    writeln!(out, "{name}_sum{} {}", Labels(labels, None), Number(histogram.get_sample_sum()))
}

/// The labels of a sample, and the bound of its bucket.
struct Labels<'a>(&'a [LabelPair], Option<f64>);

impl Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() && self.1.is_none() {
            return Ok(());
        }
        let mut separator = "{";
        for label in self.0 {
            write!(f, "{separator}{}=\"{}\"", label.name(), Escaped(label.value()))?;
            separator = ",";
        }
        if let Some(bound) = self.1 {
            write!(f, "{separator}le=\"{}\"", Number(bound))?;
        }
        f.write_char('}')
    }
}

struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '\\' => f.write_str("\\\\"),
            '\n' => f.write_str("\\n"),
            '"' => f.write_str("\\\""),
            other => f.write_char(other),
        })
    }
}

/// A number as the format wants it ("canonical numbers"): as Go writes it, with a dot or an exponent.
struct Number(f64);

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value) = *self;
        if value.is_nan() {
            return f.write_str("NaN");
        }
        if value.is_infinite() {
            return f.write_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        }
        let size = value.abs();
        if size != 0.0 && !(1e-4..1e21).contains(&size) {
            let text = format!("{value:e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            return write!(f, "{digits}e{sign}{exponent:0>2}");
        }
        if value.fract() == 0.0 { write!(f, "{value:.1}") } else { write!(f, "{value}") }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};

    use super::*;

    #[test]
    fn numbers_are_those_of_go() {
        for (value, text) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (0.000_1, "0.0001"),
            (0.000_05, "5e-05"),
            (1.5e-7, "1.5e-07"),
            (123_456_789.0, "123456789.0"),
            (1e21, "1e+21"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(Number(value).to_string(), text);
        }
    }

    #[test]
    fn families_are_written_with_their_exemplars() {
        let registry = Registry::new();
        let counter = IntCounterVec::new(Opts::new("a_total", "Has a \"quote\"."), &["x"]).unwrap();
        let gauge = IntGauge::new("b", "Is a gauge.").unwrap();
        let options = HistogramOpts::new("c_seconds", "Is a histogram.").buckets(vec![0.5, 1.0]);
        let histogram = Histogram::with_opts(options).unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        registry.register(Box::new(gauge.clone())).unwrap();
        registry.register(Box::new(histogram.clone())).unwrap();
        counter.with_label_values(&["1\n2"]).inc();
        gauge.set(-3);
        histogram.observe(0.25);
        histogram.observe(7.0);
        let text = render(&registry.gather(), |name, _, index| {
            let at = |value| Exemplar {
                trace_id: "aa".into(),
                span_id: "bb".into(),
                value,
                seconds: 1.5,
            };
            assert_eq!(name, "c_seconds");
            [Some(at(0.25)), None, Some(at(7.0))][index].clone()
        });
        let expected = "\
# TYPE a counter
# HELP a Has a \\\"quote\\\".
a_total{x=\"1\\n2\"} 1.0
# TYPE b gauge
# HELP b Is a gauge.
b -3.0
# TYPE c_seconds histogram
# HELP c_seconds Is a histogram.
c_seconds_bucket{le=\"0.5\"} 1 # {trace_id=\"aa\",span_id=\"bb\"} 0.25 1.500
c_seconds_bucket{le=\"1.0\"} 1
c_seconds_bucket{le=\"+Inf\"} 2 # {trace_id=\"aa\",span_id=\"bb\"} 7.0 1.500
c_seconds_count 2
c_seconds_sum 7.25
# EOF
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_scraper_says_which_format_it_wants() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, wanted) in [
            (prometheus, true),
            ("application/openmetrics-text", true),
            ("text/plain", false),
            ("text/plain;q=0.9, application/openmetrics-text;q=0.5", false),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text;q=much", false),
            ("*/*", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(is_wanted(&headers), wanted, "{accept}");
        }
        assert!(!is_wanted(&HeaderMap::new()));
    }
}

//! Where spans go, and which: from the configuration of a program and the `OTEL_*` variables of the environment. Pure.

use std::{path::PathBuf, time::Duration};

use http::Uri;
use opentelemetry_sdk::trace::Sampler;

use super::Wanted;

/// The path of traces below an endpoint that is for all signals.
const TRACES_PATH: &str = "/v1/traces";
/// How long an export may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// The share of the traces that begin here and are recorded.
const SAMPLE_RATIO: f64 = 0.01;

#[derive(Debug)]
pub(super) struct Settings {
    /// The whole URL of an export.
    pub(super) endpoint: Uri,
    pub(super) timeout: Duration,
    /// The certificate authorities of the collector, instead of those of the system.
    pub(super) ca_file: Option<PathBuf>,
    pub(super) sampler: Sampler,
}

impl Settings {
    /// The settings, `None` if there are to be no traces, and what cannot be used.
    pub(super) fn of(
        wanted: &Wanted<'_>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> (Option<Self>, Vec<String>) {
        // An empty variable is one that is not set, as the specification says.
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let either = |name: &str| {
            [format!("OTEL_EXPORTER_OTLP_TRACES_{name}"), format!("OTEL_EXPORTER_OTLP_{name}")]
                .into_iter()
                .find_map(|name| variable(&name).map(|value| (name, value)))
        };
        let mut problems = Vec::new();
        let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"))
            || variable("OTEL_TRACES_EXPORTER").is_some_and(|v| v == "none");
        if is_off {
            return (None, problems);
        }
        let (name, url) = match (either("ENDPOINT"), wanted.endpoint) {
            (Some((name, url)), _) if name.ends_with("TRACES_ENDPOINT") => (name, url),
            (Some((name, url)), _) => (name, below(&url)),
            (None, Some(url)) => ("telemetry.otlp.endpoint".into(), below(url)),
            (None, None) => return (None, problems),
        };
        let Some(endpoint) = url.parse().ok().filter(is_http) else {
            problems.push(format!(
                "{name} is not the URL of a collector, such as http://collector:4318"
            ));
            return (None, problems);
        };
        if let Some((name, protocol)) = either("PROTOCOL")
            && protocol != "http/protobuf"
        {
            problems.push(format!("{name} is {protocol}: only http/protobuf is supported"));
        }
        let timeout = either("TIMEOUT").and_then(|(name, text)| {
            let parsed = text.parse().ok().filter(|ms| *ms > 0).map(Duration::from_millis);
            if parsed.is_none() {
                problems.push(format!("{name} is not a number of milliseconds"));
            }
            parsed
        });
        let ca_file = either("CERTIFICATE").map(|(_, path)| path.into());
        let (name, argument) =
            (variable("OTEL_TRACES_SAMPLER"), variable("OTEL_TRACES_SAMPLER_ARG"));
        let ratio = argument.as_deref().and_then(|text| {
            let ratio = text.trim().parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
            if ratio.is_none() {
                problems.push("OTEL_TRACES_SAMPLER_ARG is not a number from 0 to 1".into());
            }
            ratio
        });
        let ratio = ratio.or(wanted.sample_ratio).unwrap_or(SAMPLE_RATIO);
        let sampler = sampler(name.as_deref(), ratio).unwrap_or_else(|| {
            problems.push(
                "OTEL_TRACES_SAMPLER is not the name of a sampler: using parentbased_traceidratio"
                    .into(),
            );
            parent_or(Sampler::TraceIdRatioBased(ratio))
        });
        let timeout = timeout.unwrap_or(EXPORT_TIMEOUT);
        (Some(Self { endpoint, timeout, ca_file, sampler }), problems)
    }
}

/// The sampler of a name of the specification. Without one, and for what is not from a sampled parent, so many traces are recorded.
fn sampler(name: Option<&str>, ratio: f64) -> Option<Sampler> {
    Some(match name {
        None | Some("parentbased_traceidratio") => parent_or(Sampler::TraceIdRatioBased(ratio)),
        Some("traceidratio") => Sampler::TraceIdRatioBased(ratio),
        Some("always_on") => Sampler::AlwaysOn,
        Some("always_off") => Sampler::AlwaysOff,
        Some("parentbased_always_on") => parent_or(Sampler::AlwaysOn),
        Some("parentbased_always_off") => parent_or(Sampler::AlwaysOff),
        Some(_) => return None,
    })
}

fn parent_or(root: Sampler) -> Sampler {
    Sampler::ParentBased(Box::new(root))
}

fn below(endpoint: &str) -> String {
    format!("{}{TRACES_PATH}", endpoint.trim_end_matches('/'))
}

fn is_http(url: &Uri) -> bool {
    url.host().is_some_and(|host| !host.is_empty())
        && matches!(url.scheme_str(), Some("http" | "https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(endpoint: Option<&str>, variables: &[(&str, &str)]) -> (Option<Settings>, Vec<String>) {
        let wanted = Wanted { endpoint, ..Wanted::default() };
        let find = |name: &str| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        };
        Settings::of(&wanted, find)
    }

    fn endpoint(configured: Option<&str>, variables: &[(&str, &str)]) -> Option<String> {
        of(configured, variables).0.map(|settings| settings.endpoint.to_string())
    }

    #[test]
    fn there_are_no_traces_without_an_endpoint() {
        assert_eq!(endpoint(None, &[]), None);
        assert_eq!(endpoint(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), None);
        for off in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(endpoint(Some("http://a:4318"), &[off]), None, "{off:?}");
        }
    }

    #[test]
    fn the_most_specific_endpoint_wins() {
        let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:4318/");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces/otlp");
        let of = |variables: &[_]| endpoint(Some("http://config:4318"), variables).unwrap();
        assert_eq!(of(&[]), "http://config:4318/v1/traces");
        assert_eq!(of(&[general]), "http://general:4318/v1/traces");
        assert_eq!(of(&[general, traces]), "https://traces/otlp");
    }

    #[test]
    fn unusable_values_are_reported_and_ignored() {
        let (settings, problems) = of(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")]);
        assert!(settings.is_none() && problems[0].contains("not the URL"), "{problems:?}");
        let (settings, problems) = of(
            Some("http://a"),
            &[
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
                ("OTEL_TRACES_SAMPLER", "xray"),
                ("OTEL_TRACES_SAMPLER_ARG", "7"),
            ],
        );
        let settings = settings.unwrap();
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert_eq!(settings.timeout, EXPORT_TIMEOUT);
        assert_eq!(format!("{:?}", settings.sampler), "ParentBased(TraceIdRatioBased(0.01))");
    }

    #[test]
    fn samplers_have_the_names_of_the_specification() {
        let of =
            |variables: &[_]| format!("{:?}", of(Some("http://a"), variables).0.unwrap().sampler);
        let (name, ratio) = ("OTEL_TRACES_SAMPLER", ("OTEL_TRACES_SAMPLER_ARG", "0.5"));
        assert_eq!(of(&[ratio]), "ParentBased(TraceIdRatioBased(0.5))");
        assert_eq!(of(&[(name, "traceidratio"), ratio]), "TraceIdRatioBased(0.5)");
        assert_eq!(of(&[(name, "always_on")]), "AlwaysOn");
        assert_eq!(of(&[(name, "parentbased_always_off")]), "ParentBased(AlwaysOff)");
    }
}

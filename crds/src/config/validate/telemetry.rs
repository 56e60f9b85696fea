//! Validates where traces go.

use super::Problems;
use crate::config::Telemetry;

impl Telemetry {
    pub(super) fn problems(&self, p: &mut Problems) {
        p.check(
            "telemetry.otlp.endpoint",
            self.otlp.endpoint.as_deref().is_none_or(is_url),
            "must be the URL of a collector, such as http://collector.monitoring:4318",
        );
        p.check(
            "telemetry.otlp.sampleRatio",
            self.otlp.sample_ratio.is_none_or(|ratio| (0.0..=1.0).contains(&ratio)),
            "must be from 0 to 1",
        );
    }
}

fn is_url(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let is_host = |rest: &str| !rest.is_empty() && !rest.starts_with(['/', ':', '?']);
    rest.is_some_and(is_host) && !url.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use crate::config::{BrokerConfig, Otlp, Telemetry};

    #[test]
    fn an_endpoint_is_a_url_and_a_ratio_is_a_share() {
        let problems = |endpoint: &str, sample_ratio| {
            let otlp = Otlp { endpoint: Some(endpoint.into()), sample_ratio: Some(sample_ratio) };
            let telemetry = Telemetry { otlp };
            let problems = BrokerConfig { telemetry, ..BrokerConfig::default() }.problems();
            problems.iter().filter(|p| p.path.starts_with("telemetry")).count()
        };
        assert_eq!(problems("http://collector:4318", 0.5), 0);
        assert_eq!(problems("https://[::1]/otlp", 0.0), 0);
        for bad in ["collector:4318", "grpc://collector", "http://", "http:///v1", "http://a b"] {
            assert_eq!(problems(bad, 1.0), 1, "{bad}");
        }
        assert_eq!(problems("http://a", 1.1), 1);
        assert_eq!(problems("http://a", f64::NAN), 1);
    }
}

//! Parses the file strictly: a misspelt setting is an error with its path, and so is a value that brokers or the API server would reject.

use std::collections::BTreeMap;

use eventcast_crds::config::{BrokerConfig, ChannelConfig, load::typed};
use eventcast_runtime::telemetry;
use serde_json::Value;

use super::BrokerDefaults;
use crate::owner::{ChannelKey, OwnerKey};

/// Longest name of a label, and longest value (Kubernetes).
const MAX_LABEL_BYTES: usize = 63;
/// Longest prefix of a key (a DNS name).
const MAX_PREFIX_BYTES: usize = 253;

impl BrokerDefaults {
    /// Parses the file.
    ///
    /// # Errors
    /// Every problem, with the path of its setting.
    pub fn parse(yaml: &str) -> Result<Self, Vec<String>> {
        let value = if yaml.trim().is_empty() {
            Value::Null
        } else {
            serde_saphyr::from_str::<Value>(yaml).map_err(|e| vec![e.to_string()])?
        };
        if value.is_null() {
            return Ok(Self::default());
        }
        // A struct could be read from a list, too.
        if !value.is_object() {
            return Err(vec!["the file must have settings, such as `log: {format: text}`".into()]);
        }
        let (defaults, unknown) = typed::<Self>(&value).map_err(|error| vec![error.to_string()])?;
        let unknown = unknown.iter().map(|path| format!("{path}: there is no such setting"));
        let problems: Vec<_> = unknown.chain(defaults.problems()).collect();
        if problems.is_empty() { Ok(defaults) } else { Err(problems) }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        problems.extend(label_problems("labels", &self.labels));
        problems.extend(label_problems("podMonitor.labels", &self.pod_monitor.labels));
        for key in self.annotations.keys().filter(|key| !is_key(key) || is_own(key)) {
            problems.push(key_problem("annotations", key));
        }
        let lists = [
            ("inheritLabels", &self.inherit_labels),
            ("inheritAnnotations", &self.inherit_annotations),
        ];
        for (list, patterns) in lists {
            if patterns.iter().any(String::is_empty) {
                problems.push(format!("{list}: a pattern is empty: write * for every key"));
            }
        }
        let monitor = &self.pod_monitor;
        let durations = [
            ("interval", Some(&monitor.interval)),
            ("scrapeTimeout", monitor.scrape_timeout.as_ref()),
        ];
        for (name, text) in durations {
            if let Some(text) = text.filter(|text| !is_duration(text)) {
                problems
                    .push(format!("podMonitor.{name}: {text} is no duration such as 15s or 1m"));
            }
        }
        if let Some(Err(error)) = self.log.level.as_deref().map(telemetry::parse_filter) {
            problems.push(format!("log.level: {error}"));
        }
        // As a broker will judge them.
        let config = BrokerConfig {
            limits: self.limits.limits(),
            query: self.query.query(),
            telemetry: self.telemetry.clone(),
            channels: vec![ChannelConfig::new("default", "defaults")],
            ..BrokerConfig::default()
        };
        problems.extend(config.problems().iter().map(ToString::to_string));
        problems
    }
}

fn label_problems(path: &str, labels: &BTreeMap<String, String>) -> Vec<String> {
    let keys = labels.keys().filter(|key| !is_key(key) || is_own(key));
    let values = labels.iter().filter(|(_, value)| !value.is_empty() && !is_name(value));
    let values =
        values.map(|(key, value)| format!("{path}.{key}: {value:?} is no value of a label"));
    keys.map(|key| key_problem(path, key)).chain(values).collect()
}

fn key_problem(path: &str, key: &str) -> String {
    if is_own(key) {
        format!("{path}.{key}: the operator itself sets it: remove it")
    } else {
        format!("{path}: {key:?} is no key such as team or example.com/team")
    }
}

/// Whether the operator sets this key itself.
fn is_own(key: &str) -> bool {
    OwnerKey::channel(ChannelKey::default()).labels().contains_key(key)
        || key.starts_with("eventcast.dev/")
}

/// Whether `key` is a name with an optional prefix, as Kubernetes takes it.
fn is_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(p, n)| (Some(p), n));
    let is_prefix = |p: &str| {
        let lower =
            p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
        !p.is_empty() && p.len() <= MAX_PREFIX_BYTES && lower
    };
    is_name(name) && prefix.is_none_or(is_prefix)
}

fn is_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let ends = [text.bytes().next(), text.bytes().last()];
    text.len() <= MAX_LABEL_BYTES
        && text.bytes().all(inner)
        && ends.iter().all(|b| b.is_some_and(|b| b.is_ascii_alphanumeric()))
}

/// Whether Prometheus takes it as a duration: numbers with the units h, m, s and ms.
fn is_duration(text: &str) -> bool {
    let rest = ["h", "m", "s", "ms"].iter().fold(text, |rest, unit| {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        match rest[digits..].strip_prefix(unit) {
            // `m` must not take the first letter of `ms`.
            Some(after) if digits > 0 && !(*unit == "m" && after.starts_with('s')) => after,
            _ => rest,
        }
    });
    !text.is_empty() && rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_has_the_defaults() {
        for text in ["", "{}", "# nothing\n"] {
            assert_eq!(BrokerDefaults::parse(text).unwrap(), BrokerDefaults::default(), "{text}");
        }
        assert_eq!(BrokerDefaults::default().problems(), Vec::<String>::new());
    }

    #[test]
    fn every_setting_is_read() {
        let text = "
labels: {team: platform}
annotations: {example.com/owner: platform}
inheritLabels: [cost/*]
inheritAnnotations: [note]
podTemplate: {metadata: {annotations: {a: b}}, spec: {dnsPolicy: Default, containers: [{name: broker, env: [{name: A, value: b}]}]}}
log: {level: debug, format: text}
limits: {connections: 100, subscribers: 50, overload: status, allowedHosts: [a.example], publishesInFlight: 9}
query: {scanEvents: 5000, scanBytes: 5000000, concurrent: 2}
podMonitor: {labels: {release: p}, interval: 1m30s, scrapeTimeout: 900ms, relabelings: [{action: keep}], metricRelabelings: [{action: drop}], endpointAdditionalProperties: {honorLabels: true}}
metrics: {annotations: false}
networkPolicy:
  extraIngress: [{ports: [{port: 15008}]}]
  extraEgress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]
  metricsFrom: [{namespaceSelector: {}}]
";
        let read = BrokerDefaults::parse(text).unwrap();
        assert_eq!(read.log.format.as_str(), "text");
        assert_eq!(read.limits.limits().connections, 100);
        assert_eq!(read.query.query().concurrent, 2);
        assert_eq!(read.network_policy.extra_egress.len(), 1);
        assert!(!read.metrics.annotations);
    }

    #[test]
    fn every_mistake_is_an_error_with_its_path() {
        for (text, expected) in [
            ("tags: {}", "tags: there is no such setting"),
            ("podMonitor: {every: 5s}", "podMonitor.every: there is no such setting"),
            (
                "podTemplate: {spec: {colour: red}}",
                "podTemplate.spec.colour: there is no such setting",
            ),
            (
                "networkPolicy: {extraEgress: [{port: 1}]}",
                "networkPolicy.extraEgress[0].port: there is no such setting",
            ),
            (
                "log: {format: yaml}",
                "log.format: unknown variant `yaml`, expected `json` or `text`",
            ),
            ("labels: {team: 7}", "labels.team: invalid type"),
            ("labels: {team: a b}", "labels.team: \"a b\" is no value of a label"),
            ("labels: {'a b': x}", "labels: \"a b\" is no key such as team"),
            (
                "labels: {app.kubernetes.io/name: x}",
                "labels.app.kubernetes.io/name: the operator itself sets it",
            ),
            (
                "annotations: {eventcast.dev/x: z}",
                "annotations.eventcast.dev/x: the operator itself sets it",
            ),
            ("podMonitor: {labels: {release: a-}}", "podMonitor.labels.release: "),
            ("inheritLabels: ['']", "inheritLabels: a pattern is empty"),
            ("podMonitor: {interval: soon}", "podMonitor.interval: soon is no duration"),
            ("podMonitor: {scrapeTimeout: '5'}", "podMonitor.scrapeTimeout: 5 is no duration"),
            ("limits: {connections: 1}", "limits.connections: "),
            ("limits: {connections: -1}", "limits.connections: invalid value"),
            ("log: {level: ''}", "log.level: it is empty"),
            ("log: {level: inof}", "log.level: inof is not a level"),
            ("[]", "the file must have settings"),
            ("a: [", ""),
        ] {
            let problems = BrokerDefaults::parse(text).expect_err(text);
            assert!(problems.iter().any(|p| p.contains(expected)), "{text}: {problems:?}");
        }
        let both = BrokerDefaults::parse("{a: 1, labels: {b: 'c d'}}").unwrap_err();
        assert_eq!(both.len(), 2, "all problems at once: {both:?}");
    }
}

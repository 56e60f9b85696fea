//! The PodMonitor of the Prometheus operator. Not a ServiceMonitor: that would need the admin port on the Service.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{dynamic_object, metadata_with, pod_selector};
use crate::{
    broker_defaults::PodMonitorDefaults, kind::Kind, settings::Settings, workload::Workload,
};

/// `None` if the operator creates no PodMonitors.
pub(super) fn build(workload: &Workload, settings: &Settings) -> Option<Value> {
    settings.pod_monitors.then(|| {
        let defaults = &settings.brokers.pod_monitor;
        let spec = json!({
            "selector": pod_selector(workload),
            "podMetricsEndpoints": [endpoint(defaults)],
        });
        let metadata = metadata_with(workload, &defaults.labels, &BTreeMap::new());
        dynamic_object(Kind::PodMonitor, &metadata, &spec)
    })
}

fn endpoint(defaults: &PodMonitorDefaults) -> Map<String, Value> {
    let PodMonitorDefaults {
        labels: _,
        interval,
        scrape_timeout,
        relabelings,
        metric_relabelings,
        endpoint_additional_properties,
    } = defaults;
    let mut endpoint = endpoint_additional_properties.clone();
    endpoint.extend([
        ("port".to_owned(), json!("admin")),
        ("path".to_owned(), json!("/metrics")),
        ("interval".to_owned(), json!(interval)),
    ]);
    endpoint.extend(scrape_timeout.iter().map(|t| ("scrapeTimeout".to_owned(), json!(t))));
    let rules = [("relabelings", relabelings), ("metricRelabelings", metric_relabelings)];
    let rules = rules.into_iter().filter(|(_, rules)| !rules.is_empty());
    endpoint.extend(rules.map(|(name, rules)| (name.to_owned(), json!(rules))));
    endpoint
}

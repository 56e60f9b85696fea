//! The PodMonitor of the Prometheus operator. Not a ServiceMonitor: that would need the admin port on the Service.

use serde_json::{Value, json};

use super::{dynamic_object, pod_selector};
use crate::{channel::Channel, kind::Kind, settings::Settings};

/// `None` if the operator creates no PodMonitors.
pub(super) fn build(channel: &Channel, settings: &Settings) -> Option<Value> {
    settings.pod_monitors.then(|| {
        let spec = json!({
            "selector": pod_selector(channel),
            "podMetricsEndpoints": [{"port": "admin", "path": "/metrics", "interval": "15s"}],
        });
        dynamic_object(Kind::PodMonitor, channel, &spec)
    })
}

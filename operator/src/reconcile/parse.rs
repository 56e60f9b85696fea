//! Parses a stored object into an EventChannel. Pure.
//!
//! CRD and operator may have different versions: unknown fields are reported and ignored, and an object that cannot be parsed does
//! not affect other channels.

use eventcast_crds::{
    channel::{EventChannel, EventChannelSpec, status::EventChannelStatus},
    config::load::typed,
};
use kube::core::DynamicObject;
use serde_json::Value;

/// The result of parsing an object.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// The spec is an EventChannelSpec, apart from unknown fields.
    Channel {
        channel: Box<EventChannel>,
        /// Paths of the fields that this operator does not know.
        unknown: Vec<String>,
    },
    /// The spec cannot be parsed: the path of the field and the error.
    Unreadable(String),
}

pub(crate) fn parse(raw: &DynamicObject) -> Parsed {
    let spec = raw.data.get("spec").unwrap_or(&Value::Null);
    let spec =
        if spec.is_null() { Ok((EventChannelSpec::default(), Vec::new())) } else { typed(spec) };
    match spec {
        Ok((spec, unknown)) => {
            let unknown = unknown.iter().map(|path| format!("spec.{path}")).collect();
            let mut channel = EventChannel::new("", spec);
            channel.metadata = raw.metadata.clone();
            channel.status = Some(old_status(raw));
            Parsed::Channel { channel: Box::new(channel), unknown }
        }
        Err(error) => Parsed::Unreadable(format!("spec.{error}")),
    }
}

/// The stored status. A status that cannot be parsed counts as empty.
pub(crate) fn old_status(raw: &DynamicObject) -> EventChannelStatus {
    let status = raw.data.get("status").cloned().unwrap_or_default();
    serde_json::from_value(status).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(spec: &Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "eventcast.dev/v1alpha1", "kind": "EventChannel",
            "metadata": {"name": "a", "namespace": "b"}, "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn unknown_fields_are_reported_and_ignored() {
        let raw = object(
            &json!({"delivery": {"heartbeatSeconds": 9, "colour": "red"}, "future": {"x": 1},
            "brokers": {"autoscaling": {"minReplicas": 1, "maxReplicas": 2, "cpuPercent": 50, "mood": 1}}}),
        );
        let Parsed::Channel { channel, mut unknown } = parse(&raw) else { panic!("unreadable") };
        assert_eq!(channel.spec.delivery.heartbeat_seconds, 9);
        assert_eq!(channel.metadata.name.as_deref(), Some("a"));
        unknown.sort();
        assert_eq!(
            unknown,
            ["spec.brokers.autoscaling.mood", "spec.delivery.colour", "spec.future"]
        );
    }

    #[test]
    fn an_invalid_value_is_reported_with_its_path() {
        let Parsed::Unreadable(cause) =
            parse(&object(&json!({"delivery": {"heartbeatSeconds": "soon"}})))
        else {
            panic!("readable")
        };
        assert!(cause.starts_with("spec.delivery.heartbeatSeconds: "), "{cause}");
    }

    #[test]
    fn a_missing_spec_has_all_defaults() {
        assert!(
            matches!(parse(&object(&Value::Null)), Parsed::Channel { unknown, .. } if unknown.is_empty())
        );
    }
}

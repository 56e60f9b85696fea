//! The object as it is stored -> an EventChannel. Pure.
//!
//! CRD and operator may be of different versions: a field that this operator does not know is named, and an object that it cannot
//! read harms no other.

use eventcast_crds::{
    channel::{EventChannel, EventChannelSpec, status::EventChannelStatus},
    config::load::written,
};
use kube::core::DynamicObject;
use serde_json::Value;

/// What an object is to this operator.
#[derive(Debug)]
pub(super) enum Parsed {
    /// A channel.
    Channel {
        channel: Box<EventChannel>,
        /// Paths of fields of the spec that mean nothing to this version.
        unknown: Vec<String>,
    },
    /// Something else, and why.
    Unreadable(String),
}

pub(super) fn parse(raw: &DynamicObject) -> Parsed {
    let mut unknown = Vec::new();
    let spec = raw.data.get("spec").unwrap_or(&Value::Null);
    let spec = if spec.is_null() {
        Ok(EventChannelSpec::default())
    } else {
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(spec, &mut track);
        serde_ignored::deserialize(tracked, |path| unknown.push(format!("spec.{}", written(&path))))
            .map_err(|error: serde_json::Error| format!("spec.{}: {error}", track.path()))
    };
    match spec {
        Ok(spec) => {
            let mut channel = EventChannel::new("", spec);
            channel.metadata = raw.metadata.clone();
            channel.status = Some(old_status(raw));
            Parsed::Channel { channel: Box::new(channel), unknown }
        }
        Err(error) => Parsed::Unreadable(error),
    }
}

/// The status as it stands; what cannot be read of it counts as nothing.
pub(super) fn old_status(raw: &DynamicObject) -> EventChannelStatus {
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
    fn unknown_fields_are_named_and_do_no_harm() {
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
    fn what_cannot_be_read_says_where() {
        let Parsed::Unreadable(why) =
            parse(&object(&json!({"delivery": {"heartbeatSeconds": "soon"}})))
        else {
            panic!("readable")
        };
        assert!(why.starts_with("spec.delivery.heartbeatSeconds: "), "{why}");
    }

    #[test]
    fn no_spec_is_all_defaults() {
        assert!(
            matches!(parse(&object(&Value::Null)), Parsed::Channel { unknown, .. } if unknown.is_empty())
        );
    }
}

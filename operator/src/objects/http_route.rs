//! The HTTPRoute (Gateway API) for the path of the channel.

use eventcast_crds::channel::exposure::RouteTimeouts;
use serde_json::{Value, json};

use super::{dynamic_object, metadata_with};
use crate::{channel::Channel, kind::Kind};

/// Disables a timeout (GEP-1742). The default of a Gateway would end every stream.
const NO_TIMEOUT: &str = "0s";

/// `None` if the channel has no `exposure.gateway`.
pub(super) fn build(channel: &Channel) -> Option<Value> {
    let gateway = channel.spec.exposure.gateway.as_ref()?;
    let mut spec = json!({
        "parentRefs": gateway.parent_refs,
        "rules": [{
            "matches": [{"path": {"type": "PathPrefix", "value": channel.path()}}],
            "backendRefs": [{"name": channel.object_name(), "port": 80}],
        }],
    });
    if gateway.timeouts == RouteTimeouts::Disabled {
        let none = json!({"request": NO_TIMEOUT, "backendRequest": NO_TIMEOUT});
        spec["rules"][0]["timeouts"] = none;
    }
    if !gateway.hostnames.is_empty() {
        spec["hostnames"] = json!(gateway.hostnames);
    }
    let metadata = metadata_with(channel, &gateway.labels, &gateway.annotations);
    Some(dynamic_object(Kind::HttpRoute, &metadata, &spec))
}

//! The HTTPRoute (Gateway API) for the path of the channel.

use eventcast_crds::channel::exposure::RouteTimeouts;
use serde_json::{Value, json};

use super::{dynamic_object, metadata_with};
use crate::{kind::Kind, workload::Workload};

/// Disables a timeout (GEP-1742). The default of a Gateway would end every stream.
const NO_TIMEOUT: &str = "0s";

/// `None` if the channel has no `exposure.gateway`.
pub(super) fn build(workload: &Workload) -> Option<Value> {
    let gateway = workload.exposure.gateway.as_ref()?;
    let mut spec = json!({
        "parentRefs": gateway.parent_refs,
        "rules": [{
            "matches": [{"path": {"type": "PathPrefix", "value": workload.path}}],
            "backendRefs": [{"name": workload.object_name(), "port": 80}],
        }],
    });
    if gateway.timeouts == RouteTimeouts::Disabled {
        let none = json!({"request": NO_TIMEOUT, "backendRequest": NO_TIMEOUT});
        spec["rules"][0]["timeouts"] = none;
    }
    if !gateway.hostnames.is_empty() {
        spec["hostnames"] = json!(gateway.hostnames);
    }
    let metadata = metadata_with(workload, &gateway.labels, &gateway.annotations);
    Some(dynamic_object(Kind::HttpRoute, &metadata, &spec))
}

//! What a pod says of itself. Pure.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// Name of the container of a broker.
const CONTAINER: &str = "broker";

/// The name of a pod that the API server has.
pub(crate) fn pod_name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// What tells a pod from all others.
pub(crate) fn pod_key(pod: &Pod) -> String {
    format!("{}/{}", pod.metadata.namespace.as_deref().unwrap_or_default(), pod_name(pod))
}

/// Whether a pod is ready, and stays.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_ready =
        conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
    is_ready && pod.metadata.deletion_timestamp.is_none()
}

/// Whether the containers of a pod run, ready or not.
pub(crate) fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Running")
}

/// The name of the container that the pod is there for: that of a broker, or else the first.
pub(crate) fn first_container(pod: &Pod) -> Option<String> {
    let containers = &pod.spec.as_ref()?.containers;
    let broker = containers.iter().find(|container| container.name == CONTAINER);
    broker.or(containers.first()).map(|container| container.name.clone())
}

/// Whether a container of a pod ran before.
pub(crate) fn was_restarted(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().any(|container| container.restart_count > 0)
}

/// The port of a broker with this name: `http`, `https` or `admin`.
pub(crate) fn broker_port(pod: &Pod, name: &str) -> Option<u16> {
    let containers = &pod.spec.as_ref()?.containers;
    let broker = containers.iter().find(|container| container.name == CONTAINER);
    let mut ports = broker.or(containers.first())?.ports.iter().flatten();
    let port = ports.find(|port| port.name.as_deref() == Some(name))?;
    u16::try_from(port.container_port).ok()
}

/// Why a pod is not ready: what its container waits for or ended with, or else its phase. Empty if it is ready.
pub(crate) fn trouble(pod: &Pod) -> String {
    if is_ready(pod) {
        return String::new();
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return "Terminating".into();
    }
    let Some(status) = &pod.status else { return "Unknown".into() };
    let containers = status.container_statuses.iter().flatten();
    let waits = containers.filter(|container| container.name == CONTAINER).find_map(reason);
    let phase = || status.phase.clone().unwrap_or_else(|| "Unknown".into());
    waits.unwrap_or_else(|| match phase().as_str() {
        "Running" => "NotReady".into(),
        other => other.to_owned(),
    })
}

fn reason(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?;
    let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
    let ended = || state.terminated.as_ref().and_then(|ended| ended.reason.clone());
    waiting.or_else(ended)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> Pod {
        let ports = json!([{"name": "http", "containerPort": 8080}, {"name": "admin", "containerPort": 9090}]);
        let containers = json!([{"name": "sidecar"}, {"name": "broker", "ports": ports}]);
        serde_json::from_value(json!({"spec": {"containers": containers}, "status": status}))
            .unwrap()
    }

    #[test]
    fn ports_are_those_of_the_broker() {
        let pod = pod(&json!({}));
        assert_eq!(broker_port(&pod, "admin"), Some(9090));
        assert_eq!(broker_port(&pod, "https"), None);
    }

    #[test]
    fn a_pod_says_what_is_wrong() {
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let waits = json!([{"name": "broker", "state": {"waiting": {"reason": "ImagePullBackOff"}},
            "image": "", "imageID": "", "ready": false, "restartCount": 0}]);
        for (status, wanted) in [
            (json!({"phase": "Running", "conditions": ready}), ""),
            (json!({"phase": "Running"}), "NotReady"),
            (json!({"phase": "Pending"}), "Pending"),
            (json!({"phase": "Pending", "containerStatuses": waits}), "ImagePullBackOff"),
        ] {
            assert_eq!(trouble(&pod(&status)), wanted);
        }
    }
}

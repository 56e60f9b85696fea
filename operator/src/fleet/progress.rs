//! How far the rollout of a Deployment is, from its status and its pods. Pure.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::core::DynamicObject;
use serde_json::Value;

use crate::{
    observe,
    rollouts::{Failure, Progress},
};

/// The progress of `deployment`. `pods` is called only while it is not complete.
pub(super) fn of(
    deployment: &DynamicObject,
    now: Timestamp,
    pods: impl FnOnce() -> Vec<Arc<Pod>>,
) -> Progress {
    let status = &deployment.data["status"];
    let number = |value: &Value| i32::try_from(value.as_i64().unwrap_or(0)).unwrap_or(i32::MAX);
    // The status is that of an older spec until the controller has seen the new one.
    let is_observed = status["observedGeneration"].as_i64() >= deployment.metadata.generation;
    let updated = if is_observed { number(&status["updatedReplicas"]) } else { 0 };
    let desired = number(&deployment.data["spec"]["replicas"]);
    let available = number(&status["availableReplicas"]);
    let replicas = number(&status["replicas"]);
    let is_complete =
        is_observed && updated >= desired && available >= desired && replicas <= updated;
    Progress {
        desired,
        updated: if replicas > updated { updated.min(desired - 1) } else { updated },
        available,
        failure: if is_complete { None } else { failure(status, &pods()) },
        done_for: is_complete.then(|| done_for(status, now)),
    }
}

fn failure(status: &Value, pods: &[Arc<Pod>]) -> Option<Failure> {
    let exceeded = condition(status, "Progressing")
        .is_some_and(|c| c["status"] == "False" && c["reason"] == "ProgressDeadlineExceeded");
    let of_pods = pods.iter().find_map(|pod| observe::start_failure(pod));
    of_pods.or(exceeded.then_some(Failure::DeadlineExceeded))
}

/// For how long all brokers have been updated and available.
fn done_for(status: &Value, now: Timestamp) -> Duration {
    let progressing = condition(status, "Progressing").map(|c| &c["lastUpdateTime"]);
    let available = condition(status, "Available").map(|c| &c["lastTransitionTime"]);
    let times = [progressing, available].into_iter().flatten();
    let times = times.filter_map(|time| time.as_str()?.parse::<Timestamp>().ok());
    let since = times.max().unwrap_or(now);
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

fn condition<'a>(status: &'a Value, type_: &str) -> Option<&'a Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(status: &Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "generation": 2},
            "spec": {"replicas": 3}, "status": status,
        }))
        .unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_rollout_is_done_when_no_old_broker_is_left() {
        let status = |observed: i64, replicas: i32, updated: i32, available: i32| {
            json!({
                "observedGeneration": observed, "replicas": replicas, "updatedReplicas": updated, "availableReplicas": available,
                "conditions": [
                    {"type": "Progressing", "status": "True", "lastUpdateTime": "1970-01-01T00:01:40Z"},
                    {"type": "Available", "status": "True", "lastTransitionTime": "1970-01-01T00:00:50Z"}],
            })
        };
        let done = |status: &Value| {
            let progress = of(&deployment(status), at(130), Vec::new);
            (progress.updated, progress.done_for.map(|done| done.as_secs()))
        };
        assert_eq!(done(&status(2, 3, 3, 3)), (3, Some(30)));
        assert_eq!(done(&status(1, 3, 3, 3)), (0, None), "the controller has not seen it");
        assert_eq!(done(&status(2, 6, 3, 6)), (2, None), "old brokers drain");
        assert_eq!(done(&status(2, 3, 3, 2)), (3, None));
        assert_eq!(done(&json!({})), (0, None));
    }

    #[test]
    fn what_keeps_brokers_from_starting_is_named() {
        let exceeded = json!({"conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]});
        let waiting = |reason: &str| {
            let pod = json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [{
                "name": "broker", "image": "i", "imageID": "", "ready": false, "restartCount": 3,
                "state": {"waiting": {"reason": reason}}}]}});
            vec![Arc::new(serde_json::from_value::<Pod>(pod).unwrap())]
        };
        let failure =
            |status: &Value, pods: Vec<Arc<Pod>>| of(&deployment(status), at(0), || pods).failure;
        assert_eq!(failure(&json!({}), Vec::new()), None);
        assert_eq!(failure(&exceeded, Vec::new()), Some(Failure::DeadlineExceeded));
        assert_eq!(failure(&exceeded, waiting("ImagePullBackOff")), Some(Failure::ImagePull));
        assert_eq!(failure(&json!({}), waiting("CrashLoopBackOff")), Some(Failure::CrashLoop));
        assert_eq!(failure(&json!({}), waiting("ContainerCreating")), None);
    }
}

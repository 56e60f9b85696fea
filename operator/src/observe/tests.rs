use serde_json::json;

use super::*;
use crate::{channel::fixture::channel, settings::OptionalApis};

fn deployment(replicas: i32, ready: i32, updated: i32) -> Deployment {
    Deployment {
        spec: Some(DeploymentSpec { replicas: Some(replicas), ..DeploymentSpec::default() }),
        status: Some(DeploymentStatus {
            replicas: Some(replicas),
            ready_replicas: Some(ready),
            updated_replicas: Some(updated),
            ..DeploymentStatus::default()
        }),
        ..Deployment::default()
    }
}

fn pod(status: &Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
}

fn observed(deployment: &Deployment, pods: &[Pod]) -> (Option<bool>, &'static str, String) {
    observed_with(deployment, pods, CutOff::default())
}

fn observed_with(
    deployment: &Deployment,
    pods: &[Pod],
    cut_off: CutOff,
) -> (Option<bool>, &'static str, String) {
    let (channel, settings) = channel("spec: {}");
    let (_, available) =
        brokers(&channel.workload, &settings, Some(deployment), pods.iter(), cut_off);
    (available.status, available.reason, available.message)
}

#[test]
fn one_ready_broker_makes_a_channel_available() {
    for (replicas, ready, updated, status, reason) in [
        (2, 0, 2, false, reasons::WAITING),
        (2, 1, 2, true, reasons::SOME_BROKERS_READY),
        (2, 2, 1, true, reasons::SOME_BROKERS_READY),
        (2, 2, 2, true, reasons::BROKERS_READY),
        (0, 0, 0, false, reasons::SCALED_TO_ZERO),
    ] {
        let (found, found_reason, _) = observed(&deployment(replicas, ready, updated), &[]);
        assert_eq!((found, found_reason), (Some(status), reason), "{replicas} {ready} {updated}");
    }
}

#[test]
fn brokers_that_are_cut_off_are_reported_with_a_likely_cause() {
    let of = |from_operator, from_log| CutOff { from_operator, from_log };
    for (ready, cut_off, status, reason, words) in [
        (0, of(0, 2), false, reasons::LOG_UNAVAILABLE, "0 of 2 brokers are ready: 2 cannot read"),
        (1, of(0, 1), true, reasons::LOG_UNAVAILABLE, "nats://nats.eventcast:4222"),
        (2, of(1, 0), true, reasons::BROKERS_SILENT, "2 of 2 brokers are ready, but 1 do not"),
        (0, of(2, 0), false, reasons::BROKERS_SILENT, "the admin port"),
    ] {
        let found = observed_with(&deployment(2, ready, 2), &[], cut_off);
        assert_eq!((found.0, found.1), (Some(status), reason));
        assert!(found.2.contains(words), "{}", found.2);
        assert!(found.2.contains("NetworkPolicy"), "{}", found.2);
    }
}

#[test]
fn the_problem_of_a_pod_is_reported() {
    let waiting = |reason: &str| {
        pod(
            &json!({"containerStatuses": [{"name": "broker", "image": "nowhere/broker:9", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"waiting": {"reason": reason, "message": "not found"}}}]}),
        )
    };
    let unscheduled = pod(&json!({"conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]}));
    for (pod, reason, words) in [
        (waiting("ImagePullBackOff"), reasons::IMAGE_UNAVAILABLE, "nowhere/broker:9"),
        (waiting("CrashLoopBackOff"), reasons::CRASHING, "kubectl logs p --previous"),
        (unscheduled, reasons::UNSCHEDULABLE, "0/3 nodes"),
        (waiting("ContainerCreating"), reasons::WAITING, "0 of 1"),
    ] {
        let (status, found, message) = observed(&deployment(1, 0, 1), &[pod]);
        assert_eq!((status, found), (Some(false), reason));
        assert!(message.contains(words), "{message}");
    }
    let (status, reason, _) = observed(&deployment(2, 2, 1), &[waiting("ErrImagePull")]);
    assert_eq!(
        (status, reason),
        (Some(true), reasons::IMAGE_UNAVAILABLE),
        "a stuck rollout while the old brokers serve"
    );
}

#[test]
fn a_gateway_must_exist_and_accept_the_route() {
    let (channel, _) =
        channel("spec: {exposure: {gateway: {parentRefs: [{name: web}], hostnames: [a.example]}}}");
    assert_eq!(
        exposed(&channel.workload, OptionalApis::default(), None).reason,
        reasons::NO_GATEWAY_API
    );
    let apis = OptionalApis { http_routes: true, ..OptionalApis::default() };
    assert_eq!(exposed(&channel.workload, apis, None).status, Some(true));
    let rejected = DynamicObject::new("r", &crate::kind::Kind::HttpRoute.resource()).data(json!({"status": {"parents": [
        {"parentRef": {"name": "web"}, "conditions": [
            {"type": "Accepted", "status": "False", "reason": "NoMatchingParent", "message": "no listener"}]}]}}));
    let exposed = exposed(&channel.workload, apis, Some(&rejected));
    assert_eq!((exposed.status, exposed.reason), (Some(false), reasons::ROUTE_NOT_ACCEPTED));
    assert!(exposed.message.contains("web") && exposed.message.contains("no listener"));
}

#[test]
fn a_wildcard_host_is_explained() {
    let (channel, _) = channel("spec: {exposure: {ingress: {host: '*.a.example'}}}");
    let exposed = exposed(&channel.workload, OptionalApis::default(), None);
    assert_eq!(exposed.status, Some(true));
    let words =
        "any host name that matches *.a.example, with the path /channels/shop/orders/events";
    assert!(exposed.message.contains(words), "{}", exposed.message);
}

#[test]
fn a_quota_on_processor_limits_is_explained() {
    let failed = |message: &str| {
        let mut deployment = deployment(1, 0, 0);
        let condition = json!({"type": "ReplicaFailure", "status": "True", "message": message});
        let status = deployment.status.as_mut().unwrap();
        status.conditions = Some(vec![serde_json::from_value(condition).unwrap()]);
        observed(&deployment, &[]).2
    };
    let quota =
        failed("pods \"a\" is forbidden: failed quota: q: must specify limits.cpu for: broker");
    assert!(
        quota.ends_with("set brokers.resources.limits.cpu, or give the namespace a LimitRange")
    );
    assert!(failed("exceeded quota: q").ends_with("exceeded quota: q"));
}

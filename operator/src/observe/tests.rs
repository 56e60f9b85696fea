use kube::core::ApiResource;
use serde_json::json;

use super::*;
use crate::{build::tests::channel, settings::Apis};

fn deployment(replicas: i64, ready: i64, updated: i64) -> DynamicObject {
    let resource: ApiResource = crate::kind::Kind::Deployment.resource();
    DynamicObject::new("orders-broker", &resource).data(json!({
        "spec": {"replicas": replicas},
        "status": {"replicas": replicas, "readyReplicas": ready, "updatedReplicas": updated},
    }))
}

fn pod(status: &Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
}

fn seen(deployment: &DynamicObject, pods: &[Pod]) -> (Option<bool>, &'static str, String) {
    let (channel, settings) = channel("spec: {}");
    let (_, v) = brokers(&channel, &settings, Some(deployment), pods.iter());
    (v.holds, v.reason, v.message)
}

#[test]
fn one_ready_broker_serves_and_all_are_better() {
    for (replicas, ready, updated, holds, reason) in [
        (2, 0, 2, false, reasons::WAITING),
        (2, 1, 2, true, reasons::SOME_BROKERS_READY),
        (2, 2, 1, true, reasons::SOME_BROKERS_READY),
        (2, 2, 2, true, reasons::BROKERS_READY),
        (0, 0, 0, false, reasons::SCALED_TO_ZERO),
    ] {
        let (found, why, _) = seen(&deployment(replicas, ready, updated), &[]);
        assert_eq!((found, why), (Some(holds), reason), "{replicas} {ready} {updated}");
    }
}

#[test]
fn a_pod_that_cannot_start_says_why() {
    let waiting = |reason: &str| {
        pod(
            &json!({"containerStatuses": [{"name": "broker", "image": "nowhere/broker:9", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"waiting": {"reason": reason, "message": "not found"}}}]}),
        )
    };
    let unplaced = pod(&json!({"conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]}));
    for (pod, reason, words) in [
        (waiting("ImagePullBackOff"), reasons::IMAGE_UNAVAILABLE, "nowhere/broker:9"),
        (waiting("CrashLoopBackOff"), reasons::CRASHING, "kubectl logs p --previous"),
        (unplaced, reasons::UNSCHEDULABLE, "0/3 nodes"),
        (waiting("ContainerCreating"), reasons::WAITING, "0 of 1"),
    ] {
        let (holds, why, message) = seen(&deployment(1, 0, 1), &[pod]);
        assert_eq!((holds, why), (Some(false), reason));
        assert!(message.contains(words), "{message}");
    }
    let (holds, why, _) = seen(&deployment(2, 2, 1), &[waiting("ErrImagePull")]);
    assert_eq!(
        (holds, why),
        (Some(true), reasons::IMAGE_UNAVAILABLE),
        "a roll that is stuck, while all is served"
    );
}

#[test]
fn a_gateway_must_exist_and_take_the_route() {
    let (channel, _) =
        channel("spec: {exposure: {gateway: {parentRefs: [{name: web}], hostnames: [a.example]}}}");
    assert_eq!(exposed(&channel, Apis::default(), None).reason, reasons::NO_GATEWAY_API);
    let apis = Apis { routes: true, ..Apis::default() };
    assert_eq!(exposed(&channel, apis, None).holds, Some(true));
    let refused = DynamicObject::new("r", &crate::kind::Kind::Route.resource()).data(json!({"status": {"parents": [
        {"parentRef": {"name": "web"}, "conditions": [
            {"type": "Accepted", "status": "False", "reason": "NoMatchingParent", "message": "no listener"}]}]}}));
    let verdict = exposed(&channel, apis, Some(&refused));
    assert_eq!((verdict.holds, verdict.reason), (Some(false), reasons::ROUTE_NOT_ACCEPTED));
    assert!(verdict.message.contains("web") && verdict.message.contains("no listener"));
}

#[test]
fn a_host_that_stands_for_many_is_told_in_words() {
    let (channel, _) = channel("spec: {exposure: {ingress: {host: '*.a.example'}}}");
    let verdict = exposed(&channel, Apis::default(), None);
    assert_eq!(verdict.holds, Some(true));
    let words = "any host name of *.a.example, with the path /channels/shop/orders/events";
    assert!(verdict.message.contains(words), "{}", verdict.message);
}

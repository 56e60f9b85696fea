use super::*;
use crate::{channel::fixture::channel, objects};

fn live(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

fn desired(kind: Kind) -> Value {
    let (channel, settings) = channel("spec: {}");
    let credentials = crate::settings::Credentials::default();
    let inputs = objects::Inputs::own(&settings, &credentials);
    objects::build(kind, &channel.workload, inputs).unwrap()
}

/// Applies a merge patch, as the API server does.
fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    for (key, patch) in patch {
        if patch.is_null() {
            value.as_object_mut().unwrap().remove(key);
        } else {
            if !value[key].is_object() {
                value[key] = if patch.is_object() { json!({}) } else { Value::Null };
            }
            merge(&mut value[key], patch);
        }
    }
}

#[test]
fn fields_of_other_managers_are_no_drift() {
    for kind in [Kind::Deployment, Kind::Service, Kind::ConfigMap] {
        let desired = desired(kind);
        let before = fingerprint(kind, &desired, &live(desired.clone()));
        let mut now = desired.clone();
        now["metadata"]["resourceVersion"] = json!("7");
        now["metadata"]["labels"]["theirs"] = json!("x");
        now["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("2");
        now["status"] = json!({"readyReplicas": 1});
        if kind == Kind::Deployment {
            now["spec"]["replicas"] = json!(9);
            now["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] =
                json!("now");
        }
        if kind == Kind::Service {
            now["spec"]["clusterIP"] = json!("10.0.0.1");
            now["spec"]["ports"][0]["nodePort"] = json!(30_000);
        }
        assert_eq!(fingerprint(kind, &desired, &live(now.clone())), before, "{now:#}");
        assert_eq!(prune(kind, &desired, &live(now)), None, "{kind:?}");
    }
}

#[test]
fn every_change_of_a_declared_field_is_drift() {
    let changes: [(Kind, &str, Value); 14] = [
        (Kind::Deployment, "/metadata/labels/app.kubernetes.io~1name", json!("x")),
        (Kind::Deployment, "/metadata/ownerReferences", json!([])),
        (Kind::Deployment, "/metadata/ownerReferences/0/controller", json!(false)),
        (Kind::Deployment, "/spec/template/spec/containers/0/image", json!("evil")),
        (Kind::Deployment, "/spec/template/spec/containers/0/env", json!([{"name": "A"}])),
        (Kind::Deployment, "/spec/template/spec/containers/0/command", json!(["sleep"])),
        (Kind::Deployment, "/spec/template/spec/containers/1", json!({"name": "theirs"})),
        (Kind::Deployment, "/spec/template/spec/initContainers", json!([{"name": "theirs"}])),
        (Kind::Deployment, "/spec/template/spec/volumes/1", json!({"name": "theirs"})),
        (Kind::Deployment, "/spec/template/metadata/annotations", json!({})),
        (Kind::Service, "/spec/ports/0/port", json!(8081)),
        (Kind::Service, "/spec/ports/1", json!({"name": "theirs", "port": 81})),
        (Kind::ConfigMap, "/data/broker.yaml", json!("x: y")),
        (Kind::ConfigMap, "/metadata/labels", json!({})),
    ];
    for (kind, path, value) in changes {
        let desired = desired(kind);
        let before = fingerprint(kind, &desired, &live(desired.clone()));
        let mut now = desired.clone();
        let (parent, last) = path.rsplit_once('/').unwrap();
        let last = last.replace("~1", "/");
        match now.pointer_mut(parent).unwrap() {
            Value::Array(items) if last.parse() == Ok(items.len()) => items.push(value),
            Value::Array(items) => items[last.parse::<usize>().unwrap()] = value,
            object => object[last] = value,
        }
        assert_ne!(fingerprint(kind, &desired, &live(now)), before, "{kind:?} {path}");
    }
}

#[test]
fn a_prune_removes_additions_to_owned_lists_and_nothing_else() {
    let desired = desired(Kind::Deployment);
    let mut now = desired.clone();
    now["metadata"]["resourceVersion"] = json!("7");
    now["spec"]["replicas"] = json!(4);
    now["spec"]["template"]["spec"]["dnsPolicy"] = json!("Default");
    let broker = &mut now["spec"]["template"]["spec"]["containers"];
    broker[0]["env"].as_array_mut().unwrap().push(json!({"name": "A"}));
    broker[0]["terminationMessagePath"] = json!("/dev/log");
    broker.as_array_mut().unwrap().push(json!({"name": "theirs", "image": "x"}));
    let patch = prune(Kind::Deployment, &desired, &live(now.clone())).unwrap();
    assert_eq!(patch["metadata"], json!({"resourceVersion": "7"}));
    let mut expected = now.clone();
    merge(&mut now, &patch);
    let containers = &mut expected["spec"]["template"]["spec"]["containers"];
    containers.as_array_mut().unwrap().pop();
    containers[0]["env"].as_array_mut().unwrap().pop();
    assert_eq!(now, expected);
}

#[test]
fn a_reset_of_a_service_keeps_its_addresses() {
    let desired = desired(Kind::Service);
    let mut now = desired.clone();
    now["spec"]["clusterIP"] = json!("10.0.0.1");
    now["spec"]["ports"] = json!([
        {"name": "http", "port": 8081, "nodePort": 30_000, "targetPort": "http", "protocol": "TCP"},
        {"name": "theirs", "port": 81},
    ]);
    let patch = reset(Kind::Service, &desired, &live(now.clone())).unwrap();
    merge(&mut now, &patch);
    assert_eq!(now["spec"]["clusterIP"], "10.0.0.1");
    let mut ports = desired["spec"]["ports"].clone();
    ports[0]["nodePort"] = json!(30_000);
    assert_eq!(now["spec"]["ports"], ports);
}

#[test]
fn a_reset_removes_the_second_variant_of_a_union() {
    let desired = desired(Kind::Deployment);
    let mut now = desired.clone();
    now["metadata"]["annotations"] = json!({"theirs": "stays"});
    now["spec"]["replicas"] = json!(4);
    let template = &mut now["spec"]["template"];
    template["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = json!("now");
    template["spec"]["volumes"][0] = json!({"name": "config", "emptyDir": {}});
    let probe = &mut template["spec"]["containers"][0]["readinessProbe"];
    *probe = json!({"tcpSocket": {"port": 1}});
    let patch = reset(Kind::Deployment, &desired, &live(now.clone())).unwrap();
    merge(&mut now, &patch);
    assert_eq!(now["metadata"]["annotations"]["theirs"], "stays");
    assert_eq!(now["spec"]["replicas"], 4);
    let template = &now["spec"]["template"];
    assert!(template["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"].is_string());
    assert_eq!(template["spec"], desired["spec"]["template"]["spec"]);
}

#[test]
fn the_second_ip_family_that_the_api_server_adds_stays() {
    let rest = "spec: {exposure: {service: {ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv6]}}}";
    let (channel, settings) = channel(rest);
    let credentials = crate::settings::Credentials::default();
    let inputs = objects::Inputs::own(&settings, &credentials);
    let desired = objects::build(Kind::Service, &channel.workload, inputs).unwrap();
    let mut now = desired.clone();
    now["metadata"]["resourceVersion"] = json!("7");
    now["spec"]["ipFamilies"] = json!(["IPv6", "IPv4"]);
    assert_eq!(prune(Kind::Service, &desired, &live(now.clone())), None);
    now["spec"]["ipFamilies"] = json!(["IPv4", "IPv6"]);
    assert!(prune(Kind::Service, &desired, &live(now)).is_some(), "the main one is ours");
}

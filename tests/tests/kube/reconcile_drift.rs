//! Drift: the operator restores fields of its objects that others changed, however they wrote them: an edit, another manager of
//! server-side apply, or an update of the whole object. Fields that the operator does not declare stay as they are.

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    eventually, init_tracing,
    kube::{ApiServer, temp_namespace},
    namespace::{TestNamespace, WAIT_TIMEOUT, apply, holds, install_crd},
    nats::NatsServer,
    operator::{Operator, Options},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{ConfigMap, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
    core::{DynamicObject, NamespaceResourceScope},
    discovery::ApiResource,
};
use serde_json::{Value, json};

/// Every kind of object in one channel.
fn everything() -> Value {
    json!({
        "brokers": {"autoscaling": {"by": "HorizontalPodAutoscaler", "minReplicas": 2, "maxReplicas": 4, "cpuPercent": 60}},
        "exposure": {
            "service": {"annotations": {"ours": "yes"}},
            "ingress": {"host": "events.example.com"},
        },
    })
}

pub(crate) struct Kind {
    pub(crate) api: Api<DynamicObject>,
    pub(crate) name: &'static str,
}

pub(crate) fn kind<K>(ns: &TestNamespace) -> Kind
where
    K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + k8s_openapi::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
{
    let resource = ApiResource::erase::<K>(&());
    let api = Api::namespaced_with(ns.client.clone(), &ns.name, &resource);
    Kind { api, name: <K as k8s_openapi::Resource>::KIND }
}

fn kinds(ns: &TestNamespace) -> Vec<Kind> {
    vec![
        kind::<ServiceAccount>(ns),
        kind::<ConfigMap>(ns),
        kind::<Service>(ns),
        kind::<NetworkPolicy>(ns),
        kind::<PodDisruptionBudget>(ns),
        kind::<HorizontalPodAutoscaler>(ns),
        kind::<Ingress>(ns),
        kind::<Deployment>(ns),
    ]
}

impl Kind {
    pub(crate) async fn get(&self) -> Result<Value> {
        let object = self.api.get("orders-broker").await?;
        Ok(serde_json::to_value(object)?)
    }

    /// Waits until the object is `before` again at every path of `paths`, and still the same object.
    pub(crate) async fn restored(&self, before: &Value, paths: &[&str]) -> Result<()> {
        let what = format!("the {} is as it was at {paths:?}", self.name);
        eventually(&what, WAIT_TIMEOUT, || async {
            let now = self.get().await?;
            for path in paths {
                ensure!(now.pointer(path) == before.pointer(path), "{path}: {now:#}");
            }
            ensure!(now["metadata"]["uid"] == before["metadata"]["uid"], "it was made anew");
            anyhow::Ok(())
        })
        .await
    }

    pub(crate) async fn merge(&self, patch: Value) -> Result<()> {
        let params =
            PatchParams { field_manager: Some("kubectl-edit".into()), ..Default::default() };
        self.api.patch("orders-broker", &params, &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Reads, changes and replaces the whole object, as an Update manager does.
    async fn update(&self, change: impl Fn(&mut Value)) -> Result<()> {
        eventually("the update is taken", WAIT_TIMEOUT, || async {
            let mut object = self.get().await?;
            change(&mut object);
            let object: DynamicObject = serde_json::from_value(object)?;
            let params = PostParams { field_manager: Some("a-tool".into()), ..Default::default() };
            self.api.replace("orders-broker", &params, &object).await?;
            anyhow::Ok(())
        })
        .await
    }

    /// Applies fields of the object by force, as a second manager.
    pub(crate) async fn apply(&self, mut fields: Value) -> Result<()> {
        let resource = self.get().await?;
        fields["apiVersion"] = resource["apiVersion"].clone();
        fields["kind"] = resource["kind"].clone();
        let params = PatchParams::apply("another-manager").force();
        self.api.patch("orders-broker", &params, &Patch::Apply(fields)).await?;
        Ok(())
    }
}

const POD: &str = "/spec/template/spec";

pub(crate) async fn ns() -> Result<TestNamespace> {
    let ns = TestNamespace::start().await?;
    ns.apply("orders", everything()).await?;
    ns.settled("orders").await?;
    Ok(ns)
}

#[tokio::test]
async fn labels_annotations_and_owners_are_restored_on_every_kind() -> Result<()> {
    init_tracing();
    let ns = ns().await?;
    for kind in kinds(&ns) {
        let before = kind.get().await?;
        let paths = ["/metadata/labels", "/metadata/ownerReferences"];
        let ours = "app.kubernetes.io/part-of";
        kind.merge(json!({"metadata": {"labels": {ours: "theirs"}}})).await?;
        kind.restored(&before, &paths).await?;
        // without the label by which the operator finds it
        kind.merge(json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}})).await?;
        kind.restored(&before, &paths).await?;
        kind.merge(json!({"metadata": {"ownerReferences": null}})).await?;
        kind.restored(&before, &paths).await?;
        kind.update(|object| object["metadata"]["ownerReferences"][0]["controller"] = json!(false))
            .await?;
        kind.restored(&before, &paths).await?;
    }
    for (kind, annotation) in [
        (kind::<Service>(&ns), "ours"),
        (kind::<Ingress>(&ns), "nginx.ingress.kubernetes.io/proxy-buffering"),
    ] {
        let before = kind.get().await?;
        for value in [json!("theirs"), Value::Null] {
            kind.merge(json!({"metadata": {"annotations": {annotation: value}}})).await?;
            kind.restored(&before, &["/metadata/annotations"]).await?;
        }
        kind.merge(
            json!({"metadata": {"annotations": {"theirs": "x"}, "labels": {"theirs": "x"}}}),
        )
        .await?;
        kind.merge(json!({"metadata": {"annotations": {annotation: null}}})).await?;
        let path = format!("/metadata/annotations/{}", annotation.replace('/', "~1"));
        kind.restored(&before, &[&path]).await?;
        assert_eq!(kind.get().await?["metadata"]["labels"]["theirs"], "x", "what others add stays");
    }
    Ok(())
}

#[tokio::test]
async fn a_service_gets_its_port_back_and_keeps_its_address() -> Result<()> {
    init_tracing();
    let ns = ns().await?;
    let service = kind::<Service>(&ns);
    let before = service.get().await?;
    let paths = ["/spec/ports", "/spec/clusterIP", "/spec/selector", "/spec/type"];
    service.update(|s| s["spec"]["ports"][0]["port"] = json!(8081)).await?;
    service.restored(&before, &paths).await?;
    service
        .merge(json!({"spec": {"ports": [{"name": "http", "port": 8081, "targetPort": 1}]}}))
        .await?;
    service.restored(&before, &paths).await?;
    service
        .apply(json!({"spec": {"ports": [{"name": "theirs", "port": 81, "protocol": "TCP"}]}}))
        .await?;
    service.restored(&before, &paths).await?;
    service.update(|s| s["spec"]["ports"][0]["protocol"] = json!("SCTP")).await?;
    service.restored(&before, &paths).await?;
    service.update(|s| s["spec"]["ports"][0]["name"] = json!("other")).await?;
    service.restored(&before, &paths).await?;
    service.merge(json!({"spec": {"selector": {"app": "theirs"}, "type": "NodePort"}})).await?;
    service
        .restored(
            &before,
            &["/spec/ports/0/port", "/spec/clusterIP", "/spec/selector", "/spec/type"],
        )
        .await?;
    // nothing of it keeps the channel from being accepted
    ns.settled("orders").await
}

#[tokio::test]
async fn a_node_port_survives_the_repair_of_its_port() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    ns.apply("orders", json!({"exposure": {"service": {"type": "NodePort"}}})).await?;
    ns.settled("orders").await?;
    let service = kind::<Service>(&ns);
    let before = service.get().await?;
    ensure!(before.pointer("/spec/ports/0/nodePort").is_some(), "{before:#}");
    service.update(|s| s["spec"]["ports"][0]["port"] = json!(8081)).await?;
    service.restored(&before, &["/spec/ports", "/spec/clusterIP"]).await
}

#[tokio::test]
async fn the_pod_template_is_ours_and_podtemplate_is_the_way_in() -> Result<()> {
    init_tracing();
    let ns = ns().await?;
    let deployment = kind::<Deployment>(&ns);
    let before = deployment.get().await?;
    // strategic merges, as `kubectl edit` and `kubectl set env` send them
    let api: Api<Deployment> = ns.api();
    let broker = |fields: Value| {
        let mut container = json!({"name": "broker"});
        container
            .as_object_mut()
            .expect("a map")
            .extend(fields.as_object().cloned().unwrap_or_default());
        json!({"spec": {"template": {"spec": {"containers": [container]}}}})
    };
    let pod = |fields: Value| json!({"spec": {"template": {"spec": fields}}});
    for change in [
        broker(json!({"image": "evil:1", "env": [{"name": "A", "value": "b"}]})),
        broker(json!({"envFrom": [{"configMapRef": {"name": "x"}}], "command": ["sleep"]})),
        // a second port of the same name, and one more mount
        broker(json!({"ports": [{"name": "other", "containerPort": 8081}]})),
        broker(json!({"volumeMounts": [{"name": "config", "mountPath": "/elsewhere"}]})),
        // of two kinds, which the API server takes only one of
        broker(json!({"readinessProbe": {"httpGet": null, "tcpSocket": {"port": 1}}})),
        pod(json!({"volumes": [{"name": "config", "configMap": null, "emptyDir": {}}]})),
        pod(json!({"volumes": [{"name": "theirs", "emptyDir": {}}]})),
        pod(json!({"containers": [{"name": "theirs", "image": "x"}]})),
        pod(json!({"initContainers": [{"name": "theirs", "image": "x"}]})),
        pod(json!({"topologySpreadConstraints": [{"topologyKey": "rack", "maxSkew": 1,
            "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}]})),
        json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}}),
    ] {
        api.patch("orders-broker", &PatchParams::default(), &Patch::Strategic(&change))
            .await
            .with_context(|| format!("{change}"))?;
        deployment
            .restored(&before, &[POD, "/spec/strategy"])
            .await
            .with_context(|| format!("{change}"))?;
    }
    deployment
        .update(|d| {
            d["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] =
                json!(8081)
        })
        .await?;
    deployment.restored(&before, &[POD]).await?;
    deployment
        .update(|d| d["spec"]["template"]["spec"]["containers"][0]["name"] = json!("other"))
        .await?;
    deployment.restored(&before, &[POD]).await?;
    deployment
        .apply(json!({"spec": {"template": {"spec": {"containers": [
            {"name": "broker", "env": [{"name": "A", "value": "b"}]}]}}}}))
        .await?;
    deployment.restored(&before, &[POD]).await?;

    // What does not contradict ours stays: a restart that somebody asked for, a field that we do not declare.
    let restarted = "kubectl.kubernetes.io/restartedAt";
    deployment
        .merge(json!({"spec": {"template": {"metadata": {"annotations": {restarted: "now"}},
            "spec": {"shareProcessNamespace": true}}}}))
        .await?;
    deployment.update(|d| d["spec"]["minReadySeconds"] = json!(1)).await?;
    deployment.restored(&before, &["/spec/minReadySeconds"]).await?;
    let now = deployment.get().await?;
    assert_eq!(now["spec"]["template"]["metadata"]["annotations"][restarted], "now");
    assert_eq!(now["spec"]["template"]["spec"]["shareProcessNamespace"], true);

    let mut spec = everything();
    spec["brokers"]["podTemplate"] = json!({"spec": {
        "containers": [{"name": "broker", "env": [{"name": "X", "value": "y"}]}, {"name": "sidecar", "image": "x"}],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }});
    ns.apply("orders", spec).await?;
    ns.object::<Deployment>("orders", |d| {
        let pod = d.spec.as_ref().and_then(|s| s.template.spec.as_ref());
        pod.is_some_and(|p| {
            p.containers.len() == 2
                && p.volumes.iter().flatten().any(|volume| volume.name == "scratch")
        })
    })
    .await?;
    ns.settled("orders").await
}

#[tokio::test]
async fn changes_of_others_to_any_other_object_are_reverted() -> Result<()> {
    init_tracing();
    let ns = ns().await?;
    let budget = kind::<PodDisruptionBudget>(&ns);
    let before = budget.get().await?;
    budget.merge(json!({"spec": {"maxUnavailable": null, "minAvailable": 2}})).await?;
    budget.restored(&before, &["/spec"]).await?;

    let autoscaler = kind::<HorizontalPodAutoscaler>(&ns);
    let before = autoscaler.get().await?;
    autoscaler
        .update(|a| {
            let metric = json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 5}}});
            a["spec"]["metrics"].as_array_mut().expect("a list").push(metric);
        })
        .await?;
    autoscaler.restored(&before, &["/spec"]).await?;
    autoscaler.merge(json!({"spec": {"maxReplicas": 99, "behavior": null}})).await?;
    autoscaler.restored(&before, &["/spec"]).await?;

    let policy = kind::<NetworkPolicy>(&ns);
    let before = policy.get().await?;
    policy.merge(json!({"spec": {"ingress": [{}], "podSelector": {}}})).await?;
    policy.restored(&before, &["/spec"]).await?;
    policy.update(|p| p["spec"]["egress"].as_array_mut().expect("a list").push(json!({}))).await?;
    policy.restored(&before, &["/spec"]).await?;

    let ingress = kind::<Ingress>(&ns);
    let before = ingress.get().await?;
    ingress
        .update(|i| {
            let mut rule = i["spec"]["rules"][0].clone();
            rule["host"] = json!("evil.example");
            i["spec"]["rules"].as_array_mut().expect("a list").push(rule);
        })
        .await?;
    ingress.restored(&before, &["/spec"]).await?;
    ingress.merge(json!({"spec": {"rules": null, "defaultBackend": {"service": {"name": "x", "port": {"number": 1}}}}}))
        .await?;
    ingress.restored(&before, &["/spec/rules"]).await?;

    let map = kind::<ConfigMap>(&ns);
    let before = map.get().await?;
    map.merge(json!({"data": {"broker.yaml": null}})).await?;
    map.restored(&before, &["/data"]).await?;
    ns.settled("orders").await
}

#[tokio::test]
async fn what_controllers_write_into_a_deployment_is_no_reason_for_a_request() -> Result<()> {
    init_tracing();
    let server = ApiServer::start().await?;
    install_crd(&server).await?;
    let client = server.client().await?;
    let namespace = temp_namespace(&client).await?;
    let nats = NatsServer::start().await?;
    let operator =
        Operator::start(Options::of(server.admin_kubeconfig(), &nats, &namespace)).await?;
    apply(&client, &namespace, "orders", json!({})).await?;
    holds(&client, &namespace, "orders", &["Accepted", "StreamReady"], WAIT_TIMEOUT).await?;
    let reconciles = "eventcast_operator_reconciles_total";
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let params = PatchParams::default();
    for round in 1..=3 {
        let before = operator.metric(reconciles, &[]).await?;
        let revision = json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": round.to_string()}}});
        deployments.patch("orders-broker", &params, &Patch::Merge(revision)).await?;
        let status =
            json!({"status": {"replicas": 1, "readyReplicas": round % 2, "updatedReplicas": 1}});
        deployments.patch_status("orders-broker", &params, &Patch::Merge(status)).await?;
        operator.reaches(reconciles, &[], before + 1.0).await?;
    }
    // A witness: what the operator asked before this is in the log of the API server.
    apply(&client, &namespace, "witness", json!({})).await?;
    holds(&client, &namespace, "witness", &["Accepted"], WAIT_TIMEOUT).await?;
    let patches = server
        .audit()?
        .into_iter()
        .filter(|e| (&*e.verb, &*e.resource, &*e.subresource) == ("patch", "deployments", ""));
    assert_eq!(patches.count(), 2 + 3, "one to make each, and those of this test");
    Ok(())
}

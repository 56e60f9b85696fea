//! What people and tools do to objects of the operator comes back: by `kubectl edit`, and by a second manager that applies by force.

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    chart, eventually, init_tracing,
    kube::{ApiServer, temp_namespace},
    namespace::{TestNamespace, WAIT_TIMEOUT, apply, holds, install_crd},
    nats::NatsServer,
    operator::{Operator, Options},
};
use k8s_openapi::api::{
    core::v1::Service,
    networking::v1::Ingress,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api,
    api::{Patch, PatchParams},
    core::{DynamicObject, GroupVersionKind},
    discovery::ApiResource,
};
use serde_json::json;

use crate::{
    reconcile_drift::{self, kind},
    reconcile_rights,
};

#[tokio::test]
async fn an_edited_ingress_and_an_edited_service_come_back() -> Result<()> {
    init_tracing();
    let ns = reconcile_drift::ns().await?;
    let (ingress, service) = (kind::<Ingress>(&ns), kind::<Service>(&ns));
    let ports = ["/metadata/annotations", "/metadata/labels", "/spec/ports", "/spec/selector"];
    let rules = ["/metadata/annotations", "/metadata/labels", "/spec/rules", "/spec/tls"];
    for (edited, paths, scripts) in [
        (
            &ingress,
            rules,
            [
                "s/proxy-buffering: \"off\"/proxy-buffering: \"on\"/",
                "/proxy-read-timeout/d",
                "s/proxy-body-size: .*/proxy-body-size: 1m/",
                "s/host: events.example.com/host: evil.example/",
                "s/pathType: Prefix/pathType: Exact/",
            ],
        ),
        (
            &service,
            ports,
            [
                "s/port: 80$/port: 8081/",
                "s/targetPort: http/targetPort: 9090/",
                "s/- appProtocol: http/- appProtocol: kubernetes.io\\/h2c/",
                "s/^    ours: .*/    ours: theirs/",
                "s/component: broker/component: other/",
            ],
        ),
    ] {
        let before = edited.get().await?;
        let title = format!("{}/orders-broker", edited.name.to_lowercase());
        for script in scripts {
            ns.cluster.edit(&ns.name, &title, script).await?;
            edited.restored(&before, &paths).await.with_context(|| script.to_owned())?;
        }
    }
    ns.event("orders", "DriftRepaired").await?;
    let repairs = ns.operator.metric("eventcast_operator_drift_repairs_total", &[]).await?;
    ensure!(repairs >= 10.0, "only {repairs} repairs are counted");
    ns.settled("orders").await
}

/// A tool that applies its own idea of the object again and again, by force.
#[tokio::test]
async fn a_second_manager_that_applies_by_force_wins_no_field_of_ours() -> Result<()> {
    init_tracing();
    let ns = reconcile_drift::ns().await?;
    let (ingress, service) = (kind::<Ingress>(&ns), kind::<Service>(&ns));
    let buffering = "nginx.ingress.kubernetes.io/proxy-buffering";
    let rule = json!({"host": "evil.example", "http": {"paths": [{"path": "/", "pathType": "Prefix",
        "backend": {"service": {"name": "theirs", "port": {"number": 1}}}}]}});
    let before = (ingress.get().await?, service.get().await?);
    for round in 0..3 {
        let theirs = json!({"metadata": {"annotations": {buffering: "on", "theirs": round.to_string()}},
            "spec": {"rules": [rule]}});
        ingress.apply(theirs).await?;
        let path = format!("/metadata/annotations/{}", buffering.replace('/', "~1"));
        ingress.restored(&before.0, &[&path, "/spec/rules"]).await?;
        let port = json!({"name": "http", "port": 80, "protocol": "TCP", "targetPort": 9090});
        let theirs = json!({"metadata": {"annotations": {"ours": "theirs"}, "labels": {"eventcast.dev/channel": "other"}},
            "spec": {"ports": [port, {"name": "more", "port": 81, "protocol": "TCP"}], "selector": {"app": "theirs"}}});
        service.apply(theirs).await?;
        let paths = ["/metadata/annotations/ours", "/metadata/labels", "/spec/ports"];
        service.restored(&before.1, &paths).await?;
        for key in ["name", "instance", "component"] {
            let path = format!("/spec/selector/app.kubernetes.io~1{key}");
            service.restored(&before.1, &[&path]).await?;
        }
    }
    let annotations = ingress.get().await?["metadata"]["annotations"].clone();
    assert_eq!(annotations["theirs"], "2", "what others add to annotations stays");
    ns.settled("orders").await
}

/// The kinds that exist only with some settings, or in some clusters.
#[tokio::test]
async fn rights_routes_and_monitors_come_back_too() -> Result<()> {
    init_tracing();
    let server = ApiServer::start().await?;
    install_crd(&server).await?;
    reconcile_rights::install_optional_kinds(&server).await?;
    let client = server.client().await?;
    let namespace = temp_namespace(&client).await?;
    let nats = NatsServer::start().await?;
    let binding = "eventcast-token-reviewer";
    let rendered = chart::render(&[])?;
    let reviewer = chart::find(&rendered, &format!("ClusterRoleBinding/{binding}"))?.to_string();
    let made = server.kubectl(&["apply", "-f", "-"], Some(&reviewer)).await?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let operator = Operator::start(Options {
        more: vec![format!("--token-review-binding={binding}")],
        ..Options::of(server.admin_kubeconfig(), &nats, &namespace)
    })
    .await?;
    let spec = json!({
        "access": {"kubernetes": {"audience": "eventcast"}},
        "exposure": {"gateway": {"parentRefs": [{"name": "web"}], "annotations": {"ours": "yes"}}},
    });
    apply(&client, &namespace, "orders", spec).await?;
    holds(&client, &namespace, "orders", &["Accepted", "StreamReady"], WAIT_TIMEOUT).await?;
    let resource = |group: &str, kind: &str, plural: &str| {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", kind), plural)
    };
    let rbac = "rbac.authorization.k8s.io";
    for (resource, change) in [
        (
            ApiResource::erase::<Role>(&()),
            json!({"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}),
        ),
        (
            ApiResource::erase::<RoleBinding>(&()),
            json!({"subjects": [{"kind": "User", "name": "eve", "apiGroup": rbac}]}),
        ),
        (
            resource("gateway.networking.k8s.io", "HTTPRoute", "httproutes"),
            json!({"metadata": {"annotations": {"ours": "theirs"}}, "spec": {"rules": [], "parentRefs": [{"name": "evil"}]}}),
        ),
        (
            resource("monitoring.coreos.com", "PodMonitor", "podmonitors"),
            json!({"metadata": {"labels": {"app.kubernetes.io/part-of": "x"}}, "spec": {"podMetricsEndpoints": [], "selector": {"matchLabels": null}}}),
        ),
    ] {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
        let before = eventually("the object is there", WAIT_TIMEOUT, || async {
            anyhow::Ok(api.get("orders-broker").await?)
        })
        .await?;
        api.patch("orders-broker", &PatchParams::default(), &Patch::Merge(&change)).await?;
        let what = format!("the {} is as it was", resource.kind);
        let back = eventually(&what, WAIT_TIMEOUT, || async {
            let now = api.get("orders-broker").await?;
            ensure!(now.data == before.data, "{:#}", now.data);
            let (now, before) = (&now.metadata, &before.metadata);
            ensure!(
                (&now.labels, &now.annotations) == (&before.labels, &before.annotations),
                "{now:?}"
            );
            anyhow::Ok(())
        });
        back.await.with_context(|| eventcast_tests::process::tail(&operator.log(), 20))?;
    }
    Ok(())
}

/// Fields that a Service has only with one type do not keep the operator from changing the type.
#[tokio::test]
async fn every_field_of_a_service_can_be_set_and_taken_back() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    let all = json!({"exposure": {"service": {
        "type": "LoadBalancer", "labels": {"tier": "edge"}, "annotations": {"a": "b"},
        "externalTrafficPolicy": "Local", "loadBalancerClass": "example.com/internal",
        "loadBalancerSourceRanges": ["203.0.113.0/24"], "ipFamilyPolicy": "PreferDualStack",
        "ipFamilies": ["IPv4"], "trafficDistribution": "PreferClose",
    }}});
    ns.apply("orders", all).await?;
    ns.settled("orders").await?;
    let service = ns.object::<Service>("orders", |_| true).await?;
    let spec = service.spec.context("no spec")?;
    assert_eq!(spec.external_traffic_policy.as_deref(), Some("Local"));
    assert_eq!(spec.load_balancer_class.as_deref(), Some("example.com/internal"));
    assert_eq!(spec.load_balancer_source_ranges, Some(vec!["203.0.113.0/24".to_owned()]));
    assert_eq!(spec.traffic_distribution.as_deref(), Some("PreferClose"));
    assert_eq!(service.metadata.labels.unwrap_or_default()["tier"], "edge");
    let writes =
        || ns.operator.metric("eventcast_operator_api_writes_total", &[("kind", "Service")]);
    let before = writes().await?;
    ns.apply(
        "orders",
        json!({"exposure": {"service": {"type": "NodePort", "externalTrafficPolicy": "Local"}}}),
    )
    .await?;
    ns.settled("orders").await?;
    ns.object::<Service>("orders", |s| {
        s.spec.as_ref().is_some_and(|s| {
            s.type_.as_deref() == Some("NodePort")
                && s.load_balancer_class.is_none()
                && s.load_balancer_source_ranges.is_none()
                && s.traffic_distribution.is_none()
        })
    })
    .await?;
    ns.apply("orders", json!({})).await?;
    ns.settled("orders").await?;
    ns.object::<Service>("orders", |s| {
        let labels = s.metadata.labels.as_ref();
        s.spec.as_ref().is_some_and(|s| {
            s.type_.as_deref() == Some("ClusterIP") && s.external_traffic_policy.is_none()
        }) && labels.is_some_and(|labels| !labels.contains_key("tier"))
    })
    .await?;
    let after = writes().await?;
    ensure!(after - before <= 4.0, "{} writes for two changes", after - before);
    Ok(())
}

//! The objects of a channel: created, changed, repaired and deleted, with a real API server and a real NATS server.

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::channel::EventChannel;
use eventcast_tests::{
    chart, eventually, init_tracing,
    namespace::{TestNamespace, WAIT_TIMEOUT},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{ConfigMap, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

#[tokio::test]
async fn six_lines_give_a_channel_with_a_url() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    let created = ns.apply("orders", json!({})).await?;
    assert_eq!(created.spec.brokers.replicas, 1, "defaults are in the object");
    ns.settled("orders").await?;
    ns.condition("orders", "Ready", "False", "WaitingForBrokers").await?;
    ns.make_ready("orders").await?;
    ns.condition("orders", "Ready", "True", "Ready").await?;

    let stream = ns.stream("orders").await?;
    let prefix = format!("sse.{}.orders", ns.name);
    assert_eq!(stream.subjects, [format!("{prefix}.all"), format!("{prefix}.t.>")]);
    assert_eq!(stream.metadata["eventcast.dev/uid"], created.uid().unwrap_or_default());
    assert!(stream.metadata.contains_key("sse.epoch") && stream.allow_direct);

    ns.object::<ServiceAccount>("orders", |_| true).await?;
    ns.object::<Service>("orders", |_| true).await?;
    ns.object::<NetworkPolicy>("orders", |_| true).await?;
    let map = ns.object::<ConfigMap>("orders", |_| true).await?;
    let text = map.data.unwrap_or_default().remove("broker.yaml").context("no configuration")?;
    let config = eventcast_crds::config::load::load(&text, &[])?;
    assert!(config.unknown.is_empty() && config.config.problems().is_empty(), "{text}");
    assert_eq!(config.config.channels[0].key(), format!("{}/orders", ns.name));
    let deployment = ns.object::<Deployment>("orders", |_| true).await?;
    let owner = &deployment.owner_references()[0];
    assert_eq!((&*owner.kind, owner.controller), ("EventChannel", Some(true)));

    let shown = ns.cluster.kubectl(&["get", "evch", "orders", "-n", &ns.name], None).await?;
    let shown = String::from_utf8(shown.stdout)?;
    for word in ["READY", "URL", "REPLICAS", "SUBSCRIBERS", "AGE", "True", "1/1", "/channels/"] {
        assert!(shown.contains(word), "{word} not in\n{shown}");
    }
    ns.event("orders", "StreamCreated").await?;
    ns.event("orders", "Ready").await
}

/// As its resolver of addresses does it: by the label of the definition, then by `status.address.url`.
#[tokio::test]
async fn knative_finds_where_to_send_cloudevents() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    let label = "duck.knative.dev/addressable=true";
    let found = ns.cluster.kubectl(&["get", "crd", "-l", label, "-o", "name"], None).await?;
    let found = String::from_utf8(found.stdout)?;
    assert!(found.contains("eventchannels.eventcast.dev"), "{found}");
    let exposure = json!({"ingress": {"host": "events.example"}});
    ns.apply("orders", json!({"exposure": exposure})).await?;
    ns.settled("orders").await?;
    let path = "-o=jsonpath={.status.address.url} {.status.url}";
    let shown = ns.cluster.kubectl(&["get", "evch", "orders", "-n", &ns.name, path], None).await?;
    let events = format!("/channels/{}/orders/events", ns.name);
    let internal = format!("http://orders-broker.{}.svc.cluster.local{events}", ns.name);
    let expected = format!("{internal} http://events.example{events}");
    assert_eq!(String::from_utf8(shown.stdout)?, expected);
    Ok(())
}

#[tokio::test]
async fn every_change_reaches_what_it_is_about_and_nothing_else() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    ns.apply("orders", json!({})).await?;
    ns.settled("orders").await?;
    let before = ns.object::<Deployment>("orders", |_| true).await?;

    ns.apply("orders", json!({
        "delivery": {"heartbeatSeconds": 7}, "retention": {"maxAgeSeconds": 600},
        "access": {"allowedOrigins": ["https://app.example"]}, "publishing": {"types": ["order.>"]},
    }))
    .await?;
    let has = |map: &ConfigMap, text: &str| {
        map.data.as_ref().is_some_and(|d| d["broker.yaml"].contains(text))
    };
    for text in ["heartbeatSeconds: 7", "https://app.example", "order.>"] {
        ns.object::<ConfigMap>("orders", |m| has(m, text)).await?;
    }
    eventually("the stream keeps less", WAIT_TIMEOUT, || async {
        ensure!(ns.stream("orders").await?.max_age.as_secs() == 600, "not yet");
        anyhow::Ok(())
    })
    .await?;
    ns.settled("orders").await?;
    let after = ns.object::<Deployment>("orders", |_| true).await?;
    assert_eq!(before.metadata.generation, after.metadata.generation, "no broker is rolled");
    ns.event("orders", "StreamUpdated").await?;

    ns.apply("orders", json!({"brokers": {
        "replicas": 3, "image": "registry.example/other:1", "nodeSelector": {"a": "b"}, "drainSeconds": 40,
        "podTemplate": {"metadata": {"annotations": {"team": "shop"}},
            "spec": {"containers": [{"name": "broker", "env": [{"name": "X", "value": "y"}]}]}},
    }}))
    .await?;
    let deployment = ns.object::<Deployment>("orders", |d| {
        let spec = d.spec.as_ref();
        spec.is_some_and(|s| {
            s.replicas == Some(3)
                && s.template.spec.as_ref().is_some_and(|p| p.node_selector.is_some())
        })
    });
    let pod = deployment.await?.spec.context("no spec")?.template;
    assert_eq!(pod.metadata.unwrap_or_default().annotations.unwrap_or_default()["team"], "shop");
    let pod = pod.spec.context("no pod")?;
    assert_eq!(pod.containers[0].image.as_deref(), Some("registry.example/other:1"));
    let env = pod.containers[0].env.as_ref().context("no variables")?;
    assert!(env.iter().any(|v| v.name == "X"), "{env:?}");
    assert!(pod.termination_grace_period_seconds.is_some_and(|s| s > 50));
    ns.object::<PodDisruptionBudget>("orders", |_| true).await?;

    ns.apply(
        "orders",
        json!({"exposure": {
            "service": {"type": "NodePort", "annotations": {"a": "b"}},
            "ingress": {"host": "events.example.com", "tlsSecretName": "cert"},
        }}),
    )
    .await?;
    ns.object::<Service>("orders", |s| {
        s.spec.as_ref().is_some_and(|s| s.type_.as_deref() == Some("NodePort"))
    })
    .await?;
    let ingress = ns.object::<Ingress>("orders", |_| true).await?;
    assert_eq!(ingress.annotations()["nginx.ingress.kubernetes.io/proxy-buffering"], "off");
    gone::<PodDisruptionBudget>(&ns, "orders").await?;
    eventually("the URL leads through the Ingress", WAIT_TIMEOUT, || async {
        let url = ns
            .api::<EventChannel>()
            .get("orders")
            .await?
            .status
            .and_then(|s| s.url)
            .unwrap_or_default();
        ensure!(url.starts_with("https://events.example.com/channels/"), "it is {url}");
        anyhow::Ok(())
    })
    .await?;

    ns.apply("orders", json!({})).await?;
    gone::<Ingress>(&ns, "orders").await
}

#[tokio::test]
async fn an_autoscaler_owns_the_number_of_brokers_while_there_is_one() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    let replicas = |d: &Deployment| d.spec.as_ref().and_then(|s| s.replicas);
    ns.apply("orders", json!({"brokers": {"replicas": 4}})).await?;
    ns.object::<Deployment>("orders", |d| replicas(d) == Some(4)).await?;
    let auto = json!({"brokers": {"autoscaling": {"by": "HorizontalPodAutoscaler", "minReplicas": 2, "maxReplicas": 9, "cpuPercent": 60}}});
    ns.apply("orders", auto).await?;
    ns.object::<HorizontalPodAutoscaler>("orders", |_| true).await?;
    let deployment = ns.object::<Deployment>("orders", |d| replicas(d) == Some(4)).await?;
    assert_eq!(replicas(&deployment), Some(4), "nobody is cut at the change");
    scale(&ns, "deploy/orders-broker", 7).await?; // as the autoscaler does
    ns.apply(
        "orders",
        json!({"delivery": {"heartbeatSeconds": 9},
        "brokers": {"autoscaling": {"by": "HorizontalPodAutoscaler", "minReplicas": 2, "maxReplicas": 9, "cpuPercent": 61}}}),
    )
    .await?;
    ns.object::<HorizontalPodAutoscaler>("orders", |h| {
        h.spec
            .as_ref()
            .and_then(|s| s.metrics.as_ref())
            .is_some_and(|m| serde_json::to_string(m).unwrap_or_default().contains("61"))
    })
    .await?;
    assert_eq!(replicas(&ns.object::<Deployment>("orders", |_| true).await?), Some(7));
    ns.apply("orders", json!({"brokers": {"replicas": 2}})).await?;
    ns.object::<Deployment>("orders", |d| replicas(d) == Some(2)).await?;
    gone::<HorizontalPodAutoscaler>(&ns, "orders").await?;
    scale(&ns, "evch/orders", 5).await?;
    ns.object::<Deployment>("orders", |d| replicas(d) == Some(5)).await?;
    Ok(())
}

#[tokio::test]
async fn drift_is_repaired_and_what_others_add_stays() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    ns.apply("orders", json!({})).await?;
    ns.settled("orders").await?;
    let api: Api<Deployment> = ns.api();
    let merge = PatchParams::default();
    let drifted = json!({
        "metadata": {"labels": {"theirs": "stays"}},
        "spec": {"replicas": 6, "template": {"spec": {"containers": [{"name": "broker", "image": "evil:1", "env": [{"name": "A", "value": "b"}]}]}}},
    });
    api.patch("orders-broker", &merge, &Patch::Strategic(drifted)).await?;
    let image =
        |d: &Deployment| d.spec.as_ref()?.template.spec.as_ref()?.containers[0].image.clone();
    let repaired = ns.object::<Deployment>("orders", |d| {
        image(d).as_deref() == Some(eventcast_tests::operator::IMAGE)
            && d.spec.as_ref().is_some_and(|s| s.replicas == Some(1))
    });
    let repaired = repaired.await?;
    assert_eq!(repaired.labels()["theirs"], "stays");
    ns.object::<Deployment>("orders", |d| {
        let pod = d.spec.as_ref().and_then(|s| s.template.spec.as_ref());
        pod.is_some_and(|p| p.containers[0].env.iter().flatten().all(|v| v.name != "A"))
    })
    .await?;

    ns.api::<ConfigMap>()
        .patch("orders-broker", &merge, &Patch::Merge(json!({"data": {"broker.yaml": "x: y"}})))
        .await?;
    ns.object::<ConfigMap>("orders", |m| {
        m.data.as_ref().is_some_and(|d| d["broker.yaml"].contains("channels:"))
    })
    .await?;
    for _ in 0..2 {
        let uid = ns.object::<Service>("orders", |_| true).await?.uid();
        ns.api::<Service>().delete("orders-broker", &DeleteParams::default()).await?;
        ns.object::<Service>("orders", |s| s.uid() != uid).await?;
    }
    ns.event("orders", "DriftRepaired").await?;
    assert!(ns.operator.metric("eventcast_operator_drift_repairs_total", &[]).await? >= 3.0);

    // The same for the stream: the operator restores what somebody changed, and its events stay.
    let jetstream = ns.nats.jetstream().await?;
    let mut config = ns.stream("orders").await?;
    config.max_age = std::time::Duration::from_secs(300);
    jetstream.update_stream(config).await?;
    ns.apply("orders", json!({"delivery": {"heartbeatSeconds": 8}})).await?;
    eventually("the stream is as it was", WAIT_TIMEOUT, || async {
        ensure!(ns.stream("orders").await?.max_age.as_secs() == 604_800, "not yet");
        anyhow::Ok(())
    })
    .await
}

#[tokio::test]
async fn nothing_is_written_where_nothing_differs() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start_with(&["--resync-seconds=1"]).await?;
    for name in ["one", "two"] {
        ns.apply(name, json!({"brokers": {"replicas": 2}})).await?;
        ns.settled(name).await?;
        ns.make_ready(name).await?;
        ns.condition(name, "Ready", "True", "Ready").await?;
    }
    let writes = || ns.operator.metric("eventcast_operator_api_writes_total", &[]);
    let more_reconciles = async || {
        let (reconciles, succeeded) = ("eventcast_operator_reconciles_total", [("result", "ok")]);
        let before = ns.operator.metric(reconciles, &succeeded).await?;
        ns.operator.reaches(reconciles, &succeeded, before + 8.0).await
    };
    // The status is seen before the operator has counted that it wrote it.
    more_reconciles().await?;
    let before = writes().await?;
    more_reconciles().await?;
    assert_eq!(writes().await?, before, "reconciles without a change write nothing");
    Ok(())
}

#[tokio::test]
async fn an_object_of_somebody_else_is_never_taken() -> Result<()> {
    init_tracing();
    // errors that only a person can fix wait for a resync
    let ns = TestNamespace::start_with(&["--resync-seconds=2"]).await?;
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "orders-broker"}, "data": {"theirs": "yes"}});
    let api: Api<ConfigMap> = ns.api();
    let created = api.create(&Default::default(), &serde_json::from_value(theirs)?).await?;
    ns.apply("orders", json!({})).await?;
    let condition = ns.condition("orders", "Accepted", "False", "NameConflict").await?;
    assert!(condition.message.contains("ConfigMap orders-broker"), "{}", condition.message);
    let now = api.get("orders-broker").await?;
    assert_eq!((now.resource_version(), now.data), (created.resource_version(), created.data));
    api.delete("orders-broker", &DeleteParams::default()).await?;
    ns.settled("orders").await
}

#[tokio::test]
async fn a_paused_channel_is_left_alone() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    ns.apply("orders", json!({})).await?;
    ns.settled("orders").await?;
    let annotate = |value: serde_json::Value| {
        let api: Api<EventChannel> = ns.api();
        async move {
            let patch = json!({"metadata": {"annotations": {"eventcast.dev/paused": value}}});
            api.patch("orders", &PatchParams::default(), &Patch::Merge(patch)).await
        }
    };
    annotate(json!("true")).await?;
    ns.condition("orders", "Paused", "True", "PausedByAnnotation").await?;
    ns.api::<Service>().delete("orders-broker", &DeleteParams::default()).await?;
    ns.apply("orders", json!({"retention": {"maxAgeSeconds": 777}})).await?;
    // another channel shows that the operator has been past here
    ns.apply("other", json!({})).await?;
    ns.settled("other").await?;
    assert!(ns.api::<Service>().get_opt("orders-broker").await?.is_none());
    assert_eq!(ns.stream("orders").await?.max_age.as_secs(), 604_800);
    annotate(json!(null)).await?;
    ns.object::<Service>("orders", |_| true).await?;
    ns.settled("orders").await?;
    assert_eq!(ns.stream("orders").await?.max_age.as_secs(), 777);
    Ok(())
}

#[tokio::test]
async fn the_examples_are_accepted() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    for (file, name) in [
        ("minimal", "demo"),
        ("production", "orders"),
        ("notifications", "notifications"),
        ("public-feed", "scores"),
    ] {
        let path = chart::folder().join(format!("examples/{file}.yaml")).display().to_string();
        let applied = ns.cluster.kubectl(&["apply", "-n", &ns.name, "-f", &path], None).await?;
        ensure!(applied.status.success(), "{file}: {}", String::from_utf8_lossy(&applied.stderr));
        ns.condition(name, "Accepted", "True", "Accepted").await?;
        ns.object::<Deployment>(name, |_| true).await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_metric_that_dashboards_and_alerts_may_ask_for_is_served_from_the_start() -> Result<()>
{
    init_tracing();
    let ns = TestNamespace::start().await?;
    let served = chart::promql::Known::of(&ns.operator.metrics().await?);
    assert_eq!(served, chart::monitoring::operator());
    Ok(())
}

async fn gone<K>(ns: &TestNamespace, name: &str) -> Result<()>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + serde::de::DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    let what = format!("no {} any more", K::kind(&()));
    eventually(&what, WAIT_TIMEOUT, || async {
        ensure!(ns.api::<K>().get_opt(&format!("{name}-broker")).await?.is_none(), "it is there");
        anyhow::Ok(())
    })
    .await
}

async fn scale(ns: &TestNamespace, what: &str, count: u32) -> Result<()> {
    let count = format!("--replicas={count}");
    let scaled = ns.cluster.kubectl(&["scale", what, &count, "-n", &ns.name], None).await?;
    ensure!(scaled.status.success(), "{}", String::from_utf8_lossy(&scaled.stderr));
    Ok(())
}

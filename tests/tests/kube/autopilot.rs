//! The autopilot with a real API server: what it writes when brokers are too many, too few, or unevenly loaded. The brokers are simulated.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::{channel::EventChannel, orders::ANNOTATION};
use eventcast_tests::{
    eventually, init_tracing,
    namespace::{TestNamespace, WAIT_TIMEOUT},
    simulated_brokers::SimulatedBrokers,
};
use k8s_openapi::{
    api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// A step down needs a window of 30 s, which begins with the last look before the load has dropped.
const SCALE_DOWN_TIMEOUT: Duration = Duration::from_secs(90);

async fn start() -> Result<TestNamespace> {
    init_tracing();
    TestNamespace::start_with(&["--look-seconds=1"]).await
}

fn scaled(min: i32, max: i32) -> serde_json::Value {
    json!({"brokers": {"autoscaling": {
        "minReplicas": min, "maxReplicas": max, "subscribersPerBroker": 100, "scaleDownStabilizationSeconds": 30,
    }}})
}

/// Waits until so many brokers are wanted, and makes the status of the Deployment fit.
async fn has_replicas(ns: &TestNamespace, replicas: i32) -> Result<Deployment> {
    let found = ns
        .object::<Deployment>("orders", |d| {
            d.spec.as_ref().and_then(|spec| spec.replicas) == Some(replicas)
        })
        .await?;
    ns.make_ready("orders").await?;
    Ok(found)
}

/// The field manager of `replicas`.
fn scale_managers(deployment: &Deployment) -> Vec<&str> {
    let fields = deployment.metadata.managed_fields.iter().flatten();
    let owns = |fields: &serde_json::Value| fields.pointer("/f:spec/f:replicas").is_some();
    let owners = fields.filter(|entry| entry.fields_v1.as_ref().is_some_and(|f| owns(&f.0)));
    owners.filter_map(|entry| entry.manager.as_deref()).collect()
}

#[tokio::test]
async fn brokers_follow_the_load() -> Result<()> {
    let mut ns = start().await?;
    ns.apply("orders", scaled(2, 6)).await?;
    ns.settled("orders").await?;
    has_replicas(&ns, 2).await?;
    let mut brokers = SimulatedBrokers::new(&ns, "orders");
    for streams in [150, 240] {
        brokers.start(&ns, streams).await?;
    }

    // 390 streams need 4 brokers of 100.
    let deployment = has_replicas(&ns, 4).await?;
    assert_eq!(scale_managers(&deployment), ["eventcast-operator-scale"]);
    ns.condition("orders", "Autoscaled", "True", "ScaledUp").await?;
    ns.event("orders", "ScaledUp").await?;
    let status = ns.api::<EventChannel>().get("orders").await?.status.unwrap_or_default();
    assert_eq!(status.autoscaling.map(|autoscaling| autoscaling.desired), Some(4));
    assert!(
        ns.operator.metric("eventcast_operator_scalings_total", &[("direction", "up")]).await?
            >= 1.0
    );

    // What somebody else does to the number, or to the Deployment, does not last.
    let one = Patch::Merge(json!({"spec": {"replicas": 1}}));
    let deployments = ns.api::<Deployment>();
    deployments.patch_scale("orders-broker", &PatchParams::default(), &one).await?;
    has_replicas(&ns, 4).await?;
    deployments.delete("orders-broker", &DeleteParams::default()).await?;
    has_replicas(&ns, 4).await?;

    // 130 streams would be enough for 2 brokers. One at a time goes, the emptiest.
    let names = [brokers.start(&ns, 30).await?, brokers.start(&ns, 40).await?];
    for (name, streams) in [("orders-broker-0", 40), ("orders-broker-1", 20)] {
        brokers.set(name, streams)?;
    }
    let victim = eventually("a broker is marked", SCALE_DOWN_TIMEOUT, || async {
        let pods = brokers.all_pods().await?;
        let marked = |pod: &&Pod| pod.annotations().contains_key(DELETION_COST);
        let marked: Vec<_> = pods.iter().filter(marked).map(ResourceExt::name_any).collect();
        ensure!(!marked.is_empty(), "none is marked");
        anyhow::Ok(marked)
    })
    .await?;
    assert_eq!(victim, ["orders-broker-1"], "the emptiest of all, not one of {names:?}");
    has_replicas(&ns, 3).await?;
    ns.condition("orders", "Autoscaled", "True", "ScaledDown").await?;
    brokers.remove("orders-broker-1").await?;

    // A new leader begins where the last one was, and removes nobody at once.
    ns.operator.relaunch()?;
    sleep(Duration::from_secs(5)).await;
    has_replicas(&ns, 3).await?;
    Ok(())
}

async fn is_balanced(ns: &TestNamespace) -> Result<bool> {
    let status = ns.api::<EventChannel>().get("orders").await?.status.unwrap_or_default();
    let is_balanced = |c: &Condition| c.type_ == "Balanced" && c.status == "True";
    Ok(status.conditions.iter().any(is_balanced))
}

#[tokio::test]
async fn streams_are_spread_over_brokers() -> Result<()> {
    let ns = start().await?;
    ns.apply("orders", json!({"brokers": {"replicas": 4}})).await?;
    ns.settled("orders").await?;
    has_replicas(&ns, 4).await?;
    let mut brokers = SimulatedBrokers::new(&ns, "orders");
    for streams in [4000, 4000, 10, 10] {
        brokers.start(&ns, streams).await?;
    }
    ns.condition("orders", "Balanced", "False", "Shedding").await?;
    ns.event("orders", "Rebalancing").await?;
    let mean = 2005;
    let deadline = Instant::now() + WAIT_TIMEOUT;
    while !is_balanced(&ns).await? {
        ensure!(Instant::now() < deadline, "{:?}", brokers.streams());
        for order in brokers.follow_orders(500).await? {
            ensure!(order.ceiling >= mean * 11 / 10, "below 1.1 of the mean: {order:?}");
            ensure!(order.seconds <= 60, "{order:?}");
        }
        sleep(Duration::from_millis(300)).await;
    }
    let most = brokers.streams().into_iter().max().context("no broker")?;
    ensure!(most <= mean * 11 / 10 + 1, "{:?}", brokers.streams());
    ns.event("orders", "Rebalanced").await?;
    eventually("no order is left", WAIT_TIMEOUT, || async {
        let pods = brokers.all_pods().await?;
        ensure!(pods.iter().all(|pod| !pod.annotations().contains_key(ANNOTATION)), "{pods:?}");
        anyhow::Ok(())
    })
    .await?;

    // Where everything is as it should be, looks write nothing.
    let writes = async || {
        let metrics = ns.operator.metrics().await?;
        let written = |labels: &[_]| metrics.metric("eventcast_operator_api_writes_total", labels);
        // The count of subscribers is written once a minute.
        let status = written(&[("kind", "EventChannel"), ("verb", "status")]);
        anyhow::Ok(written(&[("kind", "Pod")]) + written(&[("kind", "Deployment")]) + status)
    };
    let more_looks = async || {
        let (looks, complete) = ("eventcast_operator_looks_total", [("result", "complete")]);
        let before = ns.operator.metric(looks, &complete).await?;
        ns.operator.reaches(looks, &complete, before + 5.0).await
    };
    // A change is seen before the operator has counted that it wrote it.
    more_looks().await?;
    let before = writes().await?;
    more_looks().await?;
    assert!((writes().await? - before).abs() < 0.5, "a quiet look has written");
    Ok(())
}

#[tokio::test]
async fn the_number_of_brokers_changes_hands_without_a_jump() -> Result<()> {
    let mut ns = start().await?;
    let by = |by: &str| {
        json!({"brokers": {"autoscaling": {
            "by": by, "minReplicas": 2, "maxReplicas": 9, "subscribersPerBroker": 100,
        }}})
    };
    ns.apply("orders", by("HorizontalPodAutoscaler")).await?;
    ns.object::<HorizontalPodAutoscaler>("orders", |_| true).await?;
    ns.object::<Deployment>("orders", |_| true).await?;
    let seven = Patch::Merge(json!({"spec": {"replicas": 7}}));
    ns.api::<Deployment>().patch_scale("orders-broker", &PatchParams::default(), &seven).await?;
    has_replicas(&ns, 7).await?;
    ns.apply("orders", by("Operator")).await?;
    eventually("the autoscaler is gone", WAIT_TIMEOUT, || async {
        let found = ns.api::<HorizontalPodAutoscaler>().get_opt("orders-broker").await?;
        ensure!(found.is_none(), "it is there");
        anyhow::Ok(())
    })
    .await?;
    let mut brokers = SimulatedBrokers::new(&ns, "orders");
    for _ in 0..7 {
        brokers.start(&ns, 60).await?;
    }
    eventually("the operator scales", WAIT_TIMEOUT, || async {
        let status = ns.api::<EventChannel>().get("orders").await?.status.unwrap_or_default();
        ensure!(status.autoscaling.as_ref().is_some_and(|own| own.desired == 7), "{status:?}");
        ensure!(status.conditions.iter().any(|c| c.type_ == "Autoscaled" && c.status == "True"));
        anyhow::Ok(())
    })
    .await?;
    has_replicas(&ns, 7).await?;

    // One that somebody else has made is left its Deployment, and named.
    let hpa = json!({
        "metadata": {"name": "theirs"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "orders-broker"}},
    });
    let hpa: HorizontalPodAutoscaler = serde_json::from_value(hpa)?;
    ns.api::<HorizontalPodAutoscaler>().create(&PostParams::default(), &hpa).await?;
    ns.operator.relaunch()?;
    let state = ns.condition("orders", "Autoscaled", "False", "ForeignAutoscaler").await?;
    ensure!(state.message.contains("theirs"), "{}", state.message);
    ns.event("orders", "ForeignAutoscaler").await?;
    let three = Patch::Merge(json!({"spec": {"replicas": 3}}));
    ns.api::<Deployment>().patch_scale("orders-broker", &PatchParams::default(), &three).await?;
    sleep(Duration::from_secs(4)).await;
    has_replicas(&ns, 3).await?;
    Ok(())
}

#[tokio::test]
async fn it_can_be_watched_before_it_is_trusted() -> Result<()> {
    let ns = start().await?;
    ns.apply("orders", scaled(2, 6)).await?;
    let observe =
        Patch::Merge(json!({"metadata": {"annotations": {"eventcast.dev/autopilot": "Observe"}}}));
    ns.api::<EventChannel>().patch("orders", &PatchParams::default(), &observe).await?;
    ns.settled("orders").await?;
    has_replicas(&ns, 2).await?;
    let mut brokers = SimulatedBrokers::new(&ns, "orders");
    for streams in [400, 10] {
        brokers.start(&ns, streams).await?;
    }
    ns.event("orders", "WouldScale").await?;
    sleep(Duration::from_secs(5)).await;
    has_replicas(&ns, 2).await?;
    let pods = brokers.all_pods().await?;
    ensure!(pods.iter().all(|pod| !pod.annotations().contains_key(ANNOTATION)), "{pods:?}");
    let act = Patch::Merge(json!({"metadata": {"annotations": {"eventcast.dev/autopilot": null}}}));
    ns.api::<EventChannel>().patch("orders", &PatchParams::default(), &act).await?;
    has_replicas(&ns, 5).await?;
    Ok(())
}

#[tokio::test]
async fn a_mark_of_somebody_else_stays() -> Result<()> {
    let ns = start().await?;
    ns.apply("orders", scaled(1, 6)).await?;
    ns.settled("orders").await?;
    let mut brokers = SimulatedBrokers::new(&ns, "orders");
    for _ in 0..2 {
        brokers.start(&ns, 60).await?;
    }
    has_replicas(&ns, 2).await?;
    // As Karpenter does for the pods of a node that it wants to remove.
    let cost = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"annotations": {DELETION_COST: "-7"}}});
    let theirs = PatchParams::apply("karpenter").force();
    ns.api::<Pod>().patch("orders-broker-0", &theirs, &Patch::Apply(&cost)).await?;
    brokers.set("orders-broker-0", 1)?;
    brokers.set("orders-broker-1", 2)?;
    eventually("a broker too many is removed", SCALE_DOWN_TIMEOUT, || async {
        let found = ns.api::<Deployment>().get("orders-broker").await?;
        ensure!(found.spec.and_then(|spec| spec.replicas) == Some(1), "not yet");
        anyhow::Ok(())
    })
    .await?;
    ns.event("orders", "ForeignDeletionCost").await?;
    let pod = ns.api::<Pod>().get("orders-broker-0").await?;
    assert_eq!(pod.annotations()[DELETION_COST], "-7");
    Ok(())
}

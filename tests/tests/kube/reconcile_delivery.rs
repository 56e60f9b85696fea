//! The delivery probe: the operator tells the brokers which URL clients use, and shows what they find.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::{
    channel::EventChannel,
    config::{BrokerConfig, Probe, load},
};
use eventcast_tests::{
    broker::Broker,
    eventually, init_tracing,
    namespace::{TestNamespace, WAIT_TIMEOUT},
    pods,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service},
    networking::v1::NetworkPolicy,
};
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// Brokers are asked once a minute.
const VISIT_TIMEOUT: Duration = Duration::from_secs(100);
const TYPE: &str = "DeliveryVerified";

/// The configuration of the brokers, as it is written.
async fn written(ns: &TestNamespace) -> Result<BrokerConfig> {
    let map = ns.object::<ConfigMap>("orders", |_| true).await?;
    let text = map.data.context("no data")?.remove("broker.yaml").context("no configuration")?;
    Ok(load::load(&text, &[])?.config)
}

/// Waits until the brokers are told to probe like this.
async fn probe(ns: &TestNamespace, is_expected: impl Fn(Option<&Probe>) -> bool) -> Result<()> {
    eventually("the brokers are told how to probe", WAIT_TIMEOUT, || async {
        let config = written(ns).await?;
        let probe = config.channels[0].probe.as_ref();
        ensure!(is_expected(probe), "{probe:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_brokers_find_on_the_way_to_clients_is_a_condition() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    ns.apply("orders", json!({"exposure": {"service": {"type": "LoadBalancer"}}})).await?;
    ns.settled("orders").await?;
    probe(&ns, |probe| probe.is_none()).await?;
    let generation = async || {
        let deployment = ns.object::<Deployment>("orders", |_| true).await?;
        anyhow::Ok(deployment.metadata.generation)
    };
    let before = generation().await?;

    // An address at which nothing listens.
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "127.0.0.77"}]}}});
    let patch = Patch::Merge(status);
    ns.api::<Service>().patch_status("orders-broker", &PatchParams::default(), &patch).await?;
    let url = format!("http://127.0.0.77/channels/{}/orders/events", ns.name);
    probe(&ns, |probe| probe.is_some_and(|probe| probe.url == url)).await?;
    let condition = ns.condition("orders", TYPE, "Unknown", "NotProbed").await?;
    ensure!(condition.message.contains(&url), "{}", condition.message);
    let policy = ns.object::<NetworkPolicy>("orders", |_| true).await?;
    let egress = serde_json::to_string(&policy.spec.context("no spec")?.egress)?;
    ensure!(egress.contains("{\"port\":8443,"), "brokers may not connect to it: {egress}");
    ensure!(generation().await? == before, "the brokers were rolled");

    let config = written(&ns).await?;
    let broker = Broker::start(&ns.nats.url(), |own| {
        let (listen, admin) = (own.listen, own.admin);
        *own = BrokerConfig { listen, admin, ..config };
    })
    .await?;
    let admin = broker.admin_url("").rsplit(':').next().context("no port")?.parse()?;
    let running = json!({"phase": "Running", "podIP": "127.0.0.1"});
    pods::create(&ns, "orders", "orders-pod", admin, running).await?;
    eventually("the condition is false", VISIT_TIMEOUT, || async {
        ns.condition("orders", TYPE, "False", "Unreachable").await
    })
    .await?;
    ns.event("orders", "Unreachable").await?;
    let status = ns.api::<EventChannel>().get("orders").await?.status.unwrap_or_default();
    ensure!(status.delivery.is_some_and(|delivery| delivery.url == url), "no figures");
    ns.make_ready("orders").await?;
    ns.condition("orders", "Ready", "True", "Ready").await?;

    let annotation = json!({"metadata": {"annotations": {"eventcast.dev/probe": "again"}}});
    let channels = ns.api::<EventChannel>();
    let patch = Patch::Merge(annotation);
    channels.patch("orders", &PatchParams::default(), &patch).await?;
    probe(&ns, |probe| probe.is_some_and(|p| p.request.as_deref() == Some("again"))).await?;
    ensure!(generation().await? == before, "the brokers were rolled");

    let off = Patch::Merge(json!({"spec": {"exposure": {"probe": {"enabled": false}}}}));
    channels.patch("orders", &PatchParams::default(), &off).await?;
    probe(&ns, |probe| probe.is_none()).await?;
    eventually("nothing is said about the delivery", WAIT_TIMEOUT, || async {
        let status = channels.get("orders").await?.status.unwrap_or_default();
        let condition = status.conditions.iter().find(|condition| condition.type_ == TYPE);
        ensure!(condition.is_none() && status.delivery.is_none(), "{condition:?}");
        Ok(())
    })
    .await
}

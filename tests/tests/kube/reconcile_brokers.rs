//! What the operator learns from the brokers' pods: why they do not start, and how many subscribers they have.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::channel::EventChannel;
use eventcast_crds::config::{BrokerConfig, load};
use eventcast_tests::{
    broker::Broker,
    eventually, init_tracing,
    namespace::{TestNamespace, WAIT_TIMEOUT},
    pods,
    sse::EventStream,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Secret},
};
use serde_json::json;

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_reported_with_its_name() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    ns.apply("orders", json!({"brokers": {"image": "nowhere.example/broker:none"}})).await?;
    ns.settled("orders").await?;
    pods::create(&ns, "orders", "orders-pod", 9090, json!({"phase": "Pending", "containerStatuses": [{
        "name": "broker", "image": "nowhere.example/broker:none", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}]}))
    .await?;
    let condition = ns.condition("orders", "Available", "False", "ImageUnavailable").await?;
    assert!(condition.message.contains("nowhere.example/broker:none"), "{}", condition.message);
    ns.condition("orders", "Ready", "False", "ImageUnavailable").await?;
    Ok(())
}

#[tokio::test]
async fn a_broker_runs_on_its_written_configuration_and_reports_subscribers_and_missing_keys()
-> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    let issuer = json!({"issuer": "https://login.example", "audience": "orders",
        "keySecret": {"name": "absent", "key": "jwks.json"}, "subscribe": {"topics": ["user.{sub}"]}});
    let access = json!({"anonymous": ["Subscribe"], "tokens": [issuer]});
    ns.apply("orders", json!({"delivery": {"heartbeatSeconds": 7}, "access": access})).await?;
    ns.settled("orders").await?;
    ns.condition("orders", "AccessReady", "Unknown", "Blocked").await?;
    let map = ns.object::<ConfigMap>("orders", |_| true).await?;
    let text = map.data.context("no data")?.remove("broker.yaml").context("no configuration")?;
    let written = load::load(&text, &[])?.config;
    // As it stands, but for the ports, which are the test's.
    let broker = Broker::start(&ns.nats.url(), |config| {
        let (listen, admin) = (config.listen, config.admin);
        *config = BrokerConfig { listen, admin, ..written };
    })
    .await?;
    let url = broker.url(&format!("/channels/{}/orders/events", ns.name));
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(EventStream::connect(&url, None).await?);
    }
    let admin = broker.admin_url("").rsplit(':').next().context("no port")?.parse()?;
    let running = json!({"phase": "Running", "podIP": "127.0.0.1"});
    pods::create(&ns, "orders", "orders-pod", admin, running).await?;
    eventually("the subscribers are counted", Duration::from_secs(90), || async {
        let status = ns.api::<EventChannel>().get("orders").await?.status.unwrap_or_default();
        ensure!(status.subscribers == Some(3), "{:?}", status.subscribers);
        anyhow::Ok(())
    })
    .await?;
    // another manager's field: a reconcile that writes the status leaves it
    ns.make_ready("orders").await?;
    ns.condition("orders", "Ready", "True", "Ready").await?;
    let status = ns.api::<EventChannel>().get("orders").await?.status.unwrap_or_default();
    assert_eq!(status.subscribers, Some(3));
    // and its problems are those of the channel, which serves clients without a token all the same
    let condition = ns.condition("orders", "AccessReady", "False", "SecretMissing").await?;
    assert!(condition.message.contains("https://login.example"), "{}", condition.message);
    ns.condition("orders", "Ready", "True", "Ready").await?;
    ns.event("orders", "SecretMissing").await
}

#[tokio::test]
async fn credentials_come_with_the_brokers_and_roll_them_when_they_change() -> Result<()> {
    init_tracing();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("password");
    std::fs::write(&file, "first")?;
    let password = format!("--nats-password-file={}", file.display());
    // a server without authorisation takes every user
    let ns = TestNamespace::start_with(&["--nats-user=eventcast", &password]).await?;
    ns.apply("orders", json!({})).await?;
    ns.settled("orders").await?;
    let secret = |text: &'static str| {
        ns.object::<Secret>("orders", move |s| {
            s.data
                .as_ref()
                .is_some_and(|d| d.get("password").is_some_and(|v| v.0 == text.as_bytes()))
        })
    };
    secret("first").await?;
    let hash = |d: &Deployment| {
        let template = &d.spec.as_ref()?.template;
        template.metadata.as_ref()?.annotations.as_ref()?.get("eventcast.dev/config-hash").cloned()
    };
    let before = ns.object::<Deployment>("orders", |_| true).await?;
    let mounts =
        before.spec.as_ref().and_then(|s| s.template.spec.as_ref()).and_then(|p| p.volumes.clone());
    assert!(mounts.unwrap_or_default().iter().any(|v| v.secret.is_some()));
    std::fs::write(&file, "second")?;
    secret("second").await?;
    eventually("the brokers are rolled", WAIT_TIMEOUT, || async {
        let now = ns.object::<Deployment>("orders", |_| true).await?;
        ensure!(hash(&now) != hash(&before), "the same hash");
        anyhow::Ok(())
    })
    .await
}

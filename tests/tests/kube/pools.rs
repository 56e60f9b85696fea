//! Pools with a real API server and a real broker: which channels they serve, and how a channel moves there and back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::{channel::EventChannel, pool::BrokerPool};
use eventcast_tests::{
    eventually,
    http::created,
    init_tracing,
    kube::temp_namespace,
    namespace::{self, TestNamespace, WAIT_TIMEOUT},
    operator::{Operator, Options},
    pool_brokers::PoolBrokers,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod, Service, ServiceAccount},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const POOL: &str = "shared";

async fn apply_pool(client: &Client, namespace: &str, spec: Value) -> Result<BrokerPool> {
    let object = json!({
        "apiVersion": "eventcast.dev/v1alpha1", "kind": "BrokerPool",
        "metadata": {"name": POOL}, "spec": spec,
    });
    let api: Api<BrokerPool> = Api::namespaced(client.clone(), namespace);
    let params = PatchParams::apply("a-person").force();
    Ok(api.patch(POOL, &params, &Patch::Apply(object)).await?)
}

/// A channel that everybody may use. NATS reserves the size of its stream.
fn open() -> Value {
    json!({
        "access": {"anonymous": ["Subscribe", "Publish"]}, "retention": {"maxBytes": 1 << 20},
    })
}

fn pooled() -> Value {
    let mut spec = open();
    spec["brokers"] = json!({"pool": {"name": POOL}});
    spec
}

/// Waits until the pool serves so many channels.
async fn serves(ns: &TestNamespace, channels: i64) -> Result<BrokerPool> {
    eventually(&format!("the pool serves {channels} channels"), WAIT_TIMEOUT, || async {
        let pool = ns.api::<BrokerPool>().get(POOL).await?;
        let status = pool.status.clone().unwrap_or_default();
        ensure!(status.channels == channels, "{status:?}");
        anyhow::Ok(pool)
    })
    .await
}

/// The component that the Service of a channel selects: `broker` are its own brokers.
async fn selected(ns: &TestNamespace, channel: &str) -> Result<String> {
    let service = ns.api::<Service>().get(&format!("{channel}-broker")).await?;
    let selector = service.spec.and_then(|spec| spec.selector).unwrap_or_default();
    selector.get("app.kubernetes.io/component").cloned().context("no component")
}

async fn is_selected(ns: &TestNamespace, channel: &str, component: &str) -> Result<()> {
    eventually(&format!("{channel} is served by {component}"), WAIT_TIMEOUT, || async {
        let found = selected(ns, channel).await?;
        ensure!(found == component, "it is served by {found}");
        anyhow::Ok(())
    })
    .await
}

/// The entry of a channel in the files of the pool.
async fn entry(ns: &TestNamespace, channel: &str) -> Result<Option<Value>> {
    let params = ListParams::default().labels(&format!("eventcast.dev/pool={POOL}"));
    let maps = ns.api::<ConfigMap>().list(&params).await?;
    for text in maps.into_iter().flat_map(|map| map.data.unwrap_or_default().into_values()) {
        let Ok(file) = serde_json::from_str::<Value>(&text) else { continue };
        let channels = file["channels"].as_array().cloned().unwrap_or_default();
        if let Some(entry) = channels.into_iter().find(|entry| entry["name"] == channel) {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// Starts the only broker of the pool.
async fn start_broker(ns: &TestNamespace) -> Result<PoolBrokers> {
    PoolBrokers::start(&ns.client, &ns.nats.url(), &ns.name, POOL, 1).await
}

async fn publish(pool: &PoolBrokers, namespace: &str, channel: &str) -> Result<()> {
    let url = pool.brokers[0].url(&format!("/channels/{namespace}/{channel}/events"));
    created(&url, "hello", &[]).await?;
    Ok(())
}

#[tokio::test]
async fn channels_of_a_pool_share_its_brokers() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    apply_pool(&ns.client, &ns.name, json!({})).await?;
    ns.apply("a", pooled()).await?;
    ns.apply("b", pooled()).await?;
    ns.condition("a", "Available", "False", "WaitingForBrokers").await?;
    let broker = start_broker(&ns).await?;
    ns.condition("a", "Ready", "True", "Ready").await?;
    ns.condition("b", "Available", "True", "BrokersReady").await?;
    publish(&broker, &ns.name, "a").await?;

    is_selected(&ns, "a", "broker-pool").await?;
    assert!(ns.api::<Deployment>().get_opt("a-broker").await?.is_none());
    assert!(ns.api::<ConfigMap>().get_opt("a-broker").await?.is_none());
    assert!(ns.api::<ServiceAccount>().get_opt("a-broker").await?.is_none());
    let status = ns.api::<EventChannel>().get("a").await?.status.unwrap_or_default();
    assert_eq!(status.brokers.as_deref(), Some("1/1"));
    assert_eq!(status.pool.map(|pool| pool.name).as_deref(), Some(POOL));
    let url = format!("http://a-broker.{}.svc.cluster.local/channels/{0}/a/events", ns.name);
    assert_eq!(status.url, Some(url));
    let pool = serves(&ns, 2).await?.status.unwrap_or_default();
    let ready = pool.conditions.iter().find(|c| c.type_ == "Ready").context("no condition")?;
    assert_eq!((&*ready.status, pool.brokers.as_deref()), ("True", Some("1/1")));

    // A change of a channel reaches the brokers without a restart.
    let mut changed = pooled();
    changed["delivery"] = json!({"heartbeatSeconds": 7});
    ns.apply("a", changed).await?;
    eventually("the broker serves the new generation", WAIT_TIMEOUT, || async {
        let text = reqwest::get(broker.brokers[0].admin_url("/state")).await?.text().await?;
        let state: Value = serde_json::from_str(&text)?;
        let reports = state["channels"].as_array().cloned().unwrap_or_default();
        let key = format!("{}/a", ns.name);
        let report = reports.iter().find(|r| r["channel"] == *key).context("no report")?;
        ensure!(report["generation"] == 2, "{report}");
        anyhow::Ok(())
    })
    .await?;
    ns.delete("b").await?;
    serves(&ns, 1).await?;
    assert_eq!(entry(&ns, "b").await?, None);
    Ok(())
}

#[tokio::test]
async fn two_hundred_channels_leave_the_pods_as_they_are_and_then_nothing_is_written() -> Result<()>
{
    init_tracing();
    let ns = TestNamespace::start().await?;
    apply_pool(&ns.client, &ns.name, json!({})).await?;
    let broker = start_broker(&ns).await?;
    let deployments = ns.api::<Deployment>();
    let before = deployments.get("shared-pool").await?;
    stream::iter(0..200)
        .map(|i| {
            let ns = &ns;
            async move { ns.apply(&format!("c{i}"), pooled()).await }
        })
        .buffer_unordered(16)
        .try_collect::<Vec<_>>()
        .await?;
    serves(&ns, 200).await?;
    eventually("all are ready", WAIT_TIMEOUT, || async {
        let channels = ns.api::<EventChannel>().list(&ListParams::default()).await?;
        let is_ready = |channel: &EventChannel| {
            let conditions = channel.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
        };
        let ready = channels.iter().filter(|channel| is_ready(channel)).count();
        ensure!(ready == 200, "{ready} are");
        anyhow::Ok(())
    })
    .await?;
    publish(&broker, &ns.name, "c199").await?;
    let after = deployments.get("shared-pool").await?;
    assert_eq!(after.metadata.generation, before.metadata.generation, "no rollout");
    let names = deployments.list_metadata(&ListParams::default()).await?;
    assert_eq!(names.items.len(), 1, "no other brokers");

    let writes = || async {
        let metrics = ns.operator.metrics().await?;
        anyhow::Ok(metrics.metric("eventcast_operator_api_writes_total", &[]))
    };
    sleep(Duration::from_secs(20)).await;
    let quiet = writes().await?;
    assert!(quiet > 600.0, "a Service, a stream and a status of each channel: {quiet}");
    sleep(Duration::from_secs(20)).await;
    assert_eq!(writes().await?, quiet, "nothing has changed");
    Ok(())
}

#[tokio::test]
async fn both_sides_must_agree() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    ns.apply("a", pooled()).await?;
    ns.condition("a", "Accepted", "False", "PoolMissing").await?;
    apply_pool(&ns.client, &ns.name, json!({"channels": {"max": 1}})).await?;
    ns.condition("a", "Accepted", "True", "Accepted").await?;
    serves(&ns, 1).await?;
    ns.apply("b", pooled()).await?;
    ns.condition("b", "Accepted", "False", "PoolFull").await?;
    assert_eq!(entry(&ns, "b").await?, None);
    ns.event("b", "PoolFull").await?;
    ns.delete("a").await?;
    ns.condition("b", "Accepted", "True", "Accepted").await?;

    apply_pool(&ns.client, &ns.name, json!({})).await?;
    let mut secret = pooled();
    secret["access"] = json!({"tokens": [
        {"issuer": "i", "audience": "a", "keySecret": {"name": "keys", "key": "jwks.json"}},
    ]});
    ns.apply("c", secret).await?;
    ns.condition("c", "Accepted", "False", "SecretNotInPool").await?;
    ns.apply("c", pooled()).await?;
    ns.condition("c", "Accepted", "True", "Accepted").await?;
    serves(&ns, 2).await?;
    Ok(())
}

#[tokio::test]
async fn a_pool_may_accept_channels_of_other_namespaces() -> Result<()> {
    init_tracing();
    let mut ns = TestNamespace::start().await?;
    let other = temp_namespace(&ns.client).await?;
    ns.operator.kill9()?;
    ns.operator = Operator::start(Options {
        watch: format!("{},{other}", ns.name),
        ..Options::of(ns.cluster.admin_kubeconfig(), &ns.nats, &ns.name)
    })
    .await?;
    apply_pool(&ns.client, &ns.name, json!({})).await?;
    let spec = |more: Value| {
        let mut spec = open();
        spec["brokers"] = json!({"pool": {"name": POOL, "namespace": ns.name}});
        spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        spec
    };
    let client = &ns.client;
    namespace::apply(client, &other, "a", spec(json!({}))).await?;
    let channels: Api<EventChannel> = Api::namespaced(client.clone(), &other);
    let has = |type_: &'static str, reason: &'static str| {
        let channels = &channels;
        async move {
            eventually(&format!("{type_} {reason}"), WAIT_TIMEOUT, || async {
                let status = channels.get("a").await?.status.unwrap_or_default();
                let found = status.conditions.iter().find(|c| c.type_ == type_);
                ensure!(found.is_some_and(|c| c.reason == reason), "{found:?}");
                anyhow::Ok(status)
            })
            .await
        }
    };
    has("Accepted", "NotAllowedByPool").await?;
    let services: Api<Service> = Api::namespaced(client.clone(), &other);
    assert!(services.get_opt("a-broker").await?.is_none());

    let labelled = json!({"channels": {"namespaces": {
        "from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": other}},
    }}});
    apply_pool(client, &ns.name, labelled).await?;
    has("Accepted", "Accepted").await?;
    let broker = start_broker(&ns).await?;
    let status = has("Ready", "Ready").await?;
    publish(&broker, &other, "a").await?;
    let host = format!("shared-pool.{}.svc.cluster.local", ns.name);
    let service = services.get("a-broker").await?.spec.unwrap_or_default();
    assert_eq!(
        (service.type_.as_deref(), service.external_name),
        (Some("ExternalName"), Some(host))
    );
    let url = format!("http://a-broker.{other}.svc.cluster.local/channels/{other}/a/events");
    assert_eq!(status.url, Some(url));

    let exposed = spec(json!({"exposure": {"ingress": {"host": "a.example"}}}));
    namespace::apply(client, &other, "a", exposed).await?;
    has("Accepted", "NotInPool").await?;
    namespace::apply(client, &other, "a", spec(json!({}))).await?;
    has("Accepted", "Accepted").await?;
    apply_pool(client, &ns.name, json!({})).await?;
    has("Accepted", "NotAllowedByPool").await?;
    serves(&ns, 0).await?;
    Ok(())
}

#[tokio::test]
async fn a_channel_moves_into_a_pool_and_back() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    ns.apply("a", open()).await?;
    ns.settled("a").await?;
    ns.make_ready("a").await?;
    ns.condition("a", "Available", "True", "BrokersReady").await?;
    apply_pool(&ns.client, &ns.name, json!({"brokers": {"drainSeconds": 1}})).await?;
    ns.apply("a", pooled()).await?;
    serves(&ns, 1).await?;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(selected(&ns, "a").await?, "broker", "no broker of the pool serves it yet");

    let broker = start_broker(&ns).await?;
    is_selected(&ns, "a", "broker-pool").await?;
    let switched = Instant::now();
    let deployments = ns.api::<Deployment>();
    sleep(Duration::from_secs(7)).await;
    assert!(deployments.get_opt("a-broker").await?.is_some(), "clients may not have noticed yet");
    eventually("its own brokers are gone", WAIT_TIMEOUT, || async {
        ensure!(deployments.get_opt("a-broker").await?.is_none(), "they are there");
        anyhow::Ok(())
    })
    .await?;
    ensure!(switched.elapsed() < Duration::from_secs(20), "after {:?}", switched.elapsed());
    ns.condition("a", "Ready", "True", "Ready").await?;
    publish(&broker, &ns.name, "a").await?;
    let epoch = |channel: EventChannel| channel.status.and_then(|s| s.stream).map(|s| s.epoch);
    let before = epoch(ns.api::<EventChannel>().get("a").await?);

    ns.apply("a", open()).await?;
    eventually("it has brokers again", WAIT_TIMEOUT, || async {
        anyhow::Ok(deployments.get("a-broker").await?)
    })
    .await?;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(selected(&ns, "a").await?, "broker-pool", "its brokers are not ready");
    ns.make_ready("a").await?;
    is_selected(&ns, "a", "broker").await?;
    let served = entry(&ns, "a").await?.context("no entry")?;
    assert_eq!(served.get("leaving"), None, "{served}");
    eventually("it leaves the pool", WAIT_TIMEOUT, || async {
        let entry = entry(&ns, "a").await?.context("no entry")?;
        ensure!(entry["leaving"] == true, "{entry}");
        anyhow::Ok(())
    })
    .await?;
    let status = ns.api::<EventChannel>().get("a").await?;
    let moved = status.status.clone().and_then(|status| status.moved).context("not moved")?;
    assert_eq!(moved.from.map(|pool| pool.name).as_deref(), Some(POOL));
    assert_eq!(epoch(status), before, "cursors stay valid");
    serves(&ns, 0).await?;
    Ok(())
}

#[tokio::test]
async fn what_is_invalid_stays_as_it_is_and_goes_on() -> Result<()> {
    init_tracing();
    let mut ns = TestNamespace::start().await?;
    apply_pool(&ns.client, &ns.name, json!({})).await?;
    ns.apply("a", pooled()).await?;
    let broker = start_broker(&ns).await?;
    ns.condition("a", "Ready", "True", "Ready").await?;
    let broken = json!({"brokers": {"podTemplate": {"spec": {"colour": "red"}}}});
    apply_pool(&ns.client, &ns.name, broken).await?;
    let pools = ns.api::<BrokerPool>();
    eventually("the pool is not accepted", WAIT_TIMEOUT, || async {
        let status = pools.get(POOL).await?.status.unwrap_or_default();
        let accepted = status.conditions.iter().find(|c| c.type_ == "Accepted");
        ensure!(accepted.is_some_and(|c| c.reason == "InvalidSpec"), "{status:?}");
        anyhow::Ok(())
    })
    .await?;
    ns.condition("a", "Ready", "True", "Ready").await?;
    publish(&broker, &ns.name, "a").await?;
    apply_pool(&ns.client, &ns.name, json!({})).await?;

    // As if the operator had become stricter: it cannot use the spec of a channel that it has served.
    let mut invalid = pooled();
    invalid["access"]["allowedOrigins"] = json!(["https://a.example:99999"]);
    ns.apply("a", invalid).await?;
    ns.condition("a", "Accepted", "False", "InvalidSpec").await?;
    ns.operator.relaunch()?;
    ns.operator.leads(WAIT_TIMEOUT).await?;
    ns.apply("b", pooled()).await?;
    ns.condition("b", "Ready", "True", "Ready").await?;
    let kept = entry(&ns, "a").await?.context("it is not served any more")?;
    assert_eq!(kept["generation"], 1);
    publish(&broker, &ns.name, "a").await?;
    ns.delete("b").await?;
    ns.apply("a", pooled()).await?;
    ns.condition("a", "Ready", "True", "Ready").await?;
    ns.api::<Pod>().delete("shared-pool-0", &DeleteParams::default().grace_period(0)).await?;
    ns.condition("a", "Available", "False", "WaitingForBrokers").await?;
    pools.delete(POOL, &DeleteParams::default()).await?;
    ns.condition("a", "Accepted", "False", "PoolMissing").await?;
    let names = ns.api::<Deployment>().list(&ListParams::default()).await?;
    let names: Vec<_> = names.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["shared-pool"], "the garbage collector removes it");
    Ok(())
}

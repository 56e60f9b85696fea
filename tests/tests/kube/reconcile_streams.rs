//! The stream of a channel: kept, deleted, found again, adopted, rejected. Data is never touched unless a user asked for it.

use anyhow::{Result, ensure};
use eventcast_crds::channel::EventChannel;
use eventcast_tests::{
    eventually, init_tracing,
    namespace::{TestNamespace, WAIT_TIMEOUT},
};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// Waits until the channel is gone.
async fn gone(ns: &TestNamespace, name: &str) -> Result<()> {
    eventually("the channel is gone", WAIT_TIMEOUT, || async {
        ensure!(ns.api::<EventChannel>().get_opt(name).await?.is_none(), "it is there");
        anyhow::Ok(())
    })
    .await
}

async fn publish(ns: &TestNamespace, name: &str) -> Result<u64> {
    let jetstream = ns.nats.jetstream().await?;
    let subject = format!("sse.{}.{name}.all", ns.name);
    Ok(jetstream.publish(subject, "kept".into()).await?.await?.sequence)
}

async fn messages(ns: &TestNamespace, stream: &str) -> Result<u64> {
    let jetstream = ns.nats.jetstream().await?;
    Ok(jetstream.get_stream(stream).await?.cached_info().state.messages)
}

#[tokio::test]
async fn a_channel_that_is_deleted_leaves_its_events_and_finds_them_again() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    ns.apply("orders", json!({})).await?;
    ns.settled("orders").await?;
    publish(&ns, "orders").await?;
    let before = ns.stream("orders").await?;
    let channel = ns.api::<EventChannel>().get("orders").await?;
    assert!(channel.metadata.finalizers.is_none(), "nothing holds it");
    ns.delete("orders").await?;
    gone(&ns, "orders").await?;
    ns.apply("orders", json!({})).await?;
    ns.settled("orders").await?;
    let after = ns.stream("orders").await?;
    assert_eq!(after.metadata["sse.epoch"], before.metadata["sse.epoch"], "cursors go on");
    assert_ne!(after.metadata["eventcast.dev/uid"], before.metadata["eventcast.dev/uid"]);
    assert_eq!(messages(&ns, &after.name).await?, 1);
    // So do its brokers, which no garbage collector was quick enough to find.
    let again = ns.api::<EventChannel>().get("orders").await?.metadata.uid;
    let owners = |d: &Deployment| d.metadata.owner_references.clone().unwrap_or_default();
    ns.object::<Deployment>("orders", |d| {
        owners(d).len() == 1 && Some(&owners(d)[0].uid) == again.as_ref()
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_channel_with_the_policy_delete_deletes_its_stream() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    ns.apply("orders", json!({"deletionPolicy": "Delete"})).await?;
    ns.settled("orders").await?;
    let finalizers = || async {
        anyhow::Ok(
            ns.api::<EventChannel>().get("orders").await?.metadata.finalizers.unwrap_or_default(),
        )
    };
    assert_eq!(finalizers().await?, ["eventcast.dev/stream"]);
    // the finalizer is there exactly while it is wanted
    ns.apply("orders", json!({"deletionPolicy": "Retain"})).await?;
    ns.settled("orders").await?;
    assert!(finalizers().await?.is_empty());
    ns.apply("orders", json!({"deletionPolicy": "Delete"})).await?;
    ns.settled("orders").await?;
    ns.delete("orders").await?;
    gone(&ns, "orders").await?;
    ensure!(ns.stream("orders").await.is_err(), "the stream is still there");
    Ok(())
}

#[tokio::test]
async fn a_deletion_waits_for_nats_and_can_be_let_go() -> Result<()> {
    init_tracing();
    let mut ns = TestNamespace::start().await?;
    for name in ["waits", "leaves"] {
        ns.apply(name, json!({"deletionPolicy": "Delete"})).await?;
        ns.settled(name).await?;
    }
    ns.nats.kill9()?;
    for name in ["waits", "leaves"] {
        ns.delete(name).await?;
    }
    for name in ["waits", "leaves"] {
        ns.event(name, "FinalizerBlocked").await?;
    }
    let patch = json!({"spec": {"deletionPolicy": "Retain"}});
    ns.api::<EventChannel>().patch("leaves", &PatchParams::default(), &Patch::Merge(patch)).await?;
    gone(&ns, "leaves").await?;
    assert!(ns.api::<EventChannel>().get_opt("waits").await?.is_some());
    ns.nats.restart().await?;
    gone(&ns, "waits").await?;
    ensure!(ns.stream("waits").await.is_err(), "the stream is still there");
    ns.stream("leaves").await?;
    Ok(())
}

#[tokio::test]
async fn a_stream_of_somebody_else_is_taken_only_where_the_channel_says_so() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    let jetstream = ns.nats.jetstream().await?;
    let theirs = async_nats::jetstream::stream::Config {
        name: "LEGACY".into(),
        subjects: vec!["legacy.>".into()],
        ..Default::default()
    };
    jetstream.create_stream(theirs).await?;
    jetstream.publish("legacy.a", "old".into()).await?.await?;
    ns.apply("orders", json!({"stream": {"name": "LEGACY"}})).await?;
    let condition = ns.condition("orders", "StreamReady", "False", "NotOwned").await?;
    assert!(condition.message.contains("adoptionPolicy: Adopt"), "{}", condition.message);
    let config =
        || async { anyhow::Ok(jetstream.get_stream("LEGACY").await?.cached_info().config.clone()) };
    assert_eq!(config().await?.subjects, ["legacy.>"]);
    let deployments = ns.api::<Deployment>();
    assert!(
        deployments.get_opt("orders-broker").await?.is_none(),
        "nobody serves what is not ours"
    );

    ns.apply("orders", json!({"stream": {"name": "LEGACY", "adoptionPolicy": "Adopt"}})).await?;
    ns.settled("orders").await?;
    let adopted = config().await?;
    assert_eq!(adopted.subjects.len(), 3, "{:?}", adopted.subjects);
    assert!(adopted.allow_direct);
    assert_eq!(messages(&ns, "LEGACY").await?, 1);
    ns.event("orders", "StreamAdopted").await?;

    // Another channel's stream cannot be adopted, whatever the policy.
    ns.apply("thief", json!({"stream": {"name": "LEGACY", "adoptionPolicy": "Adopt"}})).await?;
    let condition = ns.condition("thief", "StreamReady", "False", "NotOwned").await?;
    assert!(condition.message.contains(&format!("{}/orders", ns.name)), "{}", condition.message);
    Ok(())
}

#[tokio::test]
async fn errors_of_jetstream_are_reported_and_nothing_is_lost() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    ns.apply("large", json!({"retention": {"maxBytes": 1_u64 << 40}})).await?;
    let condition = ns.condition("large", "StreamReady", "False", "QuotaExceeded").await?;
    assert!(condition.message.contains("retention.maxBytes"), "{}", condition.message);
    ns.apply("many", json!({"retention": {"replicas": 3}})).await?;
    ns.condition("many", "StreamReady", "False", "TooFewServers").await?;
    ns.apply("orders", json!({})).await?;
    ns.settled("orders").await?;
    ns.apply("overlaps", json!({"stream": {"subjectPrefix": format!("sse.{}.orders", ns.name)}}))
        .await?;
    ns.condition("overlaps", "StreamReady", "False", "SubjectConflict").await?;
    // A failed change leaves what is there, and the next good one heals it.
    publish(&ns, "orders").await?;
    ns.apply("orders", json!({"retention": {"replicas": 5}})).await?;
    ns.condition("orders", "StreamReady", "False", "TooFewServers").await?;
    assert_eq!(messages(&ns, &ns.stream("orders").await?.name).await?, 1);
    ns.apply("orders", json!({"retention": {"replicas": 1}})).await?;
    ns.settled("orders").await
}

#[tokio::test]
async fn a_deleted_stream_is_recreated_and_its_loss_is_reported() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start_with(&["--resync-seconds=1"]).await?;
    ns.apply("orders", json!({})).await?;
    ns.settled("orders").await?;
    let before = ns.stream("orders").await?;
    ns.nats.jetstream().await?.delete_stream(&before.name).await?;
    eventually("another stream", WAIT_TIMEOUT, || async {
        let after = ns.stream("orders").await?;
        ensure!(after.metadata["sse.epoch"] != before.metadata["sse.epoch"], "the same epoch");
        anyhow::Ok(())
    })
    .await?;
    ns.event("orders", "StreamRecreated").await
}

//! A channel and its stream: kept, deleted, found again, adopted, refused. Data is never touched unless somebody asked for it.

use anyhow::{Result, ensure};
use eventcast_crds::channel::EventChannel;
use eventcast_tests::{
    eventually, init_tracing,
    lab::{Lab, SOON},
};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// Waits until the channel is gone.
async fn gone(lab: &Lab, name: &str) -> Result<()> {
    eventually("the channel is gone", SOON, || async {
        ensure!(lab.api::<EventChannel>().get_opt(name).await?.is_none(), "it is there");
        anyhow::Ok(())
    })
    .await
}

async fn publish(lab: &Lab, name: &str) -> Result<u64> {
    let jetstream = lab.nats.jetstream().await?;
    let subject = format!("sse.{}.{name}.all", lab.namespace);
    Ok(jetstream.publish(subject, "kept".into()).await?.await?.sequence)
}

async fn messages(lab: &Lab, stream: &str) -> Result<u64> {
    let jetstream = lab.nats.jetstream().await?;
    Ok(jetstream.get_stream(stream).await?.cached_info().state.messages)
}

#[tokio::test]
async fn a_channel_that_is_deleted_leaves_its_events_and_finds_them_again() -> Result<()> {
    init_tracing();
    let lab = Lab::start().await?;
    lab.apply("orders", json!({})).await?;
    lab.settled("orders").await?;
    publish(&lab, "orders").await?;
    let before = lab.stream("orders").await?;
    let channel = lab.api::<EventChannel>().get("orders").await?;
    assert!(channel.metadata.finalizers.is_none(), "nothing holds it");
    lab.delete("orders").await?;
    gone(&lab, "orders").await?;
    lab.apply("orders", json!({})).await?;
    lab.settled("orders").await?;
    let after = lab.stream("orders").await?;
    assert_eq!(after.metadata["sse.epoch"], before.metadata["sse.epoch"], "cursors go on");
    assert_ne!(after.metadata["eventcast.dev/uid"], before.metadata["eventcast.dev/uid"]);
    assert_eq!(messages(&lab, &after.name).await?, 1);
    // So do its brokers, which no garbage collector was quick enough to find.
    let again = lab.api::<EventChannel>().get("orders").await?.metadata.uid;
    let owners = |d: &Deployment| d.metadata.owner_references.clone().unwrap_or_default();
    lab.object::<Deployment>("orders", |d| {
        owners(d).len() == 1 && Some(&owners(d)[0].uid) == again.as_ref()
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_channel_with_the_policy_delete_takes_its_stream_along() -> Result<()> {
    init_tracing();
    let lab = Lab::start().await?;
    lab.apply("orders", json!({"deletionPolicy": "Delete"})).await?;
    lab.settled("orders").await?;
    let finalizers = || async {
        anyhow::Ok(
            lab.api::<EventChannel>().get("orders").await?.metadata.finalizers.unwrap_or_default(),
        )
    };
    assert_eq!(finalizers().await?, ["eventcast.dev/stream"]);
    // the finalizer is there exactly while it is wanted
    lab.apply("orders", json!({"deletionPolicy": "Retain"})).await?;
    lab.settled("orders").await?;
    assert!(finalizers().await?.is_empty());
    lab.apply("orders", json!({"deletionPolicy": "Delete"})).await?;
    lab.settled("orders").await?;
    lab.delete("orders").await?;
    gone(&lab, "orders").await?;
    ensure!(lab.stream("orders").await.is_err(), "the stream is still there");
    Ok(())
}

#[tokio::test]
async fn a_deletion_waits_for_nats_and_can_be_let_go() -> Result<()> {
    init_tracing();
    let mut lab = Lab::start().await?;
    for name in ["waits", "leaves"] {
        lab.apply(name, json!({"deletionPolicy": "Delete"})).await?;
        lab.settled(name).await?;
    }
    lab.nats.kill9()?;
    for name in ["waits", "leaves"] {
        lab.delete(name).await?;
    }
    for name in ["waits", "leaves"] {
        eventually("the Event that says what to do", SOON, || async {
            ensure!(lab.events(name).await?.contains(&"FinalizerBlocked".to_owned()), "not told");
            anyhow::Ok(())
        })
        .await?;
    }
    let patch = json!({"spec": {"deletionPolicy": "Retain"}});
    lab.api::<EventChannel>()
        .patch("leaves", &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    gone(&lab, "leaves").await?;
    assert!(lab.api::<EventChannel>().get_opt("waits").await?.is_some());
    lab.nats.restart().await?;
    gone(&lab, "waits").await?;
    ensure!(lab.stream("waits").await.is_err(), "the stream is still there");
    lab.stream("leaves").await?;
    Ok(())
}

#[tokio::test]
async fn a_stream_of_somebody_else_is_taken_only_where_the_channel_says_so() -> Result<()> {
    init_tracing();
    let lab = Lab::start().await?;
    let jetstream = lab.nats.jetstream().await?;
    let theirs = async_nats::jetstream::stream::Config {
        name: "LEGACY".into(),
        subjects: vec!["legacy.>".into()],
        ..Default::default()
    };
    jetstream.create_stream(theirs).await?;
    jetstream.publish("legacy.a", "old".into()).await?.await?;
    lab.apply("orders", json!({"stream": {"name": "LEGACY"}})).await?;
    let condition = lab.condition("orders", "StreamReady", "False", "NotOwned").await?;
    assert!(condition.message.contains("adoptionPolicy: Adopt"), "{}", condition.message);
    let config =
        || async { anyhow::Ok(jetstream.get_stream("LEGACY").await?.cached_info().config.clone()) };
    assert_eq!(config().await?.subjects, ["legacy.>"]);
    let deployments = lab.api::<Deployment>();
    assert!(
        deployments.get_opt("orders-broker").await?.is_none(),
        "nobody serves what is not ours"
    );

    lab.apply("orders", json!({"stream": {"name": "LEGACY", "adoptionPolicy": "Adopt"}})).await?;
    lab.settled("orders").await?;
    let adopted = config().await?;
    assert_eq!(adopted.subjects.len(), 3, "{:?}", adopted.subjects);
    assert!(adopted.allow_direct);
    assert_eq!(messages(&lab, "LEGACY").await?, 1);
    assert!(lab.events("orders").await?.contains(&"StreamAdopted".to_owned()));

    // Nor is another channel's stream to be had, by whatever policy.
    lab.apply("thief", json!({"stream": {"name": "LEGACY", "adoptionPolicy": "Adopt"}})).await?;
    let condition = lab.condition("thief", "StreamReady", "False", "NotOwned").await?;
    assert!(
        condition.message.contains(&format!("{}/orders", lab.namespace)),
        "{}",
        condition.message
    );
    Ok(())
}

#[tokio::test]
async fn what_jetstream_refuses_is_told_and_nothing_is_lost() -> Result<()> {
    init_tracing();
    let lab = Lab::start().await?;
    lab.apply("large", json!({"retention": {"maxBytes": 1_u64 << 40}})).await?;
    let condition = lab.condition("large", "StreamReady", "False", "QuotaExceeded").await?;
    assert!(condition.message.contains("retention.maxBytes"), "{}", condition.message);
    lab.apply("many", json!({"retention": {"replicas": 3}})).await?;
    lab.condition("many", "StreamReady", "False", "TooFewServers").await?;
    lab.apply("orders", json!({})).await?;
    lab.settled("orders").await?;
    lab.apply(
        "overlaps",
        json!({"stream": {"subjectPrefix": format!("sse.{}.orders", lab.namespace)}}),
    )
    .await?;
    lab.condition("overlaps", "StreamReady", "False", "SubjectConflict").await?;
    // A failed change leaves what is there, and the next good one heals it.
    publish(&lab, "orders").await?;
    lab.apply("orders", json!({"retention": {"replicas": 5}})).await?;
    lab.condition("orders", "StreamReady", "False", "TooFewServers").await?;
    assert_eq!(messages(&lab, &lab.stream("orders").await?.name).await?, 1);
    lab.apply("orders", json!({"retention": {"replicas": 1}})).await?;
    lab.settled("orders").await
}

#[tokio::test]
async fn a_stream_that_was_deleted_is_made_anew_and_its_loss_is_told() -> Result<()> {
    init_tracing();
    let lab = Lab::start_with(&["--resync-seconds=1"]).await?;
    lab.apply("orders", json!({})).await?;
    lab.settled("orders").await?;
    let before = lab.stream("orders").await?;
    lab.nats.jetstream().await?.delete_stream(&before.name).await?;
    eventually("another stream", SOON, || async {
        let after = lab.stream("orders").await?;
        ensure!(after.metadata["sse.epoch"] != before.metadata["sse.epoch"], "the same epoch");
        anyhow::Ok(())
    })
    .await?;
    eventually("the Event", SOON, || async {
        ensure!(lab.events("orders").await?.contains(&"StreamRecreated".to_owned()), "not told");
        anyhow::Ok(())
    })
    .await
}

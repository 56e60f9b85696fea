//! What stands in the way of a channel is a condition with a reason and a message that a person can act on.

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    e2e::{Channel, WAIT_TIMEOUT, scenario},
    eventually,
};
use serde_json::{Value, json};

/// Waits until the condition of this type has this reason, and a message with all of these words.
pub(crate) async fn says(
    channel: &Channel<'_>,
    kind: &str,
    reason: &str,
    words: &[&str],
) -> Result<()> {
    eventually(&format!("{kind}: {reason}"), WAIT_TIMEOUT, || async {
        let object = channel.get("evch/demo").await?;
        let conditions = object["status"]["conditions"].as_array().context("no conditions")?;
        let found = conditions.iter().find(|condition| condition["type"] == kind);
        let found = found.with_context(|| format!("no {kind} in {conditions:?}"))?;
        let message = found["message"].as_str().unwrap_or_default();
        ensure!(found["reason"] == reason, "{found}");
        ensure!(words.iter().all(|word| message.contains(word)), "{message}");
        anyhow::Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn a_quota_that_refuses_brokers_is_shown() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let channel = Channel::in_new_namespace(cluster, "quota").await?;
        let quota = |hard: Value| json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": hard}});
        cluster.apply(&channel.namespace, &quota(json!({"requests.memory": "64Mi"})).to_string()).await?;
        channel.apply().await?;
        says(&channel, "Available", "Unschedulable", &["pods cannot be created", "exceeded quota: small", "requests.memory"]).await?;
        // one that asks for processor limits, which brokers have none of on purpose
        cluster.apply(&channel.namespace, &quota(json!({"limits.cpu": "2"})).to_string()).await?;
        channel.kubectl(&["delete", "replicaset", "--all"]).await?;
        says(&channel, "Available", "Unschedulable", &["must specify limits.cpu", "brokers.resources.limits.cpu"]).await?;
        channel.patch(json!({"spec": {"brokers": {"resources": {"limits": {"cpu": "1"}}}}})).await?;
        channel.wait("condition=Ready").await?;
        channel.leave().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn a_missing_image_is_shown_while_the_old_brokers_serve() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let channel = Channel::create(cluster, "image").await?;
        let image = "registry.invalid/eventcast-broker:nowhere";
        channel.patch(json!({"spec": {"brokers": {"image": image}}})).await?;
        says(&channel, "Available", "ImageUnavailable", &[image]).await?;
        channel.wait("condition=Ready").await?;
        let first = Channel::in_new_namespace(cluster, "image2").await?;
        first.apply().await?;
        first.patch(json!({"spec": {"brokers": {"image": image}}})).await?;
        says(&first, "Available", "ImageUnavailable", &[image]).await?;
        first.wait("condition=Ready=False").await?;
        first.leave().await?;
        channel.patch(json!({"spec": {"brokers": {"image": null}}})).await?;
        says(&channel, "Available", "BrokersReady", &[]).await?;
        channel.leave().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn a_wrong_secret_and_a_full_nats_are_shown() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let channel = Channel::create(cluster, "secret").await?;
        let keys = json!({"spec": {"access": {"tokens": [{"issuer": "https://id.example", "audience": "eventcast", "keySecret": {"name": "keys", "key": "jwks.json"}, "subscribe": {"topics": [">"]}}]}}});
        channel.patch(keys).await?;
        says(&channel, "AccessReady", "SecretMissing", &["keys"]).await?;
        let wrong = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"jwks.json": "no keys"}});
        cluster.apply(&channel.namespace, &wrong.to_string()).await?;
        says(&channel, "AccessReady", "KeysInvalid", &["keys"]).await?;
        channel.leave().await?;

        // NATS has 8 GiB by default, and reserves what a channel may hold.
        let large = Channel::in_new_namespace(cluster, "large").await?;
        large.apply().await?;
        large.patch(json!({"spec": {"retention": {"maxBytes": 1_u64 << 40}}})).await?;
        says(&large, "StreamReady", "QuotaExceeded", &[]).await?;
        large.patch(json!({"spec": {"retention": {"maxBytes": 1_u64 << 24}}})).await?;
        large.wait("condition=Ready").await?;
        large.leave().await
    })
    .await
}

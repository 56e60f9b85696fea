//! Upgrading the release from the last one and back, uninstalling it, and installing it again, under hundreds of subscribers.
//!
//! Nothing is released yet: the last release is this tree under an older version number (`Previous`).

use std::path::PathBuf;

use anyhow::{Result, ensure};
use eventcast_tests::{
    e2e::{Channel, Cluster, Disturbances, Previous, chart, scenario, skipped},
    http,
    sse::EventStream,
};
use serde_json::json;

use crate::e2e_install::EVENT_TIMEOUT;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn an_upgrade_a_rollback_and_a_new_installation_lose_nothing() -> Result<()> {
    scenario(async |cluster| {
        let Some(previous) = Previous::of_environment()? else {
            return skipped("upgrade", "EVENTCAST_E2E_PREVIOUS names no chart");
        };
        cluster.remove_all().await?;
        cluster.upgrade(&previous.chart, &[]).await?;
        let channel = Channel::create(cluster, "upgrade").await?;
        channel.patch(json!({"spec": {"brokers": {"replicas": 2, "drainSeconds": 5}}})).await?;
        channel.settled(2).await?;
        ensure!(runs(&channel, &previous.version).await?, "not the version before");
        let run = Disturbances::start(&channel, Disturbances::plan()).await?;
        run.disturb("upgraded by helm", async || {
            let before = channel.template().await?;
            cluster.upgrade(&chart(), &["--reset-then-reuse-values"]).await?;
            channel.rolled(&before).await
        })
        .await?;
        ensure!(!runs(&channel, &previous.version).await?, "still the version before");
        run.disturb("rolled back by helm", async || {
            let before = channel.template().await?;
            cluster.roll_back().await?;
            channel.rolled(&before).await
        })
        .await?;
        ensure!(runs(&channel, &previous.version).await?, "not the version before");
        run.disturb("uninstalled, and installed again (new version)", async || {
            let before = channel.template().await?;
            cluster.uninstall().await?;
            cluster.install().await?;
            channel.rolled(&before).await
        })
        .await?;
        run.finish().await?;
        channel.leave().await
    })
    .await
}

/// Whether the brokers have the image of this version.
async fn runs(channel: &Channel<'_>, version: &str) -> Result<bool> {
    let image = &channel.template().await?["spec"]["containers"][0]["image"];
    Ok(image.as_str().is_some_and(|image| image.ends_with(&format!(":{version}"))))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn kept_data_is_adopted_and_deleted_data_is_gone() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let channel = Channel::create(cluster, "data").await?;
        let reach = channel.reach().await?;
        let cursor = http::created(&reach.events(""), "one", &[]).await?;
        let cursor = cursor.cursor().map(str::to_owned);
        http::created(&reach.events(""), "two", &[]).await?;

        // The channel goes, the stream and the volume stay.
        channel.kubectl(&["delete", "evch/demo", "--timeout=60s"]).await?;
        cluster.uninstall().await?;
        cluster.install().await?;
        channel.apply().await?;
        channel.wait("condition=Ready").await?;
        let reach = channel.reach().await?;
        let mut stream = EventStream::connect(&reach.events(""), cursor.as_deref()).await?;
        let event = stream.next_data(EVENT_TIMEOUT).await?;
        ensure!(event.data == "two", "the old cursor resumed at {:?}", event.raw);

        // Everything goes.
        channel.patch(json!({"spec": {"deletionPolicy": "Delete"}})).await?;
        channel.wait("jsonpath={.metadata.finalizers[0]}").await?;
        channel.kubectl(&["delete", "evch/demo", "--timeout=60s"]).await?;
        cluster.remove_all().await?;
        cluster.install().await?;
        channel.apply().await?;
        channel.wait("condition=Ready").await?;
        let reach = channel.reach().await?;
        http::created(&reach.events(""), "three", &[]).await?;
        let mut stream = EventStream::connect(&reach.events(""), cursor.as_deref()).await?;
        let gap = stream.next_of("eventcast.gap", EVENT_TIMEOUT).await?.json()?;
        ensure!(gap["reason"] == "new-incarnation", "{gap}");
        let event = stream.next_data(EVENT_TIMEOUT).await?;
        ensure!(event.data == "three", "{:?}", event.raw);
        channel.leave().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn helm_4_installs_upgrades_and_uninstalls() -> Result<()> {
    scenario(async |cluster| {
        let Some(helm) = std::env::var_os("EVENTCAST_HELM4").map(PathBuf::from) else {
            return skipped("helm 4", "EVENTCAST_HELM4 names no helm");
        };
        // a release of helm 3 is upgraded by helm 4, too
        cluster.install().await?;
        let with_4: Cluster = cluster.with_helm(helm);
        with_4.upgrade(&chart(), &["--set", "resyncSeconds=500"]).await?;
        with_4.roll_back().await?;
        with_4.uninstall().await?;
        with_4.install().await?;
        let channel = Channel::create(&with_4, "helm4").await?;
        let reach = channel.reach().await?;
        http::created(&reach.events(""), "one", &[]).await?;
        channel.leave().await?;
        // helm 3 need not know it
        with_4.uninstall().await
    })
    .await
}

//! Changes of a channel and of its log under hundreds of subscribers: settings, a shorter retention, an erased event.

use std::{collections::HashSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    cursor::Cursor,
    e2e::{Channel, Disturbances, WAIT_TIMEOUT, scenario},
    eventually, http,
    ledger::Plan,
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn a_setting_and_an_erasure_disturb_no_client() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let channel = Channel::create(cluster, "erased").await?;
        channel.scale(2).await?;
        let before = (channel.template().await?, channel.pods().await?);
        let run = Disturbances::start(&channel, Disturbances::plan()).await?;
        run.disturb("setting changed without a roll", async || {
            channel.patch(json!({"spec": {"delivery": {"heartbeatSeconds": 7}}})).await?;
            eventually("the brokers' configuration has it", WAIT_TIMEOUT, || async {
                let files = channel.get("configmap/demo-broker").await?["data"].to_string();
                ensure!(files.contains("heartbeatSeconds: 7"), "{files}");
                anyhow::Ok(())
            })
            .await
        })
        .await?;
        let reach = channel.reach().await?;
        let events = reach.events("");
        run.disturb("an event erased", async || {
            let cursor = run.ledger.newest().context("no event is acknowledged")?;
            let url = events.replace("/events", &format!("/events/{cursor}"));
            let answer = http::client(http::Version::Http1).delete(url).send().await?;
            ensure!(answer.status() == 204, "{}", answer.status());
            run.ledger.erased(&HashSet::from([Cursor::parse(&cursor)?.sequence]));
            Ok(())
        })
        .await?;
        run.finish().await?;
        ensure!(before == (channel.template().await?, channel.pods().await?), "brokers rolled");
        channel.leave().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn a_shorter_retention_is_a_declared_gap_for_slow_readers() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let channel = Channel::create(cluster, "retention").await?;
        channel.scale(2).await?;
        let plan = Plan {
            retained: false,
            slow: 0.4,
            slow_pause: Duration::from_secs(3),
            stay: Duration::from_secs(15), // who comes back after a second has missed more than twenty events
            padding: 4000,
            ..Disturbances::plan()
        };
        let run = Disturbances::start(&channel, plan).await?;
        run.disturb("retention shortened under slow readers", async || {
            channel.patch(json!({"spec": {"retention": {"maxEvents": 20}}})).await?;
            let reach = channel.reach().await?;
            eventually("the log keeps twenty events", WAIT_TIMEOUT, || async {
                let about = reach.describe().await?;
                ensure!(about["events"].as_u64().is_some_and(|held| held <= 20), "{about}");
                anyhow::Ok(())
            })
            .await
        })
        .await?;
        let report = run.report().await?;
        report.assert_clean();
        let told: Vec<&str> = report.gaps().into_keys().collect();
        ensure!(told == ["expired"], "a gap for another reason, or none: {told:?}");
        let declared: usize = report.costs.iter().map(|cost| cost.declared).sum();
        ensure!(declared > 0, "nothing was declared lost");
        channel.leave().await
    })
    .await
}

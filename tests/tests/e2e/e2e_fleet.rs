//! Many channels with brokers of their own, all of which get another image at once: the operator rolls them a few at a time, and subscribers
//! lose nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    e2e::{Channel, Cluster, Disturbances, Fleet, Previous, Reach, chart, scenario, skipped},
    ledger::{Cost, Plan},
};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

/// How many channels there are, if `EVENTCAST_E2E_FLEET` does not say.
const CHANNELS: usize = 20;
/// How many of them have subscribers.
const WATCHED: usize = 4;
/// For the brokers of one channel, when there are few others: a rollout takes 15 seconds.
const CHANNEL_TIMEOUT: Duration = Duration::from_secs(90);
/// A channel more may take so much longer.
const FURTHER_TIMEOUT: Duration = Duration::from_secs(6);

/// The channel with this number. Its brokers need little.
fn channel(number: usize) -> Value {
    let bytes = if number < WATCHED { 16 << 20 } else { 1 << 20 };
    json!({
        "apiVersion": "eventcast.dev/v1alpha1", "kind": "EventChannel", "metadata": {"name": name(number)},
        "spec": {
            "deletionPolicy": "Delete",
            "retention": {"maxBytes": bytes},
            "access": {"anonymous": ["Subscribe", "Publish"]},
            "brokers": {"drainSeconds": 5, "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}}},
        },
    })
}

fn name(number: usize) -> String {
    format!("c{number}")
}

/// How many channels there are.
fn channels() -> Result<usize> {
    match std::env::var("EVENTCAST_E2E_FLEET") {
        Ok(text) if !text.is_empty() => {
            let count = text.parse().context("EVENTCAST_E2E_FLEET is no number")?;
            ensure!(count >= WATCHED, "EVENTCAST_E2E_FLEET is less than {WATCHED}");
            Ok(count)
        }
        _ => Ok(CHANNELS),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn a_fleet_of_channels_rolls_a_few_at_a_time_and_loses_nothing() -> Result<()> {
    scenario(async |cluster| {
        let Some(previous) = Previous::of_environment()? else {
            return skipped(
                "fleet of channels rolled",
                "EVENTCAST_E2E_PREVIOUS names no other image",
            );
        };
        let count = channels()?;
        let place = Channel::in_new_namespace(cluster, "fleet").await?;
        let namespace = &*place.namespace;
        // The limit of the operator is in the settings, so that the test need not compute it; that for 300 channels is short of a quarter of an hour.
        let limit = 3.max(count / 15);
        let settings = [format!("rollouts.max={limit}"), "rollouts.soakSeconds=10".to_owned()];
        let upgrade = async |further: &[String]| {
            let all = [&settings[..], further].concat();
            let all: Vec<_> = all.iter().flat_map(|setting| ["--set", setting]).collect();
            cluster.upgrade(&chart(), &all).await
        };
        upgrade(&[]).await?;
        let within = CHANNEL_TIMEOUT + FURTHER_TIMEOUT * u32::try_from(count)?;
        let fleet = create(cluster, namespace, count, within).await?;

        let reaches = (0..WATCHED).map(async |n| Reach::to(cluster, namespace, &name(n)).await);
        let reaches = try_join_all(reaches).await?;
        let starts =
            reaches.iter().map(|reach| Disturbances::start_at(vec![reach.events("")], plan()));
        let runs = try_join_all(starts).await?;
        let image = format!("ghcr.io/eventcast/eventcast-broker:{}", previous.version);
        fleet.count(&image);
        let began = Instant::now();
        for run in &runs {
            run.ledger.disturb("fleet rolled");
        }
        upgrade(&[format!("brokers.image.tag={}", previous.version)]).await?;
        fleet.complete(count, &image, within).await?;
        let duration = began.elapsed().as_secs();
        let most = fleet.most();
        try_join_all(runs.iter().map(Disturbances::progress)).await?;

        let rolling = most.rolling;
        let name =
            format!("{count} channels rolled in {duration} s, at most {rolling} at once: image");
        finish(runs, &name).await?;
        eprintln!("{name}; at most {} brokers were unavailable at once", most.unavailable);
        ensure!((1..=limit).contains(&rolling), "{rolling} channels rolled at once, {limit} may");
        ensure!(most.unavailable == 0, "{} brokers were unavailable", most.unavailable);

        remove(&place, within).await?;
        cluster.upgrade(&chart(), &["--reset-values"]).await
    })
    .await
}

/// Subscribers and publishers of one channel.
fn plan() -> Plan {
    Plan {
        subscribers: 25,
        publishers: 2,
        publish_every: Duration::from_millis(150),
        ..Disturbances::plan()
    }
}

/// Creates the channels, and waits until all are ready.
async fn create(
    cluster: &Cluster,
    namespace: &str,
    count: usize,
    within: Duration,
) -> Result<Fleet> {
    let began = Instant::now();
    let channels: Vec<_> = (0..count).map(channel).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": channels});
    cluster.apply(namespace, &list.to_string()).await?;
    let fleet = Fleet::watch(cluster, namespace)?;
    fleet.complete(count, "", within).await?;
    let ready = ["-n", namespace, "wait", "evch", "--all", "--for=condition=Ready"];
    cluster.kubectl(&[&ready[..], &["--timeout=120s"]].concat()).await?;
    eprintln!("{count} channels were ready after {} s", began.elapsed().as_secs());
    Ok(fleet)
}

/// Ends the runs: nothing may be missing. Adds one line for all of them to the table.
async fn finish(runs: Vec<Disturbances>, name: &str) -> Result<()> {
    let reports = try_join_all(runs.into_iter().map(Disturbances::end)).await?;
    let costs = reports.iter().flat_map(|report| &report.costs);
    let all = costs.fold(Cost { name: name.to_owned(), ..Cost::default() }, Cost::with);
    Disturbances::add_to_table(&all)?;
    for report in reports {
        report.assert_nothing_lost();
    }
    Ok(())
}

/// Deletes the channels, and waits until their brokers are gone.
async fn remove(place: &Channel<'_>, within: Duration) -> Result<()> {
    place.kubectl(&["delete", "evch", "--all", "--wait=false"]).await?;
    let began = Instant::now();
    loop {
        let gone = ["wait", "--for=delete", "evch,pod", "--all", "--timeout=120s"];
        match place.kubectl(&gone).await {
            Ok(_) => break,
            Err(error) => ensure!(began.elapsed() < within, "{error:#}"),
        }
    }
    place.kubectl(&["delete", "namespace", &place.namespace, "--wait=false"]).await?;
    Ok(())
}

//! A thousand channels in one broker: what nobody reads costs nothing, and comes at once when somebody does.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::{ChannelConfig, JwkSet, TokenIssuer};
use eventcast_tests::{
    access::{SigningKey, issuer, jwk_set, only},
    broker::Broker,
    channel_folder::ChannelFolder,
    eventually,
    http::{Version, client, created},
    init_tracing,
    metrics::Metrics,
    nats::NatsServer,
    ports,
    sse::{EventStream, Subscribe},
};
use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::pool::{WAIT_TIMEOUT, channel, reported, status, url};

const CHANNELS: usize = 1000;

fn name(number: usize) -> String {
    format!("orders-{number}")
}

fn channels() -> Vec<ChannelConfig> {
    (0..CHANNELS).map(|number| channel(&name(number), 1)).collect()
}

/// A NATS server that says what it does, at the URL.
fn monitored() -> Result<(NatsServer, String)> {
    let port = ports::reserve(1)?[0];
    let monitoring = format!("http: \"127.0.0.1:{port}\"");
    let nats = NatsServer::launch_with("max_outstanding_catchup: 64MB", &monitoring)?;
    Ok((nats, format!("http://127.0.0.1:{port}")))
}

async fn start(nats: &NatsServer, folder: &ChannelFolder) -> Result<Broker> {
    Broker::start(&nats.url(), |config| {
        config.channels.clear();
        config.channels_folder = Some(folder.path().into());
        config.memory.park_after_seconds = Some(2);
    })
    .await
}

pub(super) async fn in_state(broker: &Broker, state: &str, count: usize) -> Result<()> {
    let holds = |metrics: &Metrics| {
        let found = metrics.metric("eventcast_channels", &[("state", state)]);
        ensure!((found - count as f64).abs() < 0.1, "{found} channels are {state}, not {count}");
        Ok(())
    };
    broker.settled("the logs are as expected", WAIT_TIMEOUT, holds).await?;
    Ok(())
}

/// Messages that the server has got and sent so far, and subscriptions of brokers.
async fn traffic(monitoring: &str) -> Result<(u64, u64)> {
    let get = async |path: &str| -> Result<Value> {
        let answer = client(Version::Http1).get(format!("{monitoring}/{path}")).send().await?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    };
    let (server, connections) = (get("varz").await?, get("connz").await?);
    let messages = ["in_msgs", "out_msgs"].map(|key| server[key].as_u64().unwrap_or(u64::MAX));
    let connections = connections["connections"].as_array().context("no connections")?;
    let subscriptions = connections.iter().filter_map(|one| one["subscriptions"].as_u64()).sum();
    Ok((messages.iter().sum(), subscriptions))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_reads_costs_nothing_and_comes_at_once() -> Result<()> {
    const AT_ONCE: usize = 64;
    init_tracing();
    let (nats, monitoring) = monitored()?;
    // Their keys, revocations and quotas cost nothing either.
    let mut all = channels();
    let keys: JwkSet = serde_json::from_value(jwk_set(&[&SigningKey::es256("k")]))?;
    for channel in all.iter_mut().skip(CHANNELS / 2) {
        channel.access = only(vec![TokenIssuer { jwks: Some(keys.clone()), ..issuer() }]);
    }
    let folder = ChannelFolder::new(&all)?;
    let broker = start(&nats, &folder).await?;
    in_state(&broker, "parked", CHANNELS).await?;
    let before = traffic(&monitoring).await?;
    sleep(Duration::from_secs(3)).await; // longer than brokers wait before they tell each other that they are there
    let after = traffic(&monitoring).await?;
    ensure!(before == after, "messages and subscriptions: {before:?}, {after:?}");
    ensure!(after.1 < 20, "{} subscriptions of a broker whose channels are parked", after.1);

    // The first publish creates a stream, later ones need nothing else.
    for number in 0..AT_ONCE {
        created(&url(&broker, &name(number)), "one", &[]).await?;
    }
    in_state(&broker, "parked", CHANNELS).await?;
    created(&url(&broker, &name(0)), "two", &[]).await?;
    in_state(&broker, "parked", CHANNELS).await?;
    let first = async |number: usize| -> Result<(Duration, EventStream)> {
        let (began, url) =
            (Instant::now(), format!("{}?from=earliest", url(&broker, &name(number))));
        let mut stream = EventStream::connect(&url, None).await?;
        ensure!(stream.next_data(WAIT_TIMEOUT).await?.data == "one", "{number}");
        Ok((began.elapsed(), stream))
    };
    let (mut waits, mut streams): (Vec<_>, Vec<_>) =
        try_join_all((0..AT_ONCE).map(first)).await?.into_iter().unzip();
    waits.sort_unstable();
    tracing::info!(
        "the first event for {AT_ONCE} first subscribers at once: p50 {:?}, p99 {:?}",
        waits[AT_ONCE / 2],
        waits[AT_ONCE - 1]
    );
    in_state(&broker, "live", AT_ONCE).await?;
    ensure!(streams[0].next_data(WAIT_TIMEOUT).await?.data == "two");
    drop(streams);
    in_state(&broker, "parked", CHANNELS).await?;
    eventually("nothing is left in NATS", WAIT_TIMEOUT, || async {
        let (_, subscriptions) = traffic(&monitoring).await?;
        ensure!(subscriptions < 20, "{subscriptions} subscriptions");
        anyhow::Ok(())
    })
    .await
}

#[tokio::test]
async fn a_change_of_one_among_many_does_not_disturb_the_others() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start_with("1s").await?;
    let mut all = channels();
    let mut folder = ChannelFolder::new(&all)?;
    let broker = start(&nats, &folder).await?;
    let mut streams = Vec::new();
    for number in 0..20 {
        streams.push(EventStream::connect(&url(&broker, &name(number * 50)), None).await?);
    }
    let resets = async || broker.metric("eventcast_tail_resets_total", &[]).await;
    let before = resets().await?; // streams were created
    all[7].delivery.heartbeat_seconds = 7;
    all[7].generation = Some(2);
    all[50].generation = Some(2); // has a subscriber
    all.remove(8);
    folder.write(&all)?;
    reported(&broker, &name(7), Some(2), false).await?;
    reported(&broker, &name(50), Some(2), false).await?;
    let reports = status(&broker).await?.channels;
    ensure!(reports.len() == CHANNELS - 1, "{}", reports.len());
    ensure!(reports.iter().filter(|report| report.generation == Some(1)).count() == CHANNELS - 3);
    for (number, stream) in streams.iter_mut().enumerate() {
        created(&url(&broker, &name(number * 50)), "one", &[]).await?;
        ensure!(stream.next_data(WAIT_TIMEOUT).await?.data == "one", "{number}");
    }
    let closed = broker.metric("eventcast_disconnects_total", &[]).await?;
    ensure!(closed.abs() < 0.1, "{closed} streams were closed");
    ensure!((resets().await? - before).abs() < 0.1, "a log was read anew");
    Ok(())
}

/// The values of all series of a metric, by channel.
fn by_channel(text: &str, metric: &str) -> Result<BTreeMap<String, f64>> {
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with(&format!("{metric}{{"))) {
        let (_, rest) = line.split_once("channel=\"").context("no channel")?;
        let (channel, _) = rest.split_once('"').context("no channel")?;
        let (_, value) = line.rsplit_once(' ').context("no value")?;
        *found.entry(channel.to_owned()).or_default() += value.parse::<f64>()?;
    }
    Ok(found)
}

#[tokio::test]
async fn a_scrape_of_many_channels_has_those_with_the_most_subscribers() -> Result<()> {
    const ATTACHED: usize = 60;
    init_tracing();
    let nats = NatsServer::start_with("1s").await?;
    let folder = ChannelFolder::new(&channels())?;
    let broker = start(&nats, &folder).await?;
    let scrape = async || -> Result<String> {
        let answer = client(Version::Http1).get(broker.admin_url("/metrics")).send().await?;
        Ok(answer.error_for_status()?.text().await?)
    };
    let parked = scrape().await?;
    ensure!(by_channel(&parked, "eventcast_subscribers")?.keys().collect::<Vec<_>>() == [""]);
    let open = async |number: usize, count: usize| -> Result<Vec<EventStream>> {
        let url = url(&broker, &name(number));
        let request = || Subscribe { url: url.clone(), ..Subscribe::default() };
        try_join_all((0..count).map(|_| EventStream::open(request()))).await
    };
    let mut streams = Vec::new();
    for number in 0..ATTACHED {
        // The last ten have the most.
        streams.push(open(number, if number < ATTACHED - 10 { 1 } else { 6 }).await?);
    }
    let text = scrape().await?;
    tracing::info!(
        "a scrape with {CHANNELS} channels, {ATTACHED} of them attached: {} bytes",
        text.len()
    );
    ensure!(text.len() < 1_000_000, "{} bytes", text.len());
    let subscribers = by_channel(&text, "eventcast_subscribers")?;
    ensure!(subscribers.len() == 51, "50 channels and the rest: {}", subscribers.len());
    ensure!((subscribers[""] - 10.0).abs() < 0.1, "{}", subscribers[""]);
    ensure!((subscribers.values().sum::<f64>() - 110.0).abs() < 0.1, "{subscribers:?}");
    for number in ATTACHED - 10..ATTACHED {
        ensure!(subscribers.contains_key(&format!("shop/{}", name(number))), "{number}");
    }
    // One more subscriber somewhere does not change who is shown.
    let chosen: BTreeSet<_> = subscribers.into_keys().collect();
    streams.extend([open(0, 1).await?, open(49, 1).await?]);
    let again: BTreeSet<_> =
        by_channel(&scrape().await?, "eventcast_subscribers")?.into_keys().collect();
    ensure!(again == chosen, "{:?}", again.symmetric_difference(&chosen).collect::<Vec<_>>());
    // Many more do.
    let hidden = (0..ATTACHED).find(|number| !chosen.contains(&format!("shop/{}", name(*number))));
    let hidden = hidden.context("all are shown")?;
    streams.push(open(hidden, 5).await?);
    let shown = by_channel(&scrape().await?, "eventcast_subscribers")?;
    ensure!(shown.len() == 51 && shown.contains_key(&format!("shop/{}", name(hidden))));
    // What is parked has no series of its own, and nothing of what it has counted is gone.
    drop(streams);
    in_state(&broker, "parked", CHANNELS).await?;
    let text = scrape().await?;
    ensure!(by_channel(&text, "eventcast_subscribers")?.keys().collect::<Vec<_>>() == [""]);
    ensure!(by_channel(&text, "eventcast_channel_live")?.is_empty());
    Ok(())
}

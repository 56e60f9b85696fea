//! Logs that nobody reads are parked: they cost NATS nothing, and whoever comes finds everything as if they had not been.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::BrokerConfig;
use eventcast_tests::{
    broker::{Broker, open_channel},
    eventually,
    http::{Version, client, created},
    init_tracing,
    metrics::Metrics,
    nats::NatsServer,
    sse::EventStream,
};
use futures_util::TryStreamExt as _;

const WAIT_TIMEOUT: Duration = Duration::from_secs(15);
const DEMO: [(&str, &str); 1] = [("channel", "default/demo")];

fn park_after_a_second(config: &mut BrokerConfig) {
    config.memory.park_after_seconds = Some(1);
}

async fn parked(broker: &Broker) -> Result<()> {
    broker
        .settled("the log is parked", WAIT_TIMEOUT, |metrics| {
            ensure!((metrics.metric("eventcast_channel_parked", &DEMO) - 1.0).abs() < 0.1, "no");
            Ok(())
        })
        .await?;
    Ok(())
}

/// The consumers of a stream, by name.
async fn consumers(nats: &NatsServer, stream: &str) -> Result<Vec<String>> {
    let stream = nats.jetstream().await?.get_stream(stream).await?;
    Ok(stream.consumer_names().try_collect().await?)
}

async fn without_consumers(nats: &NatsServer) -> Result<()> {
    eventually("its consumer is gone", WAIT_TIMEOUT, || async {
        let left = consumers(nats, "SSE_default_demo").await?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_log_that_nobody_reads_has_no_consumer_until_somebody_comes() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), park_after_a_second).await?;
    parked(&broker).await?;
    // Publishing creates the stream, and does not need the log to be attached.
    let first = created(&broker.events_url(""), "one", &[]).await?;
    let cursor = first.cursor().context("no cursor")?.to_owned();
    parked(&broker).await?;
    without_consumers(&nats).await?;
    let second = created(&broker.events_url(""), "two", &[]).await?;
    ensure!(second.cursor().is_some(), "a parked channel answers with cursors");

    let mut stream = EventStream::connect(&broker.events_url(""), Some(&cursor)).await?;
    ensure!(stream.next_data(WAIT_TIMEOUT).await?.data == "two");
    created(&broker.events_url(""), "three", &[]).await?;
    ensure!(stream.next_data(WAIT_TIMEOUT).await?.data == "three");
    ensure!(consumers(&nats, "SSE_default_demo").await?.len() == 1);
    let resumed = stream.cursor().context("no cursor")?.to_owned();
    tokio::time::sleep(Duration::from_secs(2)).await; // longer than the limit: the stream holds it
    ensure!(broker.metric("eventcast_channel_parked", &DEMO).await? < 0.1);
    drop(stream);
    parked(&broker).await?;
    without_consumers(&nats).await?;
    created(&broker.events_url(""), "four", &[]).await?;
    let mut stream = EventStream::connect(&broker.events_url(""), Some(&resumed)).await?;
    let next = stream.next_data(WAIT_TIMEOUT).await?;
    ensure!(next.data == "four", "no gap, no repetition: {next:?}");
    Ok(())
}

#[tokio::test]
async fn queries_attach_a_parked_log() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), park_after_a_second).await?;
    let first = created(&broker.events_url(""), "one", &[("type", "a")]).await?;
    let http = client(Version::Http1);
    let get = async |url: String| -> Result<serde_json::Value> {
        parked(&broker).await?;
        let request = http.get(url).header("accept", "application/json");
        Ok(request.send().await?.error_for_status()?.json().await?)
    };
    let history = get(broker.events_url("")).await?;
    ensure!(history["events"][0]["data"] == "one", "{history}");
    let stats = get(broker.url("/channels/default/demo/stats")).await?;
    ensure!(stats["events"] == 1, "{stats}");
    let channel = get(broker.url("/channels/default/demo")).await?;
    ensure!(channel["state"] == "live" && channel["events"] == 1, "{channel}");
    parked(&broker).await?;
    let cursor = first.cursor().context("no cursor")?;
    let erased = http.delete(broker.url(&format!("/channels/default/demo/events/{cursor}"))).send();
    ensure!(erased.await?.status() == 204);
    let history = get(broker.events_url("")).await?;
    ensure!(history["events"].as_array().is_some_and(Vec::is_empty), "{history}");
    Ok(())
}

#[tokio::test]
async fn all_queries_that_come_while_a_log_attaches_wait_for_it() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |config| {
        park_after_a_second(config);
        config.query.scan_bytes = 1 << 20; // one client gets room for many answers
    })
    .await?;
    created(&broker.events_url(""), "one", &[]).await?;
    parked(&broker).await?;
    nats.pause()?;
    let url = broker.events_url("");
    let asked = tokio::spawn(futures_util::future::join_all((0..3).map(move |_| {
        let request = client(Version::Http1).get(&url).header("accept", "application/json");
        async move { anyhow::Ok(request.send().await?.error_for_status()?.json().await?) }
    })));
    let holds = |metrics: &Metrics| {
        let running = metrics.metric("eventcast_queries", &[]);
        ensure!((running - 3.0).abs() < 0.1, "{running}");
        Ok(())
    };
    broker.settled("all of them wait", WAIT_TIMEOUT, holds).await?;
    nats.resume()?;
    for answer in asked.await? {
        let history: serde_json::Value = answer?;
        ensure!(history["events"][0]["data"] == "one", "{history}");
    }
    Ok(())
}

/// While a log is parked, nobody watches what its stream loses.
#[tokio::test]
async fn what_is_deleted_while_a_log_is_parked_is_not_served() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), park_after_a_second).await?;
    let mut cursors = Vec::new();
    for data in ["one", "two", "three"] {
        let stored = created(&broker.events_url(""), data, &[]).await?;
        cursors.push(stored.cursor().context("no cursor")?.to_owned());
    }
    let mut stream = EventStream::connect(&broker.events_url("from=earliest"), None).await?;
    for data in ["one", "two", "three"] {
        ensure!(stream.next_data(WAIT_TIMEOUT).await?.data == data);
    }
    drop(stream);
    parked(&broker).await?;
    let log = nats.jetstream().await?.get_stream("SSE_default_demo").await?;
    log.purge().sequence(3).await?;
    let mut stream = EventStream::connect(&broker.events_url(""), Some(&cursors[0])).await?;
    let gap = stream.next_of("eventcast.gap", WAIT_TIMEOUT).await?;
    ensure!(gap.data.contains("\"expired\"") && gap.data.contains("\"lost\":1"), "{gap:?}");
    ensure!(stream.next_data(WAIT_TIMEOUT).await?.data == "three");
    drop(stream);
    parked(&broker).await?;
    nats.jetstream().await?.delete_stream("SSE_default_demo").await?;
    let mut stream = EventStream::connect(&broker.events_url(""), Some(&cursors[2])).await?;
    let gap = stream.next_of("eventcast.gap", WAIT_TIMEOUT).await?;
    ensure!(gap.data.contains("\"new-incarnation\""), "{gap:?}");
    Ok(())
}

#[tokio::test]
async fn a_broker_with_many_channels_parks_them_and_is_ready() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let names = (0..200).map(|number| format!("n{number}"));
    let broker = Broker::start(&nats.url(), |config| {
        config.channels.extend(names.map(|name| {
            let mut channel = open_channel("default", &name);
            channel.retention.max_bytes = 1 << 20; // JetStream reserves it
            channel
        }));
    })
    .await?;
    let attached = |metrics: &Metrics| {
        (0..200)
            .map(|number| format!("default/n{number}"))
            .filter(|name| metrics.metric("eventcast_channel_parked", &[("channel", name)]) < 0.1)
            .count()
    };
    let none = |metrics: &Metrics| {
        let attached = attached(metrics);
        ensure!(attached == 0, "{attached} are attached, and nobody has asked for them");
        Ok(())
    };
    broker.settled("all are parked", WAIT_TIMEOUT, none).await?;
    // Everyone comes at once.
    let streams = (0..200).map(|number| {
        let url = broker.url(&format!("/channels/default/n{number}/events"));
        async move { EventStream::connect(&url, None).await }
    });
    let mut streams = futures_util::future::try_join_all(streams).await?;
    ensure!(attached(&broker.metrics().await?) == 200);
    for (number, stream) in streams.iter_mut().enumerate() {
        let url = broker.url(&format!("/channels/default/n{number}/events"));
        created(&url, "one", &[]).await?;
        ensure!(stream.next_data(WAIT_TIMEOUT).await?.data == "one");
    }
    Ok(())
}

/// A subscriber that comes while NATS is away is told to come again, and the broker stays ready.
#[tokio::test]
async fn a_parked_log_is_attached_when_nats_is_back() -> Result<()> {
    init_tracing();
    let mut nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), park_after_a_second).await?;
    let first = created(&broker.events_url(""), "one", &[]).await?;
    parked(&broker).await?;
    nats.kill9()?;
    let mut refused = EventStream::connect(&broker.events_url(""), first.cursor()).await?;
    while refused.next().await?.is_some() {}
    ensure!(refused.retry().is_some(), "it is told when to come again");
    let ready = client(Version::Http1).get(broker.admin_url("/readyz")).send().await?;
    ensure!(ready.status() == 200, "{}", ready.text().await?);
    nats.restart().await?;
    eventually("publishing works again", WAIT_TIMEOUT, || async {
        created(&broker.events_url(""), "two", &[]).await
    })
    .await?;
    let mut stream = EventStream::connect(&broker.events_url(""), first.cursor()).await?;
    ensure!(stream.next_data(WAIT_TIMEOUT).await?.data == "two");
    Ok(())
}

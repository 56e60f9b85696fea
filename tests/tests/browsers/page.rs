//! The broker's page in real browsers, driven by `tests/clients/browser/page.mjs`; and pages of other origins, which can read a
//! channel only if it lists their origin.

use std::{future::ready, time::Duration};

use anyhow::{Result, bail, ensure};
use eventcast_crds::config::BrokerConfig;
use eventcast_tests::{
    broker::{Broker, open_channel},
    clients::{Adapter, Client},
    eventually,
    http::publish,
    init_tracing,
    nats::NatsServer,
    ports, process,
};

use super::script::{Script, browser};

/// The start of a browser included.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// What the script goes through, so that none can be left out unseen.
const STEPS: [&str; 14] = [
    "the page loads",
    "a channel is picked",
    "subscribers are added",
    "a broadcast reaches everyone and moves the cursor",
    "an event for a user reaches all panes of that user and no other",
    "an event has a type",
    "hostile data stays text",
    "what was missed while disconnected comes once",
    "a broker that was killed is found again",
    "a gap is shown",
    "history lists and pages",
    "statistics count every event",
    "a refusal is shown",
    "demo traffic flows and stops",
];

fn two_channels(config: &mut BrokerConfig) {
    config.page = true;
    // less than the small channel keeps, so that what it lost is lost here too
    config.memory.tail_events = 16;
    config.channels[0].delivery.retry_milliseconds = 1000;
    let mut small = open_channel("default", "small");
    small.retention.max_events = 20;
    config.channels.push(small);
}

async fn the_page_works(name: &str) -> Result<()> {
    init_tracing();
    let folder = process::folder("eventcast-page-")?;
    let nats = NatsServer::start().await?;
    let mut broker = Broker::start(&nats.url(), two_channels).await?;
    let other = Broker::start(&nats.url(), two_channels).await?;
    let arguments = [&*broker.url(""), &other.url("")];
    let mut script = Script::start(name, "page.mjs", &arguments, folder.path())?;
    while let Some(ask) = script.next_ask().await? {
        match &*ask {
            "kill" => broker.kill9()?,
            "restart" => broker.restart().await?,
            _ => bail!("what is {ask}?"),
        }
    }
    script.took(&STEPS)
}

#[tokio::test]
async fn the_page_works_in_chromium() -> Result<()> {
    the_page_works("browser-chromium").await
}

#[tokio::test]
async fn the_page_works_in_firefox() -> Result<()> {
    the_page_works("browser-firefox").await
}

/// A browser whose page is of an origin with this port.
fn page_of(name: &str, port: u16, url: &str, folder: &std::path::Path) -> Result<Client> {
    let entry = browser(name)?;
    let port = format!("PAGE_PORT={port}");
    let child = Adapter::start(&entry, &[url], &["WITH_CREDENTIALS=1", &port], folder)?;
    Ok(Client::new(&entry, child))
}

async fn origins_are_kept_apart(name: &str) -> Result<()> {
    init_tracing();
    let folder = process::folder("eventcast-origins-")?;
    let ports = ports::reserve(2)?;
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |config| {
        let access = &mut config.channels[0].access;
        access.allowed_origins = vec![format!("http://127.0.0.1:{}", ports[0])];
        access.allow_credentials = true;
    })
    .await?;
    publish(&broker.events_url(""), "for those who may", &[]).await?;
    let url = broker.events_url("from=earliest");

    let mut listed = page_of(name, ports[0], &url, &folder.path().join("listed"))?;
    eventually("the listed origin reads", WAIT_TIMEOUT, || ready(read(&mut listed))).await?;
    ensure!(listed.events[0].data == "for those who may", "{:?}", listed.events);
    listed.end().await?;

    let mut stranger = page_of(name, ports[1], &url, &folder.path().join("stranger"))?;
    eventually("the other origin is refused", WAIT_TIMEOUT, || ready(refused(&mut stranger)))
        .await?;
    ensure!(stranger.events.is_empty() && stranger.opens == 0, "{:?}", stranger.events);
    stranger.end().await
}

fn read(client: &mut Client) -> Result<()> {
    client.poll()?;
    ensure!(!client.events.is_empty(), "no event: {:?}", client.errors);
    Ok(())
}

fn refused(client: &mut Client) -> Result<()> {
    client.poll()?;
    ensure!(client.closed, "still there: {:?} {:?}", client.errors, client.events);
    Ok(())
}

#[tokio::test]
async fn chromium_lets_only_listed_origins_read() -> Result<()> {
    origins_are_kept_apart("browser-chromium").await
}

#[tokio::test]
async fn firefox_lets_only_listed_origins_read() -> Result<()> {
    origins_are_kept_apart("browser-firefox").await
}

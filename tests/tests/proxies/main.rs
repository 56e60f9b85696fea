//! Brokers behind real proxies, which are configured as `docs/proxies` says, over HTTP/1.1 and HTTP/2 with TLS.

mod addresses;
mod cli_check;
mod delivery_probe;
mod documents;
mod publish;
mod reconnects;
mod streams;
mod wrong_settings;

use std::time::Duration;

use anyhow::{Context as _, Result};
use eventcast_crds::config::BrokerConfig;
use eventcast_tests::{
    eventually,
    http::{Answer, Publish, Version, client},
    proxy::{Kind, Proxy, Setting},
    wire::{BrokerWithNats, EVENTS, RawResponse},
};

/// Every second, so that a test sees some.
fn beats_every_second(config: &mut BrokerConfig) {
    config.channels[0].delivery.heartbeat_seconds = 1;
}

/// Nothing but events is sent, so that no heartbeat can push out what a proxy holds back.
fn beats_never(config: &mut BrokerConfig) {
    config.channels[0].delivery.heartbeat_seconds = 300;
}

async fn proxy(kind: Kind, setting: Setting, broker: &BrokerWithNats) -> Result<Proxy> {
    Proxy::start(kind, setting, &[&broker.url("")]).await
}

/// Requests a stream over a connection of its own.
async fn subscribe(proxy: &Proxy, version: Version, query: &str) -> Result<RawResponse> {
    let target = format!("{EVENTS}{query}");
    let stream = RawResponse::request(version, proxy.address(), "GET", &target, &[], b"").await?;
    anyhow::ensure!(stream.head.status == 200, "{:?}", stream.head);
    Ok(stream)
}

/// Waits for the first bytes of a stream.
async fn open(proxy: &Proxy, version: Version) -> Result<RawResponse> {
    let mut stream = subscribe(proxy, version, "").await?;
    stream.read_retry().await.with_context(|| format!("{version:?}: first bytes"))?;
    Ok(stream)
}

/// Publishes until there is an answer: who rejects a body may close the connection while the client still writes, and so destroy
/// the answer.
async fn answer(publish: &Publish, version: Version, proxy: &Proxy) -> Result<Answer> {
    let client = client(version);
    eventually("an answer", Duration::from_secs(10), || {
        let url = proxy.url(EVENTS);
        let client = &client;
        async move { publish.send(client, &url).await }
    })
    .await
}

//! The JavaScript client of `broker/clients/js`: its units and its types in Node, and pages that use it in real browsers.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use eventcast_crds::config::Access;
use eventcast_tests::{
    broker::{Broker, open_channel},
    clients::entries,
    init_tracing,
    issuer::Issuer,
    nats::NatsServer,
    process::{self, Process, tail},
    repository,
};

use super::{access::signs, script::Script};

/// All units, waits for `Retry-After` of a second included.
const UNITS_TIMEOUT: Duration = Duration::from_secs(100);
/// What `client.mjs` goes through.
const CLIENT_STEPS: [&str; 10] = [
    "a reload continues where the page was, without a loss or a repetition",
    "a gap is told with the number of events",
    "a refused token is asked for anew, and no token means the end",
    "a grant that ends is renewed, and the stream goes on",
    "EventSource reads with a ticket, resumes, and is renewed",
    "EventSource loses nothing where the application is slow",
    "tabs of other users share no stream, those of one user do",
    "a leader that becomes another user leaves its tabs",
    "a component of React shows a channel",
    "a component of React resumes a stream that was refused",
];
/// What `tabs.mjs` goes through; the last one needs the debugging protocol of Chromium.
const TABS_STEPS: [&str; 7] = [
    "three tabs have one stream, and each gets everything once",
    "a leader is closed while events come",
    "another filter has a stream of its own",
    "a tab that was remembered catches up, and shares again",
    "a tab shares again where no event passes its filter",
    "a leader that hangs is replaced, and goes on once it is back",
    "a frozen leader is replaced, and goes on once it wakes up",
];

#[tokio::test]
async fn its_units_and_types_hold_in_node() -> Result<()> {
    init_tracing();
    entries("node")?; // with their packages
    let folder = process::folder("eventcast-js-client-")?;
    let tests = repository().join("tests/clients/node/eventcast");
    let node = process::find_on_path("node").context("no node")?;
    let arguments = [Path::new("--test"), &tests];
    let mut units = Process::spawn("node", &node, &arguments, folder.path())?;
    let status = units.wait_exit(UNITS_TIMEOUT).await?;
    let text = units.stdout();
    ensure!(status.success(), "{}\n{}", tail(&text, 200), units.stderr());
    let passed = text.lines().find_map(|line| line.strip_prefix("# pass "));
    let passed: usize = passed.context("no summary")?.parse()?;
    ensure!(passed > 50, "only {passed} tests:\n{text}");
    Ok(())
}

async fn a_page_uses_it(name: &str) -> Result<()> {
    init_tracing();
    let folder = process::folder("eventcast-js-client-")?;
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let broker = Broker::start(&nats.url(), |config| {
        config.page = true;
        // less than the small channel keeps, so that what it lost is lost here too
        config.memory.tail_events = 16;
        let mut small = open_channel("default", "small");
        small.retention.max_events = 20;
        let mut closed = open_channel("default", "closed");
        closed.access = Access { tokens: vec![issuer.trusted()], ..Access::default() };
        config.channels.extend([small, closed]);
    })
    .await?;
    let [keys, issuer_name, audience] = signs(&issuer)?;
    let arguments = [&*broker.url(""), &keys, &issuer_name, &audience];
    run(name, "client.mjs", &arguments, folder.path(), &CLIENT_STEPS).await
}

async fn tabs_share_it(name: &str, steps: &[&str]) -> Result<()> {
    init_tracing();
    let folder = process::folder("eventcast-js-client-")?;
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |config| {
        config.page = true;
        config.channels[0].delivery.heartbeat_seconds = 1;
    })
    .await?;
    run(name, "tabs.mjs", &[&broker.url("")], folder.path(), steps).await
}

async fn run(
    name: &str,
    script: &str,
    arguments: &[&str],
    folder: &Path,
    steps: &[&str],
) -> Result<()> {
    let mut script = Script::start(name, script, arguments, folder)?;
    if let Some(ask) = script.next_ask().await? {
        bail!("what is {ask}?");
    }
    script.took(steps)
}

#[tokio::test]
async fn a_page_uses_it_in_chromium() -> Result<()> {
    a_page_uses_it("browser-chromium").await
}

#[tokio::test]
async fn a_page_uses_it_in_firefox() -> Result<()> {
    a_page_uses_it("browser-firefox").await
}

#[tokio::test]
async fn tabs_share_it_in_chromium() -> Result<()> {
    tabs_share_it("browser-chromium", &TABS_STEPS).await
}

#[tokio::test]
async fn tabs_share_it_in_firefox() -> Result<()> {
    tabs_share_it("browser-firefox", &TABS_STEPS[..6]).await
}

//! `eventcast check` through real proxies: nothing is wrong with the documented settings, and each wrong setting is found and named.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    broker::{Cli, Ended},
    process,
    proxy::{Kind, Setting, TIME_LIMIT},
    tls::authority_pem,
    wire::{BrokerWithNats, EVENTS},
};

use super::{beats_every_second, beats_never, proxy};

const LIMIT: Duration = Duration::from_secs(60);

/// What the command says of a broker behind a proxy with this setting.
async fn check(broker: &BrokerWithNats, kind: Kind, setting: Setting) -> Result<Ended> {
    let proxy = proxy(kind, setting, broker).await?;
    let folder = process::folder("eventcast-cli-")?;
    let authority = folder.path().join("ca.crt");
    fs::write(&authority, authority_pem())?;
    let wait = (TIME_LIMIT.as_secs() + 3).to_string();
    let arguments = ["check", "--url", &proxy.url(EVENTS), "--wait", &wait, "--ca-file"];
    let check = Cli::eventcast(&arguments).arg(&authority);
    check.output(LIMIT).await.with_context(|| format!("{kind:?} with {setting:?}"))
}

fn is_named(ended: &Ended, wanted: &str) -> Result<()> {
    ensure!(ended.status.code() == Some(1), "{wanted}: {ended:?}");
    ensure!(ended.stdout.contains("FAIL") && ended.stdout.contains(wanted), "{wanted}: {ended:?}");
    Ok(())
}

#[tokio::test]
async fn documented_settings_pass() -> Result<()> {
    let broker = BrokerWithNats::start(beats_every_second).await?;
    for kind in Kind::ALL {
        let ended = check(&broker, kind, Setting::Documented).await?;
        ensure!(ended.status.success(), "{kind:?}: {ended:?}");
        ensure!(ended.stdout.contains(" 0 warnings, 0 failed"), "{kind:?}: {ended:?}");
    }
    Ok(())
}

#[tokio::test]
async fn buffering_and_compression_are_named() -> Result<()> {
    let broker = BrokerWithNats::start(beats_never).await?;
    let buffered = check(&broker, Kind::Nginx, Setting::Buffering).await?;
    is_named(&buffered, "proxy_buffering off")?;
    let compressed = check(&broker, Kind::Nginx, Setting::Compression).await?;
    is_named(&compressed, "remove text/event-stream from gzip_types")
}

#[tokio::test]
async fn a_timeout_below_the_heartbeat_is_named() -> Result<()> {
    let broker = BrokerWithNats::start(beats_never).await?;
    let ended = check(&broker, Kind::Nginx, Setting::IdleTimeout).await?;
    is_named(&ended, "raise proxy_read_timeout")
}

#[tokio::test]
async fn a_wait_below_the_heartbeat_is_no_failure() -> Result<()> {
    let broker = BrokerWithNats::start(beats_never).await?;
    let url = broker.url(EVENTS);
    let short = Cli::eventcast(&["check", "--url", &url, "--wait", "1"]).output(LIMIT).await?;
    ensure!(short.status.success(), "{short:?}");
    ensure!(short.stdout.contains(" 1 warning, 0 failed"), "{short:?}");
    ensure!(short.stdout.contains("wait longer: --wait 365"), "{short:?}");
    Ok(())
}

#[tokio::test]
async fn a_check_waits_for_the_heartbeat_of_the_channel() -> Result<()> {
    let broker =
        BrokerWithNats::start(|config| config.channels[0].delivery.heartbeat_seconds = 2).await?;
    let url = broker.url(EVENTS);
    let check = Cli::eventcast(&["check", "--url", &url]).output(LIMIT).await?;
    ensure!(check.status.success(), "{check:?}");
    ensure!(check.stderr.contains("at most 7 s"), "{check:?}");
    ensure!(check.stdout.contains(" 0 warnings, 0 failed"), "{check:?}");
    Ok(())
}

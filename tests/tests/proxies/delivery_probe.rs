//! The delivery probe through real proxies: nothing is found with the documented settings, and each wrong setting is found and named.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::{
    broker_status::{DeliveryReason, DeliveryReport},
    config::Probe,
};
use eventcast_tests::{
    broker::Broker,
    init_tracing,
    nats::NatsServer,
    proxy::{Kind, Proxy, Setting, TIME_LIMIT},
};
use futures_util::future::try_join_all;

/// The name that the advice has for a proxy.
fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Nginx => "nginx",
        Kind::HaProxy | Kind::HaProxyTcp => "HAProxy",
        Kind::Envoy => "Envoy",
    }
}

/// What a broker finds behind a proxy with this setting.
async fn find(nats: &NatsServer, kind: Kind, setting: Setting) -> Result<DeliveryReport> {
    let mut broker = Broker::start(&nats.url(), |config| {
        // A heartbeat may come too late for a time-out of silence, but not for a limit of the whole response.
        let late = TIME_LIMIT.as_secs() * 2;
        let heartbeat = if setting == Setting::IdleTimeout { late } else { 1 };
        config.channels[0].delivery.heartbeat_seconds = heartbeat;
    })
    .await?;
    let proxy = Proxy::start(kind, setting, &[&broker.url("")]).await?;
    let url = proxy.url("/channels/default/demo/events");
    let stream_seconds = TIME_LIMIT.as_secs() + 2;
    let proxy_name = Some(name(kind).to_lowercase());
    let probe = Probe { stream_seconds, proxy: proxy_name, ..Probe::new(&url) };
    broker.reconfigure(|config| config.channels[0].probe = Some(probe))?;
    broker.delivery_report(&url).await.with_context(|| format!("{kind:?} with {setting:?}"))
}

#[tokio::test]
async fn documented_settings_let_streams_pass() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let reports = Kind::ALL.map(|kind| find(&nats, kind, Setting::Documented));
    for (kind, report) in Kind::ALL.into_iter().zip(try_join_all(reports).await?) {
        ensure!(report.problems.is_empty(), "{kind:?}: {report:?}");
        ensure!(report.http_version.as_deref() == Some("HTTP/2"), "{kind:?}: {report:?}");
        let delay = Duration::from_millis(report.delay_ms.context("no delay")?);
        ensure!(delay < Duration::from_secs(1), "{kind:?}: {report:?}");
    }
    Ok(())
}

#[tokio::test]
async fn each_wrong_setting_is_found_and_named() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let settings = [
        (Setting::Buffering, DeliveryReason::Buffered),
        (Setting::Compression, DeliveryReason::Compressed),
        (Setting::IdleTimeout, DeliveryReason::IdleTimeout),
        (Setting::TimeLimit, DeliveryReason::TimeLimit),
        (Setting::SmallBodies, DeliveryReason::BodyTooLarge),
    ];
    // HAProxy and Envoy obey `Cache-Control: no-transform`.
    let is_effective = |setting, kind| setting != Setting::Compression || kind == Kind::Nginx;
    let cases: Vec<_> = settings
        .into_iter()
        .flat_map(|(setting, reason)| Kind::with(setting).map(move |kind| (setting, reason, kind)))
        .filter(|(setting, _, kind)| is_effective(*setting, *kind))
        .collect();
    let reports = cases.iter().map(|(setting, _, kind)| find(&nats, *kind, *setting));
    for ((setting, reason, kind), report) in cases.iter().zip(try_join_all(reports).await?) {
        let found: Vec<_> = report.problems.iter().map(|problem| problem.reason).collect();
        ensure!(found == [*reason], "{kind:?} with {setting:?}: {report:?}");
        let detail = &report.problems[0].detail;
        ensure!(detail.contains(name(*kind)), "{kind:?} is not named: {detail}");
    }
    let found = |setting| cases.iter().any(|case| case.0 == setting);
    ensure!(settings.iter().all(|(setting, _)| found(*setting)), "a setting of no proxy");
    Ok(())
}

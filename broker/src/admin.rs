//! The paths of the broker's admin port: `/livez`, `/readyz`, `/metrics`, `/state`.

use std::{io, sync::Arc};

use eventcast_crds::broker_status::{self, BrokerStatus, ChannelReport};
use eventcast_runtime::{
    admin::{self, Answer, json, text},
    openmetrics, process_metrics,
};
use http::{HeaderMap, StatusCode};
use prometheus::IntGauge;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;

/// Serves the admin port until the future is dropped. `/readyz` fails once `unready` is cancelled.
///
/// # Errors
/// The listener is broken.
pub(crate) async fn serve(
    listener: TcpListener,
    broker: Arc<Broker>,
    unready: CancellationToken,
) -> io::Result<()> {
    admin::serve(listener, move |path, headers| answer(&broker, &unready, path, headers)).await
}

fn answer(
    broker: &Broker,
    unready: &CancellationToken,
    path: &str,
    headers: &HeaderMap,
) -> Option<Answer> {
    Some(match path {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" if unready.is_cancelled() => {
            text(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
        }
        "/readyz" => match broker.ready() {
            Ok(()) => text(StatusCode::OK, "ok\n"),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        },
        "/metrics" => {
            let (bytes, pages) = broker.pages.size();
            broker.metrics.page_cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            broker.metrics.page_cache_pages.set(i64::try_from(pages).unwrap_or(i64::MAX));
            export_channels(broker);
            if openmetrics::is_wanted(headers) {
                admin::openmetrics(broker.metrics.render_openmetrics())
            } else {
                text(StatusCode::OK, broker.metrics.render())
            }
        }
        broker_status::PATH => match serde_json::to_vec(&status(broker)) {
            Ok(body) => json(body),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        _ => return None,
    })
}

/// Brings the metrics of channels up to date.
fn export_channels(broker: &Broker) {
    let (mut live, mut detached, mut parked) = (0, 0, 0);
    for channel in broker.channels().values() {
        let log = channel.log();
        match (log.is_parked(), log.is_live()) {
            (true, _) => parked += 1,
            (false, true) => live += 1,
            (false, false) => detached += 1,
        }
        // Series that parked logs share are not those of a channel.
        if log.has_own_metrics() {
            let metrics = channel.metrics();
            channel.access().export(&metrics);
            metrics.delivery(channel.prober().report().as_ref());
        }
    }
    let states = [("live", live), ("detached", detached), ("parked", parked)];
    broker.metrics.channels_by_state(&states);
}

fn status(broker: &Broker) -> BrokerStatus {
    let count = |gauge: &IntGauge| u64::try_from(gauge.get()).unwrap_or_default();
    let (channels, folder) = (broker.channels(), broker.folder());
    let unserved = folder.channels.iter().filter(|(channel, _)| !channels.contains_key(*channel));
    let unserved = unserved.map(|(channel, problem)| ChannelReport {
        channel: channel.clone(),
        problem: Some(problem.clone()),
        ..ChannelReport::default()
    });
    let reports = channels.iter().map(|(channel, open)| {
        let log = open.log();
        let metrics = Some(open.metrics()).filter(|_| log.has_own_metrics());
        ChannelReport {
            channel: channel.clone(),
            subscribers: metrics.as_ref().map_or(0, |metrics| count(&metrics.subscribers)),
            catching_up: metrics.as_ref().map_or(0, |metrics| count(&metrics.catching_up)),
            live: log.is_live() || log.is_parked(),
            generation: open.config().generation,
            problem: folder.channels.get(channel).cloned(),
            access: open.access().problems(),
            delivery: open.prober().report(),
        }
    });
    let mut reports: Vec<_> = reports.chain(unserved).collect();
    reports.sort_by(|a, b| a.channel.cmp(&b.channel));
    let certificates = broker.certificates.as_ref();
    BrokerStatus {
        version: env!("CARGO_PKG_VERSION").into(),
        streams: Some(u64::try_from(broker.sessions.count_of_clients()).unwrap_or(u64::MAX)),
        shed: Some(broker.sessions.shed_count()),
        cpu_milliseconds: process_metrics::cpu_milliseconds(),
        order: broker.balance.last_order(),
        channels: reports,
        problems: folder.files.clone(),
        certificate: certificates.and_then(|certificates| certificates.problem()),
        client_authorities: certificates.and_then(|certificates| certificates.problem_of_clients()),
    }
}

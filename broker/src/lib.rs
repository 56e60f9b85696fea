//! The Eventcast broker: Server-Sent Events over a log in NATS JetStream.
//!
//! The main idea: *a subscriber is a cursor on a shared log*. Live delivery, replay, a slow reader and a reconnect are the same
//! thing at different positions.
//!
//! ```text
//! main -> run -> server -> http -> { fanout, query, log, access, sockets, metrics } -> eventcast_wire, eventcast_crds
//!                                    fanout -> log (reads the tail and pages, never the other way)
//! ```
//!
//! - `cloudevent`, `media_type`: parsing of what publishers send; pure. Cursors, topics, filters, events and frames are in the
//!   crate `eventcast_wire`.
//! - `log`: a JetStream stream in, framed events out.
//! - `cluster`: what the brokers of a channel share besides the log. Only `log` and `cluster` use async-nats.
//! - `fanout`: subscribers, and the sinks that write to them.
//! - `query`: bounded scans for history and statistics.
//! - `http`, `server`: requests and connections. Only these modules, `fanout::body` and `http2::body` use hyper as a server.
//! - `http2`: the protocol of HTTP/2, without sockets; pure.
//! - `tls`, `watch`: TLS without sockets, and the certificate of the public listener; files that change.
//! - `sessions`, `access`, `delivery`: open streams, what they may read, and the ledger of what they received.
//! - `balance`: closing streams at the request of the operator.
//! - `probe`, `outbound`: delivery probes; connections to URLs that channels name.
//! - `broker`, `channel`, `channel_folder`: the state of a running broker and of its channels, and the folder with more of them.
//! - `client`, `budget`, `rate_limit`, `sockets`: limits.
//! - `metrics`, `spans`, `access_log`: metrics, traces, and a line for each request and each end of a stream.
//! - `reload`, `readiness`, `drain`, `admin`, `control`, `dev`: startup, configuration and shutdown of the process.
//! - `commands`: the other commands of the program: API keys, and tokens for development.

mod access;
mod access_log;
mod admin;
mod balance;
mod broker;
mod budget;
mod channel;
mod channel_folder;
mod client;
mod clock;
mod cloudevent;
mod cluster;
pub mod commands;
mod control;
mod delivery;
pub mod dev;
mod drain;
mod fanout;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod http;
mod http2;
mod identity;
mod log;
mod log_sampler;
mod media_type;
mod metrics;
mod outbound;
mod probe;
mod query;
mod rate_limit;
mod readiness;
pub mod reload;
mod request;
mod server;
mod sessions;
mod sockets;
mod spans;
mod tls;
mod watch;

use std::sync::Arc;

use eventcast_crds::config::{BrokerConfig, Log};
use eventcast_runtime::{
    Chain, control::ControlListeners, listener::listen, supervise::Supervisor, telemetry, traces,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    broker::Broker,
    channel_folder::{ChannelConfigs, ChannelFolder, FolderReport},
    drain::Phases,
    fanout::shard::Shards,
    log::{ConnectError, Nats},
    metrics::Metrics,
    reload::{ConfigSource, ValidConfig},
    server::Endpoint,
    sockets::Sockets,
};

/// The listening sockets of a broker.
pub struct Listeners {
    /// For clients without TLS; `None` if only TLS is configured.
    pub plain: Option<TcpListener>,
    /// For clients with TLS.
    pub tls: Option<TcpListener>,
    /// For probes and metrics.
    pub admin: TcpListener,
    /// For administrators on the same machine, if there is one.
    pub control: Option<ControlListeners>,
}

impl Listeners {
    /// Binds the addresses of `config`.
    ///
    /// # Errors
    /// An address is in use or cannot be bound. The message says what to do.
    pub async fn bind(config: &BrokerConfig) -> Result<Self, String> {
        let bind = |address, key: &str| {
            listen(address).map_err(|e| match e.kind() {
                std::io::ErrorKind::AddrInUse => {
                    format!("{address} is in use: stop what listens there, or choose another address with {key}")
                }
                _ => format!("cannot listen on {address}: {e}; choose another address with {key}"),
            })
        };
        let is_plain = config.tls.as_ref().is_none_or(|tls| tls.plaintext);
        Ok(Self {
            plain: is_plain.then(|| bind(config.listen, "--listen")).transpose()?,
            tls: config.tls.as_ref().map(|tls| bind(tls.listen, "tls.listen")).transpose()?,
            admin: bind(config.admin, "--admin")?,
            control: config.control_port.and_then(ControlListeners::bind),
        })
    }
}

/// Connects to NATS as a running broker does, and checks it for the channels of `config`. Returns one message per problem.
pub async fn check_nats(config: &BrokerConfig) -> Vec<String> {
    let connected = async {
        let metrics = Metrics::new().map_err(|e| Chain(&e).to_string())?;
        let (in_flight, supervisor) = (config.limits.publishes_in_flight, Supervisor::default());
        let nats = Nats::connect(&config.nats, in_flight, &metrics, &supervisor).await;
        nats.map_err(|e| Chain(&e).to_string())
    };
    match connected.await {
        Ok(nats) => {
            let mut folder = ChannelFolder::of(config);
            if let Some(folder) = &mut folder {
                folder.refresh().await;
            }
            let (channels, _) = all_channels(config, &mut folder);
            nats.problems(&config.nats, channels.values().map(Arc::as_ref)).await
        }
        Err(message) => vec![message],
    }
}

/// Reads the certificate files of `config`. Returns one message per problem.
pub async fn check_certificate(config: &BrokerConfig) -> Vec<String> {
    match &config.tls {
        Some(tls) => tls::check(tls).await,
        None => Vec::new(),
    }
}

/// Runs a broker with the configuration `first`, and with later versions from `source`, until `shutdown` or until a supervised task
/// fails. Then drains.
///
/// # Errors
/// The NATS servers or credentials of the configuration are unusable, NATS is too old, or a supervised task failed.
pub async fn run(
    first: ValidConfig,
    source: ConfigSource,
    listeners: Listeners,
    supervisor: Supervisor,
    shutdown: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    access::install_crypto()?;
    let metrics = Metrics::new()?;
    let ValidConfig { config, unknown, text } = first;
    apply_log(&config.log);
    let otlp = &config.telemetry.otlp;
    traces::start(&traces::Wanted {
        service: "eventcast-broker",
        version: env!("CARGO_PKG_VERSION"),
        endpoint: otlp.endpoint.as_deref(),
        sample_ratio: otlp.sample_ratio,
    });
    http::route::begin_at_zero(&metrics.http_requests);
    let in_flight = config.limits.publishes_in_flight;
    let nats = Nats::connect(&config.nats, in_flight, &metrics, &supervisor).await?;

    let stop = CancellationToken::new();
    let _stop_on_return = stop.clone().drop_guard();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shards = config.fanout.shards.unwrap_or(cores);
    let sockets = Sockets::new(server::capacity(&config.limits, shards)?, Arc::clone(&metrics));
    let shards = Shards::start(shards, &supervisor, &metrics)?;
    let broker = Broker::new(
        config.clone(),
        Arc::clone(&nats),
        metrics,
        sockets,
        shards,
        supervisor.clone(),
        stop.clone(),
    );
    let mut configuration = Configuration { folder: ChannelFolder::of(&config), unknown };
    if let Some(folder) = &mut configuration.folder {
        folder.refresh().await;
    }
    configuration.apply(&broker, config);

    let phases = Phases::default();
    let connections = TaskTracker::new();
    let admin = admin::serve(listeners.admin, Arc::clone(&broker), phases.unready.clone());
    supervisor.spawn("admin listener", &stop, stop.clone().run_until_cancelled_owned(admin));
    if let Some(control) = listeners.control {
        let control = control::serve(control, Arc::clone(&broker), shutdown.clone());
        let control = stop.clone().run_until_cancelled_owned(control);
        supervisor.spawn("control listener", &stop, control);
    }
    let sessions = Arc::clone(&broker.sessions);
    let stalls = async move { sessions.watch_stalls().await };
    supervisor.spawn("stall watcher", &stop, stop.clone().run_until_cancelled_owned(stalls));
    let accept = |listener, endpoint| {
        let (stop, drain) = (phases.stop_accepting.clone(), phases.drain.clone());
        server::accept(listener, endpoint, Arc::clone(&broker), stop, drain, connections.clone())
    };
    if let Some(listener) = listeners.plain {
        let accept = accept(listener, Endpoint::Plain);
        supervisor.spawn("public listener", &phases.stop_accepting, accept);
    }
    if let (Some(listener), Some(certificates)) = (listeners.tls, &broker.certificates) {
        let files = certificates.read().await;
        let accept = accept(listener, Endpoint::Tls(Arc::clone(certificates)));
        supervisor.spawn("TLS listener", &phases.stop_accepting, accept);
        let certificates = Arc::clone(certificates);
        let follow = async move { certificates.follow(files).await };
        supervisor.spawn(
            "certificate files",
            &stop,
            stop.clone().run_until_cancelled_owned(follow),
        );
    }
    let reload =
        reload_on_change(Arc::clone(&broker), configuration, source, text, shutdown.clone());
    supervisor.spawn("configuration reload", &shutdown, reload);

    let sharing = Arc::clone(&broker);
    let tails = async move { sharing.share_tails().await };
    let tails = stop.clone().run_until_cancelled_owned(tails);
    supervisor.spawn("shares of tails", &stop, tails);

    let following = Arc::clone(&broker);
    let orders = async move { following.follow_orders().await };
    let orders = shutdown.clone().run_until_cancelled_owned(orders);
    supervisor.spawn("orders of the operator", &shutdown, orders);

    // Concurrent with serving: while NATS is unreachable, probes are answered and subscribers are told to reconnect.
    let version = async {
        nats.check_version().await?;
        std::future::pending::<Result<(), ConnectError>>().await
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        _ = supervisor.failed() => {}
        too_old = version => return too_old.map_err(Into::into),
    }
    let config = broker.config();
    let draining = drain::shut_down(&config.shutdown, &phases, &broker.sessions, &connections);
    supervisor.catch("shutdown", draining).await;
    stop.cancel();
    nats.close().await;
    if let Some(failure) = supervisor.failure() {
        return Err(failure.into());
    }
    tracing::info!("shutdown complete");
    Ok(())
}

/// All channels: those of the configuration file, and those of the folder, if there is one.
fn all_channels(
    config: &BrokerConfig,
    folder: &mut Option<ChannelFolder>,
) -> (ChannelConfigs, FolderReport) {
    match folder {
        Some(folder) => folder.merge(&config.channels),
        None => {
            let channels = config.channels.iter().map(|c| (c.key(), Arc::new(c.clone())));
            (channels.collect(), FolderReport::default())
        }
    }
}

/// The parts of the configuration of a running broker that are not in its file.
struct Configuration {
    folder: Option<ChannelFolder>,
    /// Keys of the file that this version does not know.
    unknown: Vec<String>,
}

impl Configuration {
    /// Applies `config`, and the folder as it was read last.
    fn apply(&mut self, broker: &Broker, config: BrokerConfig) {
        let (channels, report) = all_channels(&config, &mut self.folder);
        report_unknown_keys(&broker.metrics, &self.unknown, &report.unknown);
        report.log_new_problems(&broker.folder());
        broker.report_folder(report);
        broker.reconfigure(config, channels);
    }

    /// Waits until the folder has changed. Without a folder it never returns.
    ///
    /// # Cancel safety
    /// Safe.
    async fn folder_changed(&mut self) {
        match &mut self.folder {
            Some(folder) => folder.changed().await,
            None => std::future::pending().await,
        }
    }
}

/// Applies changes of the configuration file, whose content was `seen`, and of the folder of channels until `shutdown`.
async fn reload_on_change(
    broker: Arc<Broker>,
    mut configuration: Configuration,
    source: ConfigSource,
    mut seen: String,
    shutdown: CancellationToken,
) {
    loop {
        let changed = tokio::select! {
            changed = source.changed(&mut seen) => changed,
            () = configuration.folder_changed() => {
                configuration.apply(&broker, broker.config().as_ref().clone());
                broker.metrics.config_reloads.with_label_values(&["applied"]).inc();
                tracing::info!(channels = broker.channels().len(), "applied the folder of channels");
                continue;
            }
            () = shutdown.cancelled() => return,
        };
        let counted = |outcome| broker.metrics.config_reloads.with_label_values(&[outcome]).inc();
        match changed {
            Ok(ValidConfig { config, unknown, .. }) => {
                for key in broker.config().needs_restart(&config) {
                    tracing::warn!(key, "the changed value needs a restart");
                }
                apply_log(&config.log);
                configuration.unknown = unknown;
                configuration.apply(&broker, config);
                counted("applied");
                tracing::info!("applied the new configuration");
            }
            Err(error) => {
                counted("rejected");
                let error = Chain(&error);
                tracing::error!(%error, "rejected the new configuration; keeping the last valid one");
            }
        }
    }
}

/// Applies what the configuration says about logs. Its filter was checked when the configuration was read.
fn apply_log(log: &Log) {
    access_log::set_on(log.access);
    if let Err(error) = telemetry::set_filter(log.level.as_deref()) {
        tracing::error!(error, "cannot use log.level; keeping the last filter");
    }
}

/// Counts unknown keys of the file and of the folder of channels. Those of the folder are logged with its other problems.
fn report_unknown_keys(metrics: &Metrics, file: &[String], folder: &[String]) {
    let count = i64::try_from(file.len() + folder.len()).unwrap_or(i64::MAX);
    metrics.config_unknown_keys.set(count);
    for key in file {
        tracing::warn!(key, "unknown configuration key");
    }
}

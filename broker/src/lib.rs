//! The Eventcast broker: Server-Sent Events over a log in NATS JetStream.
//!
//! The one idea: *a subscriber is a cursor on a shared log*. Live delivery, replay, a slow reader and a reconnect are the
//! same thing at different positions.
//!
//! ```text
//! main -> run -> server -> http -> { fanout, query, log, access, metrics } -> { event, cursor, topic, frame, filter }
//!                                    fanout -> log (reads the tail and pages, never the other way)
//! ```
//!
//! - `event`, `cursor`, `topic`, `source`, `filter`, `frame`, `cloudevent`, `media_type`: the nouns and the wire encoding; pure.
//! - `log`: JetStream in, framed events out. Only there is async-nats known.
//! - `fanout`: subscribers and their sinks.
//! - `query`: bounded scans for history and statistics.
//! - `http`, `server`: requests and sockets. Only there are hyper's types known.
//! - `drain`, `reload`, `admin`, `dev`: the life of the process.

mod access;
mod admin;
mod broker;
mod budget;
mod channel;
mod client;
mod clock;
mod cloudevent;
pub mod dev;
mod drain;
mod fanout;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod http;
mod log;
mod media_type;
mod metrics;
mod pace;
mod query;
mod readiness;
pub mod reload;
mod server;
mod sockets;

use std::{net::SocketAddr, sync::Arc};

use eventcast_crds::config::BrokerConfig;
use eventcast_runtime::{Chain, supervise::Supervisor};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    broker::Broker,
    drain::Switches,
    fanout::shard::Shards,
    log::{ConnectError, Nats},
    metrics::Metrics,
    reload::{Source, Usable},
    sockets::Sockets,
};

/// Connections that wait to be accepted, at most; Linux caps it by `net.core.somaxconn`, 4096 by default.
const BACKLOG: u32 = 4096;

/// The sockets that a broker listens on.
pub struct Listeners {
    /// For clients.
    pub public: TcpListener,
    /// For probes and metrics.
    pub admin: TcpListener,
}

impl Listeners {
    /// Binds both addresses of `config`.
    ///
    /// # Errors
    /// One line that names the address and what to do.
    pub async fn bind(config: &BrokerConfig) -> Result<Self, String> {
        let bind = |address, key: &str| {
            listen(address).map_err(|e| match e.kind() {
                std::io::ErrorKind::AddrInUse => {
                    format!("{address} is in use: stop what listens there, or choose another address with --{key}")
                }
                _ => format!("cannot listen on {address}: {e}; choose another address with --{key}"),
            })
        };
        let public = bind(config.listen, "listen")?;
        Ok(Self { public, admin: bind(config.admin, "admin")? })
    }
}

/// As `TcpListener::bind`, but for a herd that connects at once: whom the queue has no room for tries again a second later.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Connects to NATS as a broker would; everything that is wrong there, each in words.
pub async fn check_nats(config: &BrokerConfig) -> Vec<String> {
    let connected = async {
        let metrics = Metrics::new().map_err(|e| Chain(&e).to_string())?;
        let (in_flight, supervisor) = (config.limits.publishes_in_flight, Supervisor::default());
        let nats = Nats::connect(&config.nats, in_flight, &metrics, &supervisor).await;
        nats.map_err(|e| Chain(&e).to_string())
    };
    match connected.await {
        Ok(nats) => nats.complaints(&config.nats, &config.channels).await,
        Err(message) => vec![message],
    }
}

/// Runs a broker from `first`, taking over what `source` says later, until `shutdown` or until `supervisor` notices that a part of it
/// failed; then drains.
///
/// # Errors
/// The configuration names servers or files of NATS that cannot be used, NATS is too old, or a part of the program failed.
pub async fn run(
    first: Usable,
    source: Source,
    listeners: Listeners,
    supervisor: Supervisor,
    shutdown: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let metrics = Metrics::new()?;
    let Usable { config, unknown, text } = first;
    tell_unknown(&metrics, &unknown);
    let in_flight = config.limits.publishes_in_flight;
    let nats = Nats::connect(&config.nats, in_flight, &metrics, &supervisor).await?;

    let stop = CancellationToken::new();
    let _stop_on_return = stop.clone().drop_guard();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shards = config.fanout.shards.unwrap_or(cores);
    let sockets = Sockets::new(server::capacity(&config.limits, shards)?, Arc::clone(&metrics));
    let shards = Shards::start(shards, &supervisor, &metrics.shard_restarts)?;
    let broker = Broker::new(
        config.clone(),
        Arc::clone(&nats),
        metrics,
        sockets,
        shards,
        supervisor.clone(),
        stop.clone(),
    );
    broker.reconfigure(config);

    let token = CancellationToken::new;
    let switches = Switches { unready: token(), deaf: token(), drain: token() };
    let connections = TaskTracker::new();
    let admin = admin::serve(listeners.admin, Arc::clone(&broker), switches.unready.clone());
    supervisor.spawn("admin listener", &stop, stop.clone().run_until_cancelled_owned(admin));
    let sessions = Arc::clone(&broker.sessions);
    let stalls = async move { sessions.watch_stalls().await };
    supervisor.spawn("stall watcher", &stop, stop.clone().run_until_cancelled_owned(stalls));
    let (deaf, drain) = (switches.deaf.clone(), switches.drain.clone());
    let accept =
        server::accept(listeners.public, Arc::clone(&broker), deaf, drain, connections.clone());
    supervisor.spawn("public listener", &switches.deaf, accept);
    let reload = follow(Arc::clone(&broker), source, text, shutdown.clone());
    supervisor.spawn("configuration reload", &shutdown, reload);

    // Beside everything else: probes are answered, and subscribers told to come back, while NATS is away.
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
    let draining = drain::shut_down(&config.shutdown, &switches, &broker.sessions, &connections);
    supervisor.catch("shutdown", draining).await;
    if let Some(failure) = supervisor.failure() {
        return Err(failure.into());
    }
    tracing::info!("ended");
    Ok(())
}

/// Takes changes of the configuration over, since the file said `seen`, until `shutdown`.
async fn follow(
    broker: Arc<Broker>,
    source: Source,
    mut seen: String,
    shutdown: CancellationToken,
) {
    loop {
        let changed = tokio::select! {
            changed = source.changed(&mut seen) => changed,
            () = shutdown.cancelled() => return,
        };
        let counted = |outcome| broker.metrics.config_reloads.with_label_values(&[outcome]).inc();
        match changed {
            Ok(Usable { config, unknown, .. }) => {
                counted("taken");
                tell_unknown(&broker.metrics, &unknown);
                for key in broker.config().needs_restart(&config) {
                    tracing::warn!(key, "this change needs a restart");
                }
                broker.reconfigure(config);
                tracing::info!("took the changed configuration over");
            }
            Err(error) => {
                counted("refused");
                let error = Chain(&error);
                tracing::error!(%error, "the changed configuration is refused: the last good one stays");
            }
        }
    }
}

fn tell_unknown(metrics: &Metrics, unknown: &[String]) {
    metrics.config_unknown_keys.set(i64::try_from(unknown.len()).unwrap_or(i64::MAX));
    for key in unknown {
        tracing::warn!(key, "this version does not know the key");
    }
}

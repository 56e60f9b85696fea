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
//! - `event`, `cursor`, `topic`, `filter`, `frame`: the nouns and the wire encoding; pure.
//! - `log`: JetStream in, framed events out. Only there is async-nats known.
//! - `fanout`: subscribers and their sinks.
//! - `query`: bounded scans for history and statistics.
//! - `http`, `server`: requests and sockets. Only there are hyper's types known.
//! - `drain`, `reload`, `admin`, `dev`: the life of the process.

mod access;
mod admin;
mod broker;
mod channel;
pub mod cursor;
pub mod dev;
mod drain;
pub mod event;
mod fanout;
mod filter;
pub mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod http;
mod log;
mod metrics;
mod pace;
mod query;
pub mod reload;
mod server;
pub mod topic;

use std::{net::SocketAddr, sync::Arc};

use eventcast_crds::config::BrokerConfig;
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    broker::Broker,
    drain::Switches,
    fanout::shard::Shards,
    log::{ConnectError, Nats},
    metrics::Metrics,
    reload::{Source, Usable},
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

/// Runs a broker from `first`, taking over what `source` says later, until `shutdown`; then drains.
///
/// # Errors
/// The configuration names servers or files of NATS that cannot be used, or NATS is too old.
pub async fn run(
    first: Usable,
    source: Source,
    listeners: Listeners,
    shutdown: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let metrics = Metrics::new()?;
    let config = first.config;
    tell_unknown(&metrics, &first.unknown);
    let nats = Nats::connect(&config.nats, config.limits.publishes_in_flight, &metrics).await?;

    server::raise_file_limit(config.limits.connections);
    let stop = CancellationToken::new();
    let _stop_on_return = stop.clone().drop_guard();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shards = Shards::start(config.fanout.shards.unwrap_or(cores))?;
    let broker = Broker::new(config.clone(), Arc::clone(&nats), metrics, shards, stop.clone());
    let mut tasks = JoinSet::new();
    broker.reconfigure(config, &mut tasks);

    let token = CancellationToken::new;
    let switches = Switches { unready: token(), deaf: token(), drain: token() };
    let connections = TaskTracker::new();
    tasks.spawn(admin::serve(listeners.admin, Arc::clone(&broker), switches.unready.clone()));
    let stalls = Arc::clone(&broker.sessions);
    tasks.spawn(async move { stalls.watch_stalls().await });
    let (deaf, drain) = (switches.deaf.clone(), switches.drain.clone());
    tasks.spawn(server::accept(
        listeners.public,
        Arc::clone(&broker),
        deaf,
        drain,
        connections.clone(),
    ));

    // Beside everything else: probes are answered, and subscribers told to come back, while NATS is away.
    let version = async {
        nats.check_version().await?;
        std::future::pending::<Result<(), ConnectError>>().await
    };
    tokio::select! {
        () = follow(&broker, &source, &mut tasks, &shutdown) => {}
        too_old = version => return too_old.map_err(Into::into),
    }
    let config = broker.config();
    drain::shut_down(&config.shutdown, &switches, &broker.sessions, &connections).await;
    tracing::info!("ended");
    Ok(())
}

/// Takes changes of the configuration over until `shutdown`.
async fn follow(
    broker: &Broker,
    source: &Source,
    tasks: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) {
    let mut seen = source.seen();
    loop {
        let changed = tokio::select! {
            changed = source.changed(&mut seen) => changed,
            () = shutdown.cancelled() => return,
        };
        let counted = |outcome| broker.metrics.config_reloads.with_label_values(&[outcome]).inc();
        match changed {
            Ok(Usable { config, unknown }) => {
                counted("taken");
                tell_unknown(&broker.metrics, &unknown);
                for key in broker.config().needs_restart(&config) {
                    tracing::warn!(key, "this change needs a restart");
                }
                broker.reconfigure(config, tasks);
                tracing::info!("took the changed configuration over");
            }
            Err(error) => {
                counted("refused");
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

/// Nanoseconds since 1970, by this machine's clock.
fn now_nanos() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

//! The operator's connection to NATS. It reconnects forever, and again with new credentials when their files change.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use async_nats::{Client, Event, connection::State, jetstream::Context};
use eventcast_crds::config;
use eventcast_runtime::{
    Chain,
    nats::{NatsConfigError, check_version, jetstream, options, servers},
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::Metrics,
    settings::{Credentials, Settings},
    status::reasons,
    stream_error::StreamError,
};

/// Interval at which the credential files are read. A kubelet takes up to a minute to update a mounted Secret.
const CREDENTIALS_POLL_INTERVAL: Duration = Duration::from_secs(10);
/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection without an answer to two pings counts as lost.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How long JetStream may take to answer one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);
/// Upper bound of the delay between attempts to reconnect, in milliseconds.
const MAX_RECONNECT_DELAY_MILLISECONDS: u64 = 2000;

/// Why no connection is possible with these settings.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A server address is invalid, or a file cannot be read.
    #[error(transparent)]
    Config(#[from] NatsConfigError),
    /// The client library rejects the options.
    #[error("failed to set up the connection to NATS")]
    Options(#[source] async_nats::ConnectError),
    /// A credential file cannot be read.
    #[error("failed to read {path}")]
    Credentials {
        /// Path of the file.
        path: String,
        /// Why it cannot be read.
        #[source]
        source: std::io::Error,
    },
}

struct Connection {
    client: Client,
    jetstream: Context,
}

/// The current connection to NATS and the credentials that it uses.
pub struct NatsLink {
    settings: Arc<Settings>,
    connection: ArcSwap<Connection>,
    credentials: ArcSwap<Credentials>,
    /// Counts connections and changes of the credentials. After each the controller reconciles every channel.
    changes: watch::Sender<u64>,
    metrics: Arc<Metrics>,
}

impl NatsLink {
    /// Starts to connect in the background.
    ///
    /// # Errors
    /// See [`ConnectError`]. An unreachable server is no error.
    pub async fn connect(
        settings: Arc<Settings>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, ConnectError> {
        let changes = watch::Sender::new(0);
        let credentials = read_credentials(&settings).await?;
        let connection = connect(&settings.nats, &changes, &metrics).await?;
        Ok(Arc::new(Self {
            settings,
            connection: ArcSwap::from_pointee(connection),
            credentials: ArcSwap::from_pointee(credentials),
            changes,
            metrics,
        }))
    }

    /// The JetStream API. Call [`check_usable`](Self::check_usable) before a request.
    #[must_use]
    pub fn jetstream(&self) -> Context {
        self.connection.load().jetstream.clone()
    }

    /// Size of the largest message that NATS accepts, headers included, in bytes. The default of nats-server until the first
    /// connection.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.connection.load().client.max_payload()
    }

    /// The credentials of the current connection.
    #[must_use]
    pub fn credentials(&self) -> Arc<Credentials> {
        self.credentials.load_full()
    }

    /// Changes whenever every channel must be reconciled again.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Checks that the operator is connected to a server of a supported version. The client queues requests without a connection,
    /// and without a bound.
    ///
    /// # Errors
    /// The state of the condition `StreamReady`.
    pub fn check_usable(&self) -> Result<(), StreamError> {
        let client = self.connection.load().client.clone();
        let servers = self.settings.nats.servers.join(", ");
        if client.connection_state() != State::Connected {
            return Err(StreamError::transient(
                reasons::NATS_UNREACHABLE,
                format!(
                    "no connection to NATS at {servers}: nothing was changed; retrying. Check that NATS runs, and that no NetworkPolicy keeps the operator from it"
                ),
            ));
        }
        check_version(&client.server_info().version).map_err(|error| {
            StreamError::transient(
                reasons::NATS_TOO_OLD,
                format!("{error}; the server is at {servers}"),
            )
        })
    }

    /// Waits for a connection, for at most `limit`.
    ///
    /// # Errors
    /// Those of [`check_usable`](Self::check_usable), after `limit`.
    pub async fn wait_connected(&self, limit: Duration) -> Result<(), StreamError> {
        let mut changes = self.changes();
        let connected = async {
            while self
                .check_usable()
                .is_err_and(|e| e.condition.reason == reasons::NATS_UNREACHABLE)
            {
                // `self` owns the sender, so it cannot be dropped here.
                drop(timeout(Duration::from_millis(200), changes.changed()).await);
            }
        };
        drop(timeout(limit, connected).await);
        self.check_usable()
    }

    /// Polls the credential files until `stop`, and reconnects when they change.
    pub async fn watch_credentials(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = sleep(CREDENTIALS_POLL_INTERVAL) => {}
                () = stop.cancelled() => return,
            }
            let credentials = match read_credentials(&self.settings).await {
                Ok(read) if read != **self.credentials.load() => read,
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "cannot read the NATS credentials; keeping the last ones");
                    continue;
                }
            };
            match connect(&self.settings.nats, &self.changes, &self.metrics).await {
                Ok(connection) => {
                    self.connection.store(Arc::new(connection));
                    self.credentials.store(Arc::new(credentials));
                    tracing::info!("the NATS credentials changed; reconnecting");
                    self.changes.send_modify(|n| *n += 1);
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "cannot use the changed NATS credentials; keeping the last ones")
                }
            }
        }
    }
}

async fn read_credentials(settings: &Settings) -> Result<Credentials, ConnectError> {
    settings.read_credentials().await.map_err(|(path, source)| ConnectError::Credentials {
        path: path.display().to_string(),
        source,
    })
}

async fn connect(
    config: &config::Nats,
    changes: &watch::Sender<u64>,
    metrics: &Arc<Metrics>,
) -> Result<Connection, ConnectError> {
    let (changes, metrics) = (changes.clone(), Arc::clone(metrics));
    let client = options(config)
        .await?
        .name("eventcast-operator")
        .retry_on_initial_connect()
        .max_reconnects(None)
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .reconnect_delay_callback(|attempt| {
            let max = (100 * attempt as u64).clamp(1, MAX_RECONNECT_DELAY_MILLISECONDS);
            Duration::from_millis(fastrand::u64(max / 2..=max))
        })
        .event_callback(move |event| {
            match &event {
                Event::Connected => {
                    metrics.nats_connected.set(1);
                    changes.send_modify(|n| *n += 1);
                    tracing::info!("connected to NATS");
                }
                Event::Disconnected => {
                    metrics.nats_connected.set(0);
                    tracing::warn!("lost the connection to NATS; reconnecting");
                }
                Event::ServerError(error) => {
                    tracing::warn!(error = %Chain(error), "NATS server error")
                }
                other => tracing::debug!(event = %other, "NATS client event"),
            }
            std::future::ready(())
        })
        .connect(servers(config)?)
        .await
        .map_err(ConnectError::Options)?;
    let jetstream = jetstream(config, client.clone(), REQUEST_TIMEOUT);
    Ok(Connection { client, jetstream })
}

//! The connections to NATS. There are three, because each has one read buffer and one task: the tail must not wait for history, and
//! publishes must not wait for either.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use async_nats::{Client, Event, connection::State, jetstream};
use eventcast_crds::{
    config::{self, ChannelConfig},
    stream::exceeds_payload,
};
use eventcast_runtime::{
    nats::{self, NatsConfigError, UnsupportedVersion},
    {Chain, supervise::Supervisor},
};
use tokio::{
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use super::parking::Parking;
use crate::metrics::Metrics;

/// How long `eventcast-broker check --nats` waits for a connection.
const CHECK_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request to the JetStream API may take.
const JETSTREAM_API_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one attempt to connect to a server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long closing a connection may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(200);
/// How often an idle connection is checked.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Why there is no connection to NATS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Config(#[from] NatsConfigError),
    #[error("failed to set up the connection to NATS")]
    Options(#[source] async_nats::ConnectError),
    #[error(transparent)]
    TooOld(#[from] UnsupportedVersion),
}

/// The connections, shared by all channels.
pub(crate) struct Nats {
    pub(super) tail: jetstream::Context,
    pub(super) history: jetstream::Context,
    pub(super) publish: Client,
    pub(super) publishes: Arc<Semaphore>,
    pub(super) ack_timeout: Duration,
    pub(super) create_streams: bool,
    /// Prefix of the subjects of the JetStream API.
    pub(super) api_prefix: String,
    /// Which logs are attached.
    pub(crate) parking: Parking,
    /// The number of connections of the tail's client so far. If it changes, the connection was lost in between.
    pub(super) connected: watch::Receiver<u64>,
    reached: AtomicBool,
    supervisor: Supervisor,
    pub(super) metrics: Arc<Metrics>,
}

impl Nats {
    /// Starts connecting in the background.
    pub(crate) async fn connect(
        config: &config::Nats,
        in_flight: usize,
        metrics: &Arc<Metrics>,
        supervisor: &Supervisor,
    ) -> Result<Arc<Self>, ConnectError> {
        let (tx, connected) = watch::channel(0);
        let tail = client(
            config,
            "tail",
            Some(ConnectionReport {
                connected: tx,
                metrics: Arc::clone(metrics),
                is_outage_logged: AtomicBool::new(false),
            }),
        )
        .await?;
        let history = client(config, "history", None).await?;
        let publish = client(config, "publish", None).await?;
        let context = |c| nats::jetstream(config, c, JETSTREAM_API_TIMEOUT);
        Ok(Arc::new(Self {
            tail: context(tail),
            history: context(history),
            publish,
            publishes: Arc::new(Semaphore::new(in_flight)),
            ack_timeout: Duration::from_millis(config.ack_milliseconds),
            create_streams: config.create_streams,
            api_prefix: config.api_prefix(),
            parking: Parking::new(),
            connected,
            reached: AtomicBool::new(false),
            supervisor: supervisor.clone(),
            metrics: Arc::clone(metrics),
        }))
    }

    /// Waits for the first connection, without a time limit. Fails if the server is too old.
    pub(crate) async fn check_version(&self) -> Result<(), ConnectError> {
        let client = self.tail.client();
        let mut connected = self.connected.clone();
        let up = connected.wait_for(|n| *n > 0).await;
        if up.is_ok() {
            nats::check_version(&client.server_info().version)?;
        }
        Ok(())
    }

    /// Checks that NATS is reachable, recent enough and accepts the largest events of `channels`. Returns one message per problem.
    pub(crate) async fn problems(
        &self,
        config: &config::Nats,
        channels: impl Iterator<Item = &ChannelConfig>,
    ) -> Vec<String> {
        let connected = timeout(CHECK_CONNECT_TIMEOUT, async {
            self.check_version().await?;
            while !self.can_publish() {
                sleep(Duration::from_millis(20)).await;
            }
            Ok::<_, ConnectError>(())
        });
        match connected.await {
            Ok(Ok(())) => channels
                .filter_map(|c| {
                    let problem = exceeds_payload(c, self.max_payload())?;
                    Some(format!("channel {}: {problem}", c.key()))
                })
                .collect(),
            Ok(Err(error)) => vec![error.to_string()],
            Err(_) => {
                let (servers, seconds) =
                    (config.servers.join(", "), CHECK_CONNECT_TIMEOUT.as_secs());
                vec![format!("no connection to NATS at {servers} within {seconds} s")]
            }
        }
    }

    /// Closes the connection of the tail, so that a server that stops after this broker is not logged as an outage. Best effort.
    pub(crate) async fn close(&self) {
        let client = self.tail.client();
        if client.connection_state() == State::Connected && client.drain().await.is_ok() {
            // The sender ends with the connection.
            let mut connected = self.connected.clone();
            _ = timeout(CLOSE_TIMEOUT, connected.wait_for(|_| false)).await;
        }
    }

    /// JetStream for the records that brokers share ([`crate::cluster`]).
    pub(crate) fn state(&self) -> &jetstream::Context {
        &self.history
    }

    /// Whether streams are created by brokers.
    pub(crate) fn creates_streams(&self) -> bool {
        self.create_streams
    }

    /// Counts the connections so far. A change means that the connection was lost in between.
    pub(crate) fn connections(&self) -> watch::Receiver<u64> {
        self.connected.clone()
    }

    /// Whether the connected server is older than the oldest supported version.
    pub(super) fn is_too_old(&self) -> bool {
        nats::check_version(&self.tail.client().server_info().version).is_err()
    }

    /// Waits for the tail's connection. Without one, the client queues requests without a time limit.
    pub(crate) async fn wait_for_connection(&self) {
        let mut connected = self.connected.clone();
        while self.tail.client().connection_state() != State::Connected {
            // The state and the event may change in either order, so the state is also checked periodically.
            if let Ok(Err(_)) = timeout(Duration::from_millis(200), connected.changed()).await {
                return;
            }
        }
    }

    /// Whether all connections were established at least once. A broker stays ready during later outages and serves from memory.
    pub(crate) fn was_reached(&self) -> bool {
        let clients = [self.tail.client(), self.history.client(), self.publish.clone()];
        let up = clients.iter().all(|c| c.connection_state() == State::Connected);
        self.reached.fetch_or(up, Relaxed) || up
    }

    pub(crate) fn can_read(&self) -> bool {
        self.history.client().connection_state() == State::Connected
    }

    pub(super) fn can_publish(&self) -> bool {
        self.publish.connection_state() == State::Connected
    }

    /// The largest message that NATS accepts, in bytes, headers included. Before the first connection: the default of nats-server.
    pub(super) fn max_payload(&self) -> usize {
        self.publish.max_payload()
    }

    /// Warns after each connect if NATS does not accept the largest events of `channel`. Never returns; cancel safe.
    pub(super) async fn warn_of_small_payload(&self, channel: &ChannelConfig) {
        let mut connected = self.connected.clone();
        while connected.wait_for(|n| *n > 0).await.is_ok() {
            while !self.can_publish() {
                sleep(Duration::from_millis(100)).await;
            }
            if let Some(problem) = exceeds_payload(channel, self.max_payload()) {
                tracing::warn!(
                    channel = channel.key(),
                    reason = problem,
                    "NATS does not accept the largest events of the channel"
                );
            }
            if connected.changed().await.is_err() {
                break;
            }
        }
        std::future::pending().await
    }

    /// Reconnects clients whose server does not answer. Such a connection may stay up for a long time.
    pub(super) async fn reconnect(&self, clients: &[&Client]) {
        self.metrics.nats_forced_reconnects.inc();
        for client in clients {
            if let Err(error) = client.force_reconnect().await {
                // The client's task has ended, so the connection would never come back.
                self.supervisor.fail("NATS client", Chain(&error));
            }
        }
    }

    pub(super) async fn reconnect_readers(&self) {
        self.reconnect(&[&self.tail.client(), &self.history.client()]).await;
    }
}

/// Reports the state of one connection in metrics and logs. The other connections fail and recover with it.
struct ConnectionReport {
    connected: watch::Sender<u64>,
    metrics: Arc<Metrics>,
    /// Limits the log to one line per outage.
    is_outage_logged: AtomicBool,
}

async fn client(
    config: &config::Nats,
    role: &str,
    report: Option<ConnectionReport>,
) -> Result<Client, ConnectError> {
    let servers = nats::servers(config)?;
    let report = report.map(Arc::new);
    let options = nats::options(config)
        .await?
        .name(format!("eventcast-broker/{role}"))
        .retry_on_initial_connect()
        .max_reconnects(None)
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        // With jitter, so that brokers that lost the same server do not reconnect at the same time.
        .reconnect_delay_callback(|n| {
            let cap = (50 * n as u64).clamp(1, 500);
            Duration::from_millis(fastrand::u64(cap / 2..=cap))
        })
        .subscription_capacity(65_536)
        .client_capacity(4096)
        .event_callback(move |event| {
            let report = report.clone();
            async move { on_event(&event, report.as_deref()) }
        });
    options.connect(servers).await.map_err(ConnectError::Options)
}

fn on_event(event: &Event, report: Option<&ConnectionReport>) {
    let Some(ConnectionReport { connected, metrics, is_outage_logged }) = report else {
        return;
    };
    match event {
        Event::Connected => {
            metrics.nats_connected.set(1);
            is_outage_logged.store(false, Relaxed);
            connected.send_modify(|n| *n += 1);
            tracing::info!("connected to NATS");
        }
        Event::Disconnected => {
            metrics.nats_connected.set(0);
            metrics.nats_disconnects.inc();
            tracing::warn!("lost the connection to NATS");
        }
        // Permission violations arrive here. The request that caused one only times out.
        Event::ServerError(error) => tracing::warn!(error = %Chain(error), "NATS server error"),
        Event::ClientError(error) if !is_outage_logged.swap(true, Relaxed) => {
            tracing::warn!(%error, "cannot reach NATS; retrying");
        }
        Event::SlowConsumer(_) => {
            tracing::warn!("dropped messages from NATS: this broker reads too slowly")
        }
        other => tracing::debug!(event = %other, "NATS client event"),
    }
}

//! Connections to NATS: three, because each has one read buffer and one task: the tail must not wait behind history, nor
//! publishes behind either.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use async_nats::{
    Client, Event,
    connection::State,
    jetstream::{self, context::ContextBuilder},
};
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

use crate::metrics::Metrics;

/// How long a check waits for NATS.
const CHECK: Duration = Duration::from_secs(10);

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
    /// Counts connections of the tail's client: a change means that it was lost in between.
    pub(super) connected: watch::Receiver<u64>,
    reached: AtomicBool,
    supervisor: Supervisor,
    metrics: Arc<Metrics>,
}

impl Nats {
    /// Begins to connect; does not wait for it.
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
            Some(Watch {
                connected: tx,
                metrics: Arc::clone(metrics),
                told: AtomicBool::new(false),
            }),
        )
        .await?;
        let history = client(config, "history", None).await?;
        let publish = client(config, "publish", None).await?;
        let context = |c| ContextBuilder::new().timeout(Duration::from_secs(2)).build(c);
        Ok(Arc::new(Self {
            tail: context(tail),
            history: context(history),
            publish,
            publishes: Arc::new(Semaphore::new(in_flight)),
            ack_timeout: Duration::from_millis(config.ack_milliseconds),
            create_streams: config.create_streams,
            connected,
            reached: AtomicBool::new(false),
            supervisor: supervisor.clone(),
            metrics: Arc::clone(metrics),
        }))
    }

    /// Waits for the first connection, however long; fails if the server at its other end is too old.
    pub(crate) async fn check_version(&self) -> Result<(), ConnectError> {
        let client = self.tail.client();
        let mut connected = self.connected.clone();
        let up = connected.wait_for(|n| *n > 0).await;
        if up.is_ok() {
            nats::check_version(&client.server_info().version)?;
        }
        Ok(())
    }

    /// Everything that is wrong with NATS for `channels`, each in words.
    pub(crate) async fn complaints(
        &self,
        config: &config::Nats,
        channels: &[ChannelConfig],
    ) -> Vec<String> {
        let connected = timeout(CHECK, async {
            self.check_version().await?;
            while !self.can_publish() {
                sleep(Duration::from_millis(20)).await;
            }
            Ok::<_, ConnectError>(())
        });
        match connected.await {
            Ok(Ok(())) => channels
                .iter()
                .filter_map(|c| {
                    let problem = exceeds_payload(c, self.max_payload())?;
                    Some(format!("channel {}: {problem}", c.key()))
                })
                .collect(),
            Ok(Err(error)) => vec![error.to_string()],
            Err(_) => {
                let (servers, seconds) = (config.servers.join(", "), CHECK.as_secs());
                vec![format!("no connection to NATS at {servers} within {seconds} s")]
            }
        }
    }

    /// Whether the server that we are connected to lacks what we need.
    pub(super) fn too_old(&self) -> bool {
        nats::check_version(&self.tail.client().server_info().version).is_err()
    }

    /// Waits for the tail's connection. What is asked without one is queued, without bound in time.
    pub(super) async fn reachable(&self) {
        let mut connected = self.connected.clone();
        while self.tail.client().connection_state() != State::Connected {
            // The state may be true before the event came, or after it was lost.
            if let Ok(Err(_)) = timeout(Duration::from_millis(200), connected.changed()).await {
                return;
            }
        }
    }

    /// Whether all connections were up once. Later outages leave a broker ready: it serves what it has.
    pub(crate) fn was_reached(&self) -> bool {
        let clients = [self.tail.client(), self.history.client(), self.publish.clone()];
        let up = clients.iter().all(|c| c.connection_state() == State::Connected);
        self.reached.fetch_or(up, Relaxed) || up
    }

    pub(super) fn can_read(&self) -> bool {
        self.history.client().connection_state() == State::Connected
    }

    pub(super) fn can_publish(&self) -> bool {
        self.publish.connection_state() == State::Connected
    }

    /// Bytes that NATS takes in one published message, headers included. Until the first connection: the default of nats-server.
    pub(super) fn max_payload(&self) -> usize {
        self.publish.max_payload()
    }

    /// Says at each connection whether NATS takes the largest events of `channel`. Never returns; cancel safe.
    pub(super) async fn warn_of_small_payload(&self, channel: &ChannelConfig) {
        let mut connected = self.connected.clone();
        while connected.wait_for(|n| *n > 0).await.is_ok() {
            while !self.can_publish() {
                sleep(Duration::from_millis(100)).await;
            }
            if let Some(problem) = exceeds_payload(channel, self.max_payload()) {
                tracing::warn!(
                    channel = channel.key(),
                    problem,
                    "NATS does not take the largest events"
                );
            }
            if connected.changed().await.is_err() {
                break;
            }
        }
        std::future::pending().await
    }

    /// Leaves a server that does not answer: its connection may stay up for long.
    pub(super) async fn leave(&self, clients: &[&Client]) {
        self.metrics.nats_forced_reconnects.inc();
        for client in clients {
            if let Err(error) = client.force_reconnect().await {
                // Its task has ended, and nothing else would make a new connection.
                self.supervisor.fail("NATS client", Chain(&error));
            }
        }
    }

    pub(super) async fn leave_for_reading(&self) {
        self.leave(&[&self.tail.client(), &self.history.client()]).await;
    }
}

/// What is told of one connection: the others fail and come back with it.
struct Watch {
    connected: watch::Sender<u64>,
    metrics: Arc<Metrics>,
    told: AtomicBool,
}

async fn client(
    config: &config::Nats,
    role: &str,
    watch: Option<Watch>,
) -> Result<Client, ConnectError> {
    let servers = nats::servers(config)?;
    let watch = watch.map(Arc::new);
    let options = nats::options(config)
        .await?
        .name(format!("eventcast-broker/{role}"))
        .retry_on_initial_connect()
        .max_reconnects(None)
        .connection_timeout(Duration::from_secs(1))
        .ping_interval(Duration::from_secs(5))
        // Jitter: brokers that lost one server must not come back in step.
        .reconnect_delay_callback(|n| {
            let cap = (50 * n as u64).clamp(1, 500);
            Duration::from_millis(fastrand::u64(cap / 2..=cap))
        })
        .subscription_capacity(65_536)
        .client_capacity(4096)
        .event_callback(move |event| {
            let watch = watch.clone();
            async move { on_event(&event, watch.as_deref()) }
        });
    options.connect(servers).await.map_err(ConnectError::Options)
}

fn on_event(event: &Event, watch: Option<&Watch>) {
    let Some(Watch { connected, metrics, told }) = watch else {
        return;
    };
    match event {
        Event::Connected => {
            metrics.nats_connected.set(1);
            told.store(false, Relaxed);
            connected.send_modify(|n| *n += 1);
            tracing::info!("connected to NATS");
        }
        Event::Disconnected => {
            metrics.nats_connected.set(0);
            metrics.nats_disconnects.inc();
            tracing::warn!("lost the connection to NATS");
        }
        // Permission violations arrive here; the request itself only times out.
        Event::ServerError(error) => tracing::warn!(error = %Chain(error), "NATS refuses"),
        // Once an outage, not once a try.
        Event::ClientError(error) if !told.swap(true, Relaxed) => {
            tracing::warn!(%error, "cannot reach NATS: trying on");
        }
        Event::SlowConsumer(_) => {
            tracing::warn!("NATS messages dropped: this broker reads too slowly")
        }
        other => tracing::debug!(event = %other, "NATS"),
    }
}

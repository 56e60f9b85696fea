//! The operator's connection to NATS: kept up for ever, made anew when its credentials change.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use async_nats::{
    Client, Event,
    connection::State,
    jetstream::{self, context::ContextBuilder},
};
use eventcast_crds::config;
use eventcast_runtime::{
    Chain,
    nats::{NatsConfigError, check_version, options, servers},
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
    stream::StreamError,
};

/// How often the files with the credentials are looked at. A kubelet takes a minute to bring a changed Secret anyway.
const LOOK: Duration = Duration::from_secs(10);

/// Why there is no connection, and never will be with these settings.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] NatsConfigError),
    /// The client refuses them.
    #[error("failed to set up the connection to NATS")]
    Options(#[source] async_nats::ConnectError),
    /// A file with credentials cannot be read.
    #[error("failed to read {path}")]
    Credentials {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

struct Link {
    client: Client,
    context: jetstream::Context,
}

/// NATS, as the operator sees it.
pub struct Jet {
    settings: Arc<Settings>,
    link: ArcSwap<Link>,
    credentials: ArcSwap<Credentials>,
    /// Counts connections and changes of credentials: each is a reason to look at every channel.
    news: watch::Sender<u64>,
    metrics: Arc<Metrics>,
}

impl Jet {
    /// Begins to connect; does not wait for it.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(
        settings: Arc<Settings>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, ConnectError> {
        let news = watch::Sender::new(0);
        let credentials = read(&settings).await?;
        let link = link(&settings.nats, &news, &metrics).await?;
        Ok(Arc::new(Self {
            settings,
            link: ArcSwap::from_pointee(link),
            credentials: ArcSwap::from_pointee(credentials),
            news,
            metrics,
        }))
    }

    /// Questions to JetStream.
    #[must_use]
    pub fn context(&self) -> jetstream::Context {
        self.link.load().context.clone()
    }

    /// Bytes that NATS takes in one message, headers included. Until the first connection: the default of nats-server.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.link.load().client.max_payload()
    }

    /// The credentials, as the files said last.
    #[must_use]
    pub fn credentials(&self) -> Arc<Credentials> {
        self.credentials.load_full()
    }

    /// Changes with every reason to look at all channels again.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Whether there is a connection to a server that will do. What is asked without one would be queued without end.
    ///
    /// # Errors
    /// In the words of the condition.
    pub fn usable(&self) -> Result<(), StreamError> {
        let client = self.link.load().client.clone();
        let servers = self.settings.nats.servers.join(", ");
        if client.connection_state() != State::Connected {
            return Err(StreamError {
                reason: reasons::NATS_UNREACHABLE,
                message: format!(
                    "no connection to NATS at {servers}: nothing was changed, and it is tried again"
                ),
                passing: true,
            });
        }
        if let Err(error) = check_version(&client.server_info().version) {
            return Err(StreamError {
                reason: reasons::NATS_TOO_OLD,
                message: format!("{error}; the server is at {servers}"),
                passing: true,
            });
        }
        Ok(())
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// As [`usable`](Self::usable), when `patience` ran out.
    pub async fn reach(&self, patience: Duration) -> Result<(), StreamError> {
        let mut news = self.news();
        let wait = async {
            while self.usable().is_err_and(|e| e.reason == reasons::NATS_UNREACHABLE) {
                // the sender is ours, so it does not go away
                drop(timeout(Duration::from_millis(200), news.changed()).await);
            }
        };
        drop(timeout(patience, wait).await);
        self.usable()
    }

    /// Looks at the files with the credentials until `stop`, and connects anew when they change.
    pub async fn follow_credentials(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = sleep(LOOK) => {}
                () = stop.cancelled() => return,
            }
            let read = match read(&self.settings).await {
                Ok(read) if read != **self.credentials.load() => read,
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "the credentials of NATS cannot be read: the last ones stay");
                    continue;
                }
            };
            match link(&self.settings.nats, &self.news, &self.metrics).await {
                Ok(link) => {
                    self.link.store(Arc::new(link));
                    self.credentials.store(Arc::new(read));
                    tracing::info!("the credentials of NATS have changed");
                    self.news.send_modify(|n| *n += 1);
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "the changed credentials of NATS cannot be used")
                }
            }
        }
    }
}

async fn read(settings: &Settings) -> Result<Credentials, ConnectError> {
    settings.credentials().await.map_err(|(path, source)| ConnectError::Credentials {
        path: path.display().to_string(),
        source,
    })
}

async fn link(
    config: &config::Nats,
    news: &watch::Sender<u64>,
    metrics: &Arc<Metrics>,
) -> Result<Link, ConnectError> {
    let (news, metrics) = (news.clone(), Arc::clone(metrics));
    let client = options(config)
        .await?
        .name("eventcast-operator")
        .retry_on_initial_connect()
        .max_reconnects(None)
        .connection_timeout(Duration::from_secs(2))
        .ping_interval(Duration::from_secs(5))
        .reconnect_delay_callback(|n| {
            let cap = (100 * n as u64).clamp(1, 2000);
            Duration::from_millis(fastrand::u64(cap / 2..=cap))
        })
        .event_callback(move |event| {
            match &event {
                Event::Connected => {
                    metrics.nats_connected.set(1);
                    news.send_modify(|n| *n += 1);
                    tracing::info!("connected to NATS");
                }
                Event::Disconnected => {
                    metrics.nats_connected.set(0);
                    tracing::warn!("lost the connection to NATS");
                }
                Event::ServerError(error) => tracing::warn!(error = %Chain(error), "NATS refuses"),
                other => tracing::debug!(event = %other, "NATS"),
            }
            std::future::ready(())
        })
        .connect(servers(config)?)
        .await
        .map_err(ConnectError::Options)?;
    let context = ContextBuilder::new().timeout(Duration::from_secs(4)).build(client.clone());
    Ok(Link { client, context })
}

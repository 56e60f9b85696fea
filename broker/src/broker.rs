//! What a running broker holds: its configuration, its channels, its open streams. Handlers get it by reference.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use eventcast_crds::{
    config::{BrokerConfig, ChannelConfig, Memory},
    process::supervise::Supervisor,
};
use http::StatusCode;
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Duration, Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    channel::Channel,
    fanout::{CloseReason, sessions::Sessions, shard::Shards},
    http::problem::Problem,
    log::{Log, Nats, PageCache, TailBudget},
    metrics::Metrics,
    readiness::Readiness,
};

/// How long a query waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Channels that `/readyz` names at most.
const NAMED: usize = 5;

type Channels = BTreeMap<String, Arc<Channel>>;

/// A running broker.
pub(crate) struct Broker {
    config: ArcSwap<BrokerConfig>,
    /// The budgets that this process began with.
    memory: Memory,
    channels: ArcSwap<Channels>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) pages: Arc<PageCache>,
    /// None where hyper keeps every socket.
    pub(crate) shards: Shards,
    nats: Arc<Nats>,
    queries: Semaphore,
    readiness: Mutex<Readiness>,
    supervisor: Supervisor,
    stop: CancellationToken,
}

impl Broker {
    pub(crate) fn new(
        config: BrokerConfig,
        nats: Arc<Nats>,
        metrics: Arc<Metrics>,
        shards: Shards,
        supervisor: Supervisor,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            shards,
            channels: ArcSwap::default(),
            sessions: Sessions::new(),
            pages: PageCache::new(config.memory.page_bytes, config.memory.channel_page_bytes),
            memory: config.memory.clone(),
            queries: Semaphore::new(config.query.concurrent),
            config: ArcSwap::from_pointee(config),
            readiness: Mutex::default(),
            supervisor,
            metrics,
            nats,
            stop,
        })
    }

    pub(crate) fn config(&self) -> Arc<BrokerConfig> {
        self.config.load_full()
    }

    pub(crate) fn channels(&self) -> Arc<Channels> {
        self.channels.load_full()
    }

    pub(crate) fn channel(&self, namespace: &str, name: &str) -> Option<Arc<Channel>> {
        self.channels.load().get(&format!("{namespace}/{name}")).cloned()
    }

    /// Whether this broker can serve; see [`readiness`](crate::readiness).
    ///
    /// # Errors
    /// What it waits for.
    pub(crate) fn ready(&self) -> Result<(), String> {
        if !self.nats.was_reached() {
            return Err("NATS was not reached yet".into());
        }
        let channels = self.channels.load();
        let unread: Vec<&str> = channels
            .iter()
            .filter(|(_, channel)| channel.log().tail().incarnation().is_none())
            .map(|(key, _)| &**key)
            .collect();
        let readable = channels.len() - unread.len();
        if self.readiness.lock().look(readable, channels.len(), Instant::now()) {
            return Ok(());
        }
        let named = unread.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        let more = match unread.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Err(format!("the log of {named}{more} was not read yet"))
    }

    /// Waits for a turn to scan the log.
    pub(crate) async fn query_turn(&self) -> Result<SemaphorePermit<'_>, Problem> {
        match timeout(PATIENCE, self.queries.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "Not now",
                "Too many queries are under way. Repeat after Retry-After.",
            )
            .retry_after(Duration::from_secs(2))),
        }
    }

    /// Takes `new` over: opens, changes and closes channels.
    pub(crate) fn reconfigure(&self, new: BrokerConfig) {
        let old = self.channels.load_full();
        let wanted: BTreeMap<_, _> = new.channels.iter().map(|c| (c.key(), c)).collect();
        let (kept, gone): (Vec<_>, Vec<_>) =
            old.iter().partition(|(key, c)| wanted.get(*key).is_some_and(|w| c.reconfigure(w)));
        // The old reader stops before a new one of the same name begins.
        gone.iter().for_each(|(_, channel)| channel.close());
        let mut next: Channels =
            kept.into_iter().map(|(k, c)| (k.clone(), Arc::clone(c))).collect();
        let share = self.memory.tail_share(wanted.len());
        // Those that stay make room before others begin.
        next.values().for_each(|channel| channel.log().resize_tail(share));
        let budget = TailBudget { events: self.memory.tail_events, bytes: share };
        for (key, config) in wanted {
            next.entry(key).or_insert_with(|| self.open(config, budget));
        }
        let gone: Vec<_> = gone.into_iter().map(|(key, _)| key.clone()).collect();
        self.channels.store(Arc::new(next));
        self.config.store(Arc::new(new));
        for channel in gone {
            self.sessions.close_channel(&channel, CloseReason::ChannelRemoved);
            tracing::info!(channel, "closed the channel, or its log");
        }
    }

    fn open(&self, config: &ChannelConfig, budget: TailBudget) -> Arc<Channel> {
        let metrics = self.metrics.channel(&config.key());
        let nats = Arc::clone(&self.nats);
        let log = Log::open(config, budget, nats, &self.pages, Arc::clone(&metrics));
        Channel::open(config, log, metrics, &self.supervisor, self.stop.child_token())
    }
}

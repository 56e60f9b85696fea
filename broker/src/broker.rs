//! What a running broker holds: its configuration, its channels, its open streams. Handlers get it by reference.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use eventcast_crds::config::{BrokerConfig, ChannelConfig, Memory};
use eventcast_runtime::supervise::Supervisor;
use eventcast_wire::closing::CloseReason;
use http::StatusCode;
use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::time::{Duration, Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    budget::{Budget, Share},
    channel::Channel,
    client::Client,
    fanout::{sessions::Sessions, shard::Shards},
    http::problem::Problem,
    log::{Log, Nats, PageCache, TailBudget},
    metrics::Metrics,
    readiness::Readiness,
    sockets::Sockets,
};

/// How long a query waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Channels that `/readyz` names at most.
const NAMED: usize = 5;
/// A query that may run.
pub(crate) struct QueryTurn {
    _turn: Share,
    /// KiB of its answer.
    room: Share,
}

impl QueryTurn {
    /// The query is done: what its answer of `bytes` needs.
    pub(crate) fn end(self, bytes: usize) -> Share {
        let mut room = self.room;
        room.shrink_to(in_kib(bytes));
        room
    }
}

/// Budgets of bytes are counted in KiB, since a share is a number of 32 bits.
pub(crate) fn in_kib(bytes: usize) -> usize {
    bytes.div_ceil(1024)
}

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
    queries: Arc<Budget>,
    answers: Arc<Budget>,
    /// KiB of publish requests, from their arrival to their acknowledgement.
    pub(crate) bodies: Arc<Budget>,
    pub(crate) sockets: Arc<Sockets>,
    readiness: Mutex<Readiness>,
    supervisor: Supervisor,
    stop: CancellationToken,
}

impl Broker {
    pub(crate) fn new(
        config: BrokerConfig,
        nats: Arc<Nats>,
        metrics: Arc<Metrics>,
        sockets: Arc<Sockets>,
        shards: Shards,
        supervisor: Supervisor,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (limits, query) = (&config.limits, &config.query);
        let part =
            |all: usize, each: usize, gauge: &IntGauge| Budget::new(all, each, gauge.clone());
        Arc::new(Self {
            bodies: part(
                in_kib(limits.body_bytes),
                in_kib(limits.body_bytes_per_address),
                &metrics.body_kib,
            ),
            answers: part(
                in_kib(query.answer_bytes),
                in_kib(query.answer_bytes) / 2,
                &metrics.answer_kib,
            ),
            queries: part(query.concurrent, query.concurrent / 2, &metrics.queries),
            sockets,
            shards,
            channels: ArcSwap::default(),
            sessions: Sessions::new(),
            pages: PageCache::new(config.memory.page_bytes, config.memory.channel_page_bytes),
            memory: config.memory.clone(),
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

    /// Waits for a turn to scan the log, and for room for an answer of `bytes`, which is kept until it has been read.
    pub(crate) async fn query_turn(
        &self,
        client: Client,
        bytes: usize,
    ) -> Result<QueryTurn, Problem> {
        let turn = async {
            // In this order: who waits for slow readers does not hold a turn.
            let room = self.answers.take(client, in_kib(bytes)).await;
            QueryTurn { _turn: self.queries.take(client, 1).await, room }
        };
        timeout(PATIENCE, turn).await.map_err(|_| {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "Not now",
                "Too many queries are under way, of this client or of all, or their answers are not read. Repeat after Retry-After.",
            )
            .retry_after(Duration::from_secs(2))
        })
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
        let subscribers = i64::try_from(new.limits.subscribers).unwrap_or(i64::MAX);
        self.metrics.subscribers_max.set(subscribers);
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

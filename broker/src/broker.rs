//! The state of a running broker: configuration, channels, open streams, and the budgets that they share.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use eventcast_crds::config::{BrokerConfig, ChannelConfig, Memory};
use eventcast_runtime::supervise::Supervisor;
use eventcast_wire::closing::CloseReason;
use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Duration, Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    access::{Issuers, Tasks},
    balance::Balance,
    budget::{Budget, Share},
    channel::Channel,
    channel_folder::{ChannelConfigs, FolderReport},
    client::Client,
    cluster::Store,
    fanout::shard::Shards,
    log::{Log, Nats, PageCache, TailBudget, TailShares},
    metrics::{ChannelMetrics, Metrics},
    readiness::Readiness,
    sessions::Sessions,
    sockets::Sockets,
    tls::Certificates,
};

/// How long a query waits for a slot and for its share of the answer budget.
const QUERY_SLOT_TIMEOUT: Duration = Duration::from_secs(5);

/// TLS handshakes at once. The others wait: more at once would only take memory, because these keep the processors busy.
const HANDSHAKES: usize = 256;
/// Of these, handshakes of one client, which may leave them half-open.
const CLIENT_HANDSHAKES: usize = 32;

/// In a broker with a folder of channels, the part of the queries and of the publishes in progress that one channel may have.
const QUERY_SHARE: usize = 4;
const PUBLISH_SHARE: usize = 8;

/// How often the shares of tails change at most.
const SHARE_INTERVAL: Duration = Duration::from_millis(50);

/// How much of the shared limits one channel may use.
#[derive(Clone, Copy)]
struct ChannelLimits {
    /// Queries at once.
    queries: usize,
    /// Publishes in progress.
    publishes: usize,
}

/// Channels that `/readyz` names at most.
const MAX_NAMED_CHANNELS: usize = 5;

/// No query slot became free in time.
#[derive(Debug, thiserror::Error)]
#[error("too many queries are in progress")]
pub(crate) struct TooManyQueries;

/// Permits a query to run.
pub(crate) struct QuerySlot {
    _of_channel: Option<OwnedSemaphorePermit>,
    _slot: Share,
    /// KiB of the answer.
    answer: Share,
}

impl QuerySlot {
    /// Releases the slot after the query, and returns the share of the budget that its answer of `bytes` needs.
    pub(crate) fn into_answer_share(self, bytes: usize) -> Share {
        let mut answer = self.answer;
        answer.shrink_to(in_kib(bytes));
        answer
    }
}

/// Bytes in KiB, rounded up. Byte budgets count KiB because a [`Share`] has 32 bits.
pub(crate) fn in_kib(bytes: usize) -> usize {
    bytes.div_ceil(1024)
}

type Channels = BTreeMap<String, Arc<Channel>>;

/// A running broker.
pub(crate) struct Broker {
    config: ArcSwap<BrokerConfig>,
    /// The memory budgets, which do not change while the process runs.
    memory: Memory,
    channels: ArcSwap<Channels>,
    /// The problems of the folder of channels.
    folder: ArcSwap<FolderReport>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) balance: Balance,
    pub(crate) metrics: Arc<Metrics>,
    /// The metrics of the streams of delivery probes.
    probe_metrics: OnceLock<Arc<ChannelMetrics>>,
    pub(crate) pages: Arc<PageCache>,
    /// The threads that own the sockets of HTTP/1.1 subscribers, unless `fanout.shards` is 0, and of HTTP/2 connections.
    pub(crate) shards: Shards,
    nats: Arc<Nats>,
    queries: Arc<Budget>,
    answers: Arc<Budget>,
    /// KiB of publish requests, until their events are acknowledged.
    pub(crate) bodies: Arc<Budget>,
    pub(crate) sockets: Arc<Sockets>,
    /// The certificate of the public listener, if it has TLS.
    pub(crate) certificates: Option<Arc<Certificates>>,
    /// TLS handshakes in progress.
    pub(crate) handshakes: Arc<Budget>,
    /// Among how many logs the memory of the tails is divided, in a broker with a folder of channels.
    tail_shares: Mutex<TailShares>,
    readiness: Mutex<Readiness>,
    supervisor: Supervisor,
    issuers: Arc<Issuers>,
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
        let certificates =
            config.tls.clone().map(|tls| Certificates::new(tls, Arc::clone(&metrics)));
        let budget = |total: usize, per_client: usize, gauge: &IntGauge| {
            Budget::new(total, per_client, gauge.clone())
        };
        Arc::new(Self {
            bodies: budget(
                in_kib(limits.body_bytes),
                in_kib(limits.body_bytes_per_address),
                &metrics.body_kib,
            ),
            answers: budget(
                in_kib(query.answer_bytes),
                in_kib(query.answer_bytes) / 2,
                &metrics.answer_kib,
            ),
            queries: budget(query.concurrent, query.concurrent / 2, &metrics.queries),
            handshakes: budget(HANDSHAKES, CLIENT_HANDSHAKES, &metrics.handshakes_in_progress),
            certificates,
            sockets,
            shards,
            channels: ArcSwap::default(),
            folder: ArcSwap::default(),
            sessions: Sessions::new(),
            balance: Balance::default(),
            pages: PageCache::new(config.memory.page_bytes, config.memory.channel_page_bytes),
            memory: config.memory.clone(),
            config: ArcSwap::from_pointee(config),
            tail_shares: Mutex::default(),
            readiness: Mutex::default(),
            supervisor,
            metrics,
            probe_metrics: OnceLock::new(),
            nats,
            issuers: Issuers::new(stop.clone()),
            stop,
        })
    }

    /// Closes streams for balance while the operator asks for it. Never returns.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn follow_orders(&self) {
        let settings = || self.config.load().balancing.clone();
        self.balance.follow_orders(&self.sessions, &self.metrics, settings).await;
    }

    /// The metrics of the streams of delivery probes. They are not exported.
    pub(crate) fn probe_metrics(&self) -> &Arc<ChannelMetrics> {
        self.probe_metrics.get_or_init(|| self.metrics.for_probes())
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

    /// Whether this broker is ready; see [`readiness`](crate::readiness).
    ///
    /// # Errors
    /// What the broker waits for.
    pub(crate) fn ready(&self) -> Result<(), String> {
        if !self.nats.was_reached() {
            return Err("not connected to NATS yet".into());
        }
        if self.config.load().channels_folder.is_some() && !self.folder.load().was_read {
            return Err("waiting for the folder of channels".into());
        }
        let channels = self.channels.load();
        // Without keys a new broker could verify no token, while the one that it replaces can.
        if !self.readiness.lock().was_ready()
            && let Some(keys) = channels.values().find_map(|channel| channel.access().awaited())
        {
            return Err(format!("waiting for {keys}"));
        }
        let starting: Vec<&str> = channels
            .iter()
            .filter(|(_, channel)| {
                !channel.log().is_parked() && channel.log().tail().incarnation().is_none()
            })
            .map(|(key, _)| &**key)
            .collect();
        let readable = channels.len() - starting.len();
        if self.readiness.lock().update(readable, channels.len(), Instant::now()) {
            return Ok(());
        }
        let named =
            starting.iter().take(MAX_NAMED_CHANNELS).copied().collect::<Vec<_>>().join(", ");
        let more = match starting.len().saturating_sub(MAX_NAMED_CHANNELS) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Err(format!("waiting for the log of {named}{more}"))
    }

    /// Waits for a query slot and for `bytes` of the answer budget.
    ///
    /// # Errors
    /// [`QUERY_SLOT_TIMEOUT`] has passed.
    pub(crate) async fn query_slot(
        &self,
        client: Client,
        channel: &Channel,
        bytes: usize,
    ) -> Result<QuerySlot, TooManyQueries> {
        let slot = async {
            // The slots of the channel first: a channel at its limit must not block the queue for others.
            let of_channel = match channel.queries() {
                Some(queries) => Arc::clone(queries).acquire_owned().await.ok(),
                None => None,
            };
            // In this order: a query that waits for slow readers of other answers holds no slot.
            let answer = self.answers.take(client, in_kib(bytes)).await;
            let slot = self.queries.take(client, 1).await;
            QuerySlot { _of_channel: of_channel, _slot: slot, answer }
        };
        timeout(QUERY_SLOT_TIMEOUT, slot).await.map_err(|_| TooManyQueries)
    }

    /// Divides the memory of the tails among the attached logs, while the broker has a folder of channels. Never returns.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn share_tails(&self) {
        let mut attached = self.nats.parking.attached();
        loop {
            let count = *attached.borrow_and_update();
            if self.config.load().channels_folder.is_some() {
                let mut shares = self.tail_shares.lock();
                if shares.update(count) {
                    let share = self.memory.tail_share(shares.logs());
                    self.channels.load().values().for_each(|c| c.log().resize_tail(share));
                }
            }
            sleep(SHARE_INTERVAL).await;
            if attached.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Publishes the problems of the folder of channels.
    pub(crate) fn report_folder(&self, report: FolderReport) {
        let rejected = i64::try_from(report.channels.len()).unwrap_or(i64::MAX);
        self.metrics.config_rejected_channels.set(rejected);
        let files = i64::try_from(report.files.len()).unwrap_or(i64::MAX);
        self.metrics.config_unreadable_files.set(files);
        self.folder.store(Arc::new(report));
    }

    /// The problems of the folder of channels.
    pub(crate) fn folder(&self) -> Arc<FolderReport> {
        self.folder.load_full()
    }

    /// Applies the configuration `new` and serves `channels`: opens, changes and closes channels.
    pub(crate) fn reconfigure(&self, new: BrokerConfig, channels: ChannelConfigs) {
        let old = self.channels.load_full();
        let drain = Duration::from_secs(new.shutdown.drain_seconds);
        let (kept, removed): (Vec<_>, Vec<_>) = old
            .iter()
            .partition(|(key, c)| channels.get(*key).is_some_and(|w| c.reconfigure(w, drain)));
        // Stop the old reader before a new one with the same name starts.
        removed.iter().for_each(|(_, channel)| channel.close());
        let mut next: Channels =
            kept.into_iter().map(|(k, c)| (k.clone(), Arc::clone(c))).collect();
        let has_folder = new.channels_folder.is_some();
        // Locked until all channels have their share.
        let shares = self.tail_shares.lock();
        let divided = if has_folder { shares.logs() } else { channels.len() };
        let share = self.memory.tail_share(divided);
        self.nats.parking.configure(&new, channels.len(), &self.metrics);
        // Shrink the tails of the kept channels before new ones are opened.
        next.values().for_each(|channel| channel.log().resize_tail(share));
        let budget = TailBudget { events: self.memory.tail_events, bytes: share };
        let limits = has_folder.then(|| ChannelLimits {
            queries: (new.query.concurrent / QUERY_SHARE).max(1),
            publishes: (new.limits.publishes_in_flight / PUBLISH_SHARE).max(1),
        });
        for (key, config) in channels {
            next.entry(key).or_insert_with(|| self.open(&config, budget, limits));
        }
        let removed: Vec<_> = removed.into_iter().map(|(key, _)| key.clone()).collect();
        self.channels.store(Arc::new(next));
        drop(shares);
        let subscribers = i64::try_from(new.limits.subscribers).unwrap_or(i64::MAX);
        self.metrics.subscribers_max.set(subscribers);
        self.config.store(Arc::new(new));
        for channel in removed {
            let streams = self.sessions.select(&channel, None);
            for session in streams {
                session.close(CloseReason::ChannelRemoved);
            }
            tracing::info!(channel, "closed the log of the channel");
        }
    }

    fn open(
        &self,
        config: &Arc<ChannelConfig>,
        budget: TailBudget,
        limits: Option<ChannelLimits>,
    ) -> Arc<Channel> {
        let nats = Arc::clone(&self.nats);
        let publishes = limits.map(|limits| limits.publishes);
        let log = Log::open(config, budget, nats, &self.pages, publishes);
        let store = Store::new(Arc::clone(&self.nats), &config.namespace, &config.name);
        let tasks = Tasks {
            supervisor: self.supervisor.clone(),
            stop: self.stop.child_token(),
            issuers: Arc::clone(&self.issuers),
        };
        let queries = limits.map(|limits| limits.queries);
        Channel::open(config, log, queries, &self.sessions, store, tasks)
    }
}

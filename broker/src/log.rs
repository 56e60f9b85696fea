//! The log of a channel: a JetStream stream in, framed events out. Within the broker, only this module and [`crate::cluster`] use
//! async-nats. (The connection options come from [`eventcast_runtime::nats`].)
//!
//! There is one [`Log`] per channel. [`attach`] fills the [`tail`] from a push consumer. [`pages`] reads older events with batch
//! direct get and keeps them in the [`page_cache`]. [`position`] resolves where a client starts. [`publish`] appends.
//! [`retention`] removes from memory what the stream has deleted. [`parking`] detaches logs without readers.
//!
//! A position advances only over ranges that are proven complete. So replay and live delivery are the same operation.

mod attach;
mod connect;
mod deletions;
mod direct;
mod erase;
mod internal;
mod message;
mod page;
mod page_cache;
mod pages;
mod parking;
mod position;
mod publish;
mod retention;
mod stream;
mod tail;
mod tail_shares;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use eventcast_crds::config::ChannelConfig;
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use attach::age_seconds;
pub(crate) use connect::{ConnectError, Nats};
pub(crate) use direct::{ReadError, ReplyEnd, read_batch};
pub(crate) use erase::EraseError;
pub(crate) use page::Page;
pub(crate) use page_cache::PageCache;
pub(crate) use pages::PageError;
pub(crate) use parking::LogLease;
pub(crate) use position::{Resolved, Start, Unavailable};
pub(crate) use publish::{AppendOutcome, PublishError, Receipt};
pub(crate) use tail::{MAX_EVENTS_PER_READ, TailBudget, TailRead};
pub(crate) use tail_shares::TailShares;

use eventcast_wire::{
    cursor::{Check, Cursor, Epoch},
    event::Event,
};

use crate::metrics::ChannelMetrics;
use page_cache::ChannelPages;
use retention::RetentionState;
use tail::Tail;

/// Concurrent page loads of one channel. A direct get holds the stream's lock in nats-server, so more would delay publishers.
const MAX_PAGE_LOADS: usize = 8;

/// One incarnation of a log: from the creation of its stream until the stream is deleted or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incarnation {
    /// Numbers the incarnations that this process has seen, from 1.
    pub(crate) number: u64,
    /// The name of the incarnation in cursors.
    pub(crate) epoch: Epoch,
    /// The first sequence of the stream when this process first attached to it.
    pub(crate) first_sequence: u64,
}

/// A position in the log. For the reader at this position, every sequence up to and including `sequence` has its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) incarnation: u64,
    pub(crate) sequence: u64,
    pub(crate) check: Check,
}

impl Position {
    pub(crate) fn cursor(&self, epoch: Epoch) -> Cursor {
        Cursor { epoch, sequence: self.sequence, check: self.check }
    }

    /// Whether both are at the same place. The check may differ: an event that was deleted since has none.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        (self.incarnation, self.sequence) == (other.incarnation, other.sequence)
    }

    /// The position after `event`, which is of the same incarnation.
    pub(crate) fn at(&self, event: &Event) -> Self {
        Self { sequence: event.sequence, check: event.check, ..*self }
    }
}

/// The log of one channel.
pub(crate) struct Log {
    settings: Settings,
    nats: Arc<Nats>,
    tail: Tail,
    pages: ChannelPages,
    page_loads: pages::PageLoads,
    load_permits: Semaphore,
    info: stream::InfoCache,
    retention: Mutex<RetentionState>,
    /// Incremented when events that the stream deleted are removed from memory.
    drops: AtomicU64,
    /// The metrics of this log. While it is parked in a broker with a folder of channels, those that all parked logs share.
    metrics: ArcSwap<ChannelMetrics>,
    live: AtomicBool,
    demand: parking::Demand,
    /// Called when the log is parked (true) or attached (false).
    on_park: OnceLock<Box<dyn Fn(bool) + Send + Sync>>,
    /// Incarnation and newest sequence that this broker has acknowledged to a publisher.
    acknowledged: Mutex<(u64, u64)>,
    /// Limits the publishes of this log in progress, in addition to the limit for all logs.
    publishes: Option<publish::Permits>,
    /// Incremented when the tail loses its consumer.
    attachments: AtomicU64,
    /// Events that the tail holds at most; a new consumer starts that far below the stream's last sequence.
    max_tail_events: u64,
}

/// What the configuration of the channel says about its stream. Fixed while the log is open.
#[derive(Clone, Debug)]
struct Settings {
    /// `<namespace>/<name>`, for logs.
    channel: String,
    /// The name of the JetStream stream.
    stream: String,
    /// The prefix of the subjects that events are published to.
    prefix: String,
    max_event_bytes: usize,
    /// Whether an event in a sampled trace has a comment with it.
    trace_comments: bool,
}

impl Log {
    /// `publishes` limits the publishes of this log in progress; `None`: only the limit for all logs applies.
    pub(crate) fn open(
        config: &ChannelConfig,
        budget: TailBudget,
        nats: Arc<Nats>,
        pages: &Arc<PageCache>,
        publishes: Option<usize>,
    ) -> Arc<Self> {
        let demand = parking::Demand::new(&nats.parking);
        let metrics = match nats.parking.shared_metrics() {
            Some(shared) if demand.is_parked() => Arc::clone(shared),
            _ => nats.metrics.channel(&config.key()),
        };
        Arc::new(Self {
            settings: Settings {
                channel: config.key(),
                stream: config.stream_name(),
                prefix: config.prefix(),
                max_event_bytes: config.publishing.max_event_bytes,
                trace_comments: config.delivery.trace_comments,
            },
            nats,
            tail: Tail::new(budget, Arc::clone(&metrics)),
            pages: pages.channel(metrics.page_bytes.clone()),
            page_loads: pages::PageLoads::default(),
            load_permits: Semaphore::new(MAX_PAGE_LOADS),
            info: stream::InfoCache::default(),
            retention: Mutex::default(),
            drops: AtomicU64::new(0),
            metrics: ArcSwap::new(metrics),
            live: AtomicBool::new(false),
            demand,
            on_park: OnceLock::new(),
            acknowledged: Mutex::default(),
            publishes: publishes.map(publish::Permits::new),
            attachments: AtomicU64::new(0),
            max_tail_events: budget.events as u64,
        })
    }

    /// Keeps the tail filled until `stop`, while the log is needed.
    pub(crate) async fn run(&self, config: Arc<ChannelConfig>, stop: CancellationToken) {
        tokio::select! {
            () = parking::run(self, &config) => {}
            () = self.nats.warn_of_small_payload(&config) => {}
            () = stop.cancelled() => {}
        }
        self.set_live(false);
        if stop.is_cancelled() {
            let metrics = self.metrics();
            metrics.tail_events.set(0);
            metrics.tail_bytes.set(0);
        }
    }

    /// Sets the byte budget of the tail. Events over the budget are evicted at once.
    pub(crate) fn resize_tail(&self, bytes: usize) {
        self.tail.resize(bytes);
    }

    /// Drops the cached pages and caches no more.
    pub(crate) fn close(&self) {
        self.pages.close();
    }

    /// `<namespace>/<name>` of the channel.
    pub(crate) fn channel(&self) -> &str {
        &self.settings.channel
    }

    /// The newest events, in memory.
    pub(crate) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// A counter that changes when events that the stream deleted are removed from memory. A reader that holds events from before
    /// a change must read them again.
    pub(crate) fn drops(&self) -> u64 {
        self.drops.load(SeqCst)
    }

    /// The metrics of this log. Parked logs may share them; while there is a lease, they are those of the channel.
    pub(crate) fn metrics(&self) -> Arc<ChannelMetrics> {
        self.metrics.load_full()
    }

    /// Whether [`metrics`](Self::metrics) are those of this channel alone.
    pub(crate) fn has_own_metrics(&self) -> bool {
        let shared = self.nats.parking.shared_metrics();
        shared.is_none_or(|shared| !Arc::ptr_eq(shared, &self.metrics.load()))
    }

    /// Uses `metrics` from now on.
    fn use_metrics(&self, metrics: Arc<ChannelMetrics>) {
        self.tail.use_metrics(Arc::clone(&metrics));
        self.pages.use_gauge(metrics.page_bytes.clone());
        self.metrics.store(metrics);
    }

    /// Whether the tail's consumer is attached and has caught up.
    pub(crate) fn is_live(&self) -> bool {
        self.live.load(SeqCst)
    }

    /// The number of the current attachment; `None` while the tail is detached. Two equal numbers prove that the tail stayed
    /// attached in between.
    fn attachment(&self) -> Option<u64> {
        let number = self.attachments.load(SeqCst);
        self.is_live().then_some(number)
    }

    fn set_live(&self, live: bool) {
        if !live {
            self.attachments.fetch_add(1, SeqCst);
        }
        self.live.store(live, SeqCst);
        self.metrics.load().live.set(i64::from(live));
    }

    /// Waits until the log was read for the first time; false after `limit`.
    pub(crate) async fn ready(&self, limit: Duration) -> bool {
        let mut changes = self.tail.changes();
        let wait = async {
            while self.tail.incarnation().is_none() {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        timeout(limit, wait).await.is_ok()
    }
}

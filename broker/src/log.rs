//! The shared log: JetStream in, framed events out. Only here is async-nats known.
//!
//! One [`Log`] per channel. [`attach`] keeps the [`tail`] filled by a push consumer of our own; [`pages`] serves what lies
//! below it by batch direct get, out of the one [`page_cache`]; [`position`] turns what a client asks for into a place to
//! begin; [`publish`] appends; [`retention`] forgets what the stream has dropped. A position moves only over ranges that are proven complete, so replay and live delivery are
//! one reading.

mod attach;
mod connect;
mod direct;
mod dropped;
mod erase;
mod message;
mod page;
mod page_cache;
mod pages;
mod position;
mod publish;
mod retention;
mod stream;
mod tail;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use eventcast_crds::config::ChannelConfig;
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use attach::age_seconds;
pub(crate) use connect::{ConnectError, Nats};
pub(crate) use erase::EraseError;
pub(crate) use page::Page;
pub(crate) use page_cache::PageCache;
pub(crate) use pages::PageError;
pub(crate) use position::{Resolved, Start, Unavailable};
pub(crate) use publish::{Outcome, PublishError, Receipt};
pub(crate) use tail::{BATCH, Reading, TailBudget};

use eventcast_wire::{
    cursor::{Check, Cursor, Epoch},
    event::Event,
};

use crate::metrics::ChannelMetrics;
use page_cache::Shelf;
use retention::Retained;
use tail::Tail;

/// Page loads under way for one channel at most: more only make publishers wait (jetstream: direct gets hold the
/// stream's lock).
const LOADS: usize = 8;

/// One life of a log, from its creation to its loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incarnation {
    /// Counts the incarnations that this process has seen.
    pub(crate) number: u64,
    /// Its name in cursors.
    pub(crate) epoch: Epoch,
    /// The first sequence it held when we first read it.
    pub(crate) first_sequence: u64,
}

/// A place in the log: everything up to and with `sequence` was seen, or its loss declared.
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

    /// Whether the same was seen; the check may differ where an event was deleted meanwhile.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        (self.incarnation, self.sequence) == (other.incarnation, other.sequence)
    }

    /// The position of who has seen `event`, of the same incarnation.
    pub(crate) fn at(&self, event: &Event) -> Self {
        Self { sequence: event.sequence, check: event.check, ..*self }
    }
}

/// The log of one channel.
pub(crate) struct Log {
    /// Names and limits that this log was opened with.
    names: Names,
    nats: Arc<Nats>,
    tail: Tail,
    pages: Shelf,
    flights: pages::Flights,
    loads: Semaphore,
    info: stream::InfoCache,
    retained: Mutex<Retained>,
    /// Counts how often memory has forgotten what the stream dropped.
    drops: AtomicU64,
    metrics: Arc<ChannelMetrics>,
    live: AtomicBool,
    /// The newest sequence that was acknowledged to a publisher of this broker, and its incarnation.
    acknowledged: Mutex<(u64, u64)>,
    /// Counts the tail's attachments.
    attachments: AtomicU64,
    warm: u64,
}

/// What NATS calls the channel.
#[derive(Clone, Debug)]
struct Names {
    channel: String,
    stream: String,
    prefix: String,
    max_event_bytes: usize,
}

impl Log {
    pub(crate) fn open(
        config: &ChannelConfig,
        budget: TailBudget,
        nats: Arc<Nats>,
        pages: &Arc<PageCache>,
        metrics: Arc<ChannelMetrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            names: Names {
                channel: config.key(),
                stream: config.stream_name(),
                prefix: config.prefix(),
                max_event_bytes: config.publishing.max_event_bytes,
            },
            nats,
            tail: Tail::new(budget, Arc::clone(&metrics)),
            pages: pages.shelf(metrics.page_bytes.clone()),
            flights: pages::Flights::default(),
            loads: Semaphore::new(LOADS),
            info: stream::InfoCache::default(),
            retained: Mutex::default(),
            drops: AtomicU64::new(0),
            metrics,
            live: AtomicBool::new(false),
            acknowledged: Mutex::default(),
            attachments: AtomicU64::new(0),
            warm: budget.events as u64,
        })
    }

    /// Keeps the tail filled until `stop`.
    pub(crate) async fn run(&self, config: ChannelConfig, stop: CancellationToken) {
        tokio::select! {
            () = attach::keep(self, &config) => {}
            () = self.nats.warn_of_small_payload(&config) => {}
            () = retention::follow(self) => {}
            () = stop.cancelled() => {}
        }
        self.set_live(false);
        if stop.is_cancelled() {
            self.metrics.tail_events.set(0);
            self.metrics.tail_bytes.set(0);
        }
    }

    /// From now on the tail holds `bytes` at most.
    pub(crate) fn resize_tail(&self, bytes: usize) {
        self.tail.resize(bytes);
    }

    /// Lets the pages go, and caches no more.
    pub(crate) fn close(&self) {
        self.pages.close();
    }

    /// The newest events.
    pub(crate) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Changes whenever the stream has dropped events that this broker had in memory: what was read before may be gone.
    pub(crate) fn drops(&self) -> u64 {
        self.drops.load(SeqCst)
    }

    /// Whether the tail is attached right now.
    pub(crate) fn live(&self) -> bool {
        self.live.load(SeqCst)
    }

    /// The attachment that the tail is read by, if it is.
    fn attachment(&self) -> Option<u64> {
        let number = self.attachments.load(SeqCst);
        self.live().then_some(number)
    }

    fn set_live(&self, live: bool) {
        if !live {
            self.attachments.fetch_add(1, SeqCst);
        }
        self.live.store(live, SeqCst);
        self.metrics.live.set(i64::from(live));
    }

    /// Waits until the log was read once; false where `patience` ran out.
    pub(crate) async fn ready(&self, patience: Duration) -> bool {
        let mut changes = self.tail.changes();
        let wait = async {
            while self.tail.incarnation().is_none() {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        timeout(patience, wait).await.is_ok()
    }
}

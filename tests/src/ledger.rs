//! The ledger: numbered events in, what every subscriber saw out, and the proof that nothing is missing.
//!
//! Publishers repeat with an idempotency key until acknowledged; subscribers with their own filters, which begin in every way
//! there is, reconnect at random to random brokers. At the end [`judge`] (pure) states per subscriber that delivered + declared lost = published, each event
//! once and in order. A suite injects the faults meanwhile; where it replaces the log it says so ([`Paused::new_log`]).

mod judge;
mod note;
mod plan;
mod publisher;
mod record;
mod report;
mod subscriber;

pub use judge::judge;
pub use plan::{END_TYPE, Plan, random_filter};
pub use record::{Fate, Observed, Published, Seen, Start, World};
pub use report::{LedgerReport, Offence, Verdict};

use std::{collections::HashSet, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedRwLockWriteGuard, RwLock, watch},
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{cursor::Cursor, eventually};

/// What publishers and subscribers share.
#[derive(Debug)]
struct Shared {
    plan: Plan,
    /// Events of the channel at each broker.
    urls: Vec<String>,
    /// Zero of all times in the records, by two clocks.
    began: Instant,
    began_at: jiff::Timestamp,
    /// Names this run in idempotency keys.
    run: u64,
    published: Mutex<Vec<Published>>,
    /// Held for reading by every publish under way, for writing while publishing is paused.
    logs: Arc<RwLock<Logs>>,
    phase: watch::Sender<Phase>,
}

/// The logs the channel has had, one after another.
#[derive(Debug, Default)]
struct Logs {
    /// See [`World::cuts`].
    cuts: Vec<u64>,
}

/// What publishers and subscribers are to do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Publish, subscribe, reconnect at random.
    Running,
    /// Publish no more; stay connected until the event with this cursor has come.
    Ending(Option<String>),
    /// Hand over what was seen.
    Stopped,
}

/// A run.
#[derive(Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
    publishers: JoinSet<()>,
    subscribers: JoinSet<Observed>,
}

/// Publishing is paused: every publish has its outcome. Dropping this goes on.
#[derive(Debug)]
pub struct Paused(OwnedRwLockWriteGuard<Logs>);

impl Paused {
    /// The log is another one from here on: it holds the events of the former one up to `surviving` (0: none).
    pub fn new_log(&mut self, surviving: u64) {
        self.0.cuts.push(surviving);
    }
}

impl Ledger {
    /// Starts subscribers and publishers on `urls`, the events of one channel at one or several brokers.
    #[must_use]
    pub fn start(plan: Plan, urls: Vec<String>) -> Self {
        eprintln!("ledger: seed {} (LEDGER_SEED repeats its choices)", plan.seed);
        let shared = Arc::new(Shared {
            run: fastrand::u64(..),
            urls,
            began: Instant::now(),
            began_at: jiff::Timestamp::now(),
            published: Mutex::default(),
            logs: Arc::default(),
            phase: watch::Sender::new(Phase::Running),
            plan,
        });
        let (mut publishers, mut subscribers) = (JoinSet::new(), JoinSet::new());
        for index in 0..shared.plan.subscribers {
            subscribers.spawn(subscriber::run(shared.clone(), index));
        }
        for index in 0..shared.plan.publishers {
            publishers.spawn(publisher::run(shared.clone(), index));
        }
        Self { shared, publishers, subscribers }
    }

    /// Events that were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        let published = self.shared.published.lock();
        let stored = |fate: &Fate| matches!(fate, Fate::Stored(_) | Fate::Erased(_));
        published.iter().filter(|event| stored(&event.fate)).count()
    }

    /// Waits until `count` more events are acknowledged.
    ///
    /// # Errors
    /// When they are not within `within`.
    pub async fn progress(&self, count: usize, within: Duration) -> Result<()> {
        let goal = self.acknowledged() + count;
        eventually(&format!("{count} more acknowledged events"), within, || {
            let have = self.acknowledged();
            std::future::ready((have >= goal).then_some(()).context(format!("{have} of {goal}")))
        })
        .await
    }

    /// The log has erased the events at these sequences.
    pub fn erased(&self, sequences: &HashSet<u64>) {
        for event in self.shared.published.lock().iter_mut() {
            if let Fate::Stored(cursor) = &event.fate
                && Cursor::parse(cursor).is_ok_and(|cursor| sequences.contains(&cursor.sequence))
            {
                event.fate = Fate::Erased(cursor.clone());
            }
        }
    }

    /// Waits until no publish is under way, and lets none begin.
    pub async fn pause(&self) -> Paused {
        Paused(self.shared.logs.clone().write_owned().await)
    }

    /// Ends publishing, publishes a last event that passes every filter, waits until every subscriber has it (or `within`
    /// has passed), and judges.
    ///
    /// # Errors
    /// When the last event is not acknowledged, or a task of the ledger itself fails.
    pub async fn finish(mut self, within: Duration) -> Result<LedgerReport> {
        let deadline = Instant::now() + within;
        self.shared.phase.send_replace(Phase::Ending(None));
        while let Some(ended) = self.publishers.join_next().await {
            ended.context("a publisher failed")?;
        }
        let last = publisher::end(&self.shared).await?;
        self.shared.phase.send_replace(Phase::Ending(Some(last)));
        let mut observed = Vec::new();
        loop {
            match timeout_at(deadline, self.subscribers.join_next()).await {
                Ok(Some(ended)) => observed.push(ended.context("a subscriber failed")?),
                Ok(None) => break,
                Err(_) => {
                    self.shared.phase.send_replace(Phase::Stopped);
                    while let Some(ended) = self.subscribers.join_next().await {
                        observed.push(ended.context("a subscriber failed")?);
                    }
                }
            }
        }
        observed.sort_by(|a, b| a.name.cmp(&b.name));
        let published = std::mem::take(&mut *self.shared.published.lock());
        let cuts = self.shared.logs.read().await.cuts.clone();
        Ok(judge(World { published, cuts }, &observed))
    }
}

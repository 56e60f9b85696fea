//! The ledger: publishes numbered events, records what every subscriber received, and proves that nothing is missing.
//!
//! Publishers repeat an event with its idempotency key until it is acknowledged. Subscribers have random filters and start
//! positions, and reconnect at random to random brokers. At the end [`judge`] (pure) checks for each subscriber that delivered +
//! declared lost = published, and that each event came once and in order. Meanwhile a suite injects faults. If it replaces the log,
//! it reports that with [`Paused::new_log`].
//!
//! With [`Plan::issuer`], some subscribers have grants that end during the run. Nothing else is delivered to them than what is granted,
//! and they miss nothing of it, whether they renew their grants or come back with new tokens.

mod behaviour;
mod cost;
mod credential;
mod entry;
mod judge;
mod plan;
mod publisher;
mod record;
mod report;
mod subscriber;

pub use cost::{Cost, costs};
pub use judge::judge;
pub use plan::{END_TYPE, Plan, random_filter};
pub use record::{
    Contact, Disturbance, Observed, Publications, PublishOutcome, Published, Seen, Start,
};
pub use report::{LedgerReport, Offence, Verdict};

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

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
    /// The URL of the channel's events at each broker.
    urls: Vec<String>,
    /// The start of the run, by two clocks. Times in the records are relative to it.
    began: Instant,
    began_at: jiff::Timestamp,
    /// Names this run in idempotency keys.
    run: u64,
    published: Mutex<Vec<Published>>,
    disturbances: Mutex<Vec<Disturbance>>,
    /// Every publish in progress holds it for reading. It is held for writing while publishing is paused.
    logs: Arc<RwLock<Logs>>,
    phase: watch::Sender<Phase>,
    /// Grants that were renewed.
    renewed: AtomicUsize,
    /// Streams that ended because their grants did.
    expired: AtomicUsize,
}

impl Shared {
    /// Cursors of acknowledged events of the present log.
    fn cursors(&self) -> Vec<String> {
        let Ok(logs) = self.logs.try_read() else {
            return Vec::new(); // the log is being replaced
        };
        let published = self.published.lock();
        let present = published.iter().filter(|event| event.log == logs.cuts.len());
        let cursor = |event: &Published| match &event.outcome {
            PublishOutcome::Stored(cursor) => Some(cursor.clone()),
            _ => None,
        };
        present.filter_map(cursor).collect()
    }
}

/// The logs that the channel has had, in order.
#[derive(Debug, Default)]
struct Logs {
    /// See [`Publications::cuts`].
    cuts: Vec<u64>,
}

/// What publishers and subscribers must do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Publish, subscribe, reconnect at random.
    Running,
    /// Stop publishing. Stay connected until the event with this cursor arrives.
    Ending(Option<String>),
    /// Stop, and return what was received.
    Stopped,
}

/// A run.
#[derive(Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
    publishers: JoinSet<()>,
    subscribers: JoinSet<Observed>,
}

/// Publishing is paused, and no publish is in progress. Dropping it resumes publishing.
#[derive(Debug)]
pub struct Paused(OwnedRwLockWriteGuard<Logs>);

impl Paused {
    /// The log was replaced. The new one has the events of the earlier one up to the sequence `surviving` (0: none).
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
            disturbances: Mutex::default(),
            logs: Arc::default(),
            phase: watch::Sender::new(Phase::Running),
            renewed: AtomicUsize::new(0),
            expired: AtomicUsize::new(0),
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

    /// How many events are acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        let published = self.shared.published.lock();
        let stored = |outcome: &PublishOutcome| {
            matches!(outcome, PublishOutcome::Stored(_) | PublishOutcome::Erased(_))
        };
        published.iter().filter(|event| stored(&event.outcome)).count()
    }

    /// The cursor of the event that was acknowledged last.
    #[must_use]
    pub fn newest(&self) -> Option<String> {
        let published = self.shared.published.lock();
        published.iter().rev().find_map(|event| match &event.outcome {
            PublishOutcome::Stored(cursor) => Some(cursor.clone()),
            _ => None,
        })
    }

    /// Waits until `count` more events are acknowledged.
    ///
    /// # Errors
    /// Fewer are acknowledged after `within`.
    pub async fn progress(&self, count: usize, within: Duration) -> Result<()> {
        let goal = self.acknowledged() + count;
        eventually(&format!("{count} more acknowledged events"), within, || {
            let have = self.acknowledged();
            std::future::ready((have >= goal).then_some(()).context(format!("{have} of {goal}")))
        })
        .await
    }

    /// Records that the log has erased the events at these sequences.
    pub fn erased(&self, sequences: &HashSet<u64>) {
        for event in self.shared.published.lock().iter_mut() {
            if let PublishOutcome::Stored(cursor) = &event.outcome
                && Cursor::parse(cursor).is_ok_and(|cursor| sequences.contains(&cursor.sequence))
            {
                event.outcome = PublishOutcome::Erased(cursor.clone());
            }
        }
    }

    /// Begins a disturbance: what it costs is in [`LedgerReport::costs`].
    pub fn disturb(&self, name: &str) {
        let (name, began) = (name.to_owned(), self.shared.began.elapsed());
        self.shared.disturbances.lock().push(Disturbance { name, began });
    }

    /// Pauses publishing and waits until no publish is in progress.
    pub async fn pause(&self) -> Paused {
        Paused(self.shared.logs.clone().write_owned().await)
    }

    /// Waits until a grant was renewed and another has expired, if subscribers have grants: a run without either proves nothing.
    async fn grants_ended(&self, within: Duration) -> Result<()> {
        if self.shared.plan.issuer.is_none() {
            return Ok(());
        }
        // Which of them it is, is random: on a busy machine it takes a while until both have happened.
        let within = within.max(Duration::from_secs(40));
        eventually("a grant is renewed and another expires", within, || {
            let have = [&self.shared.renewed, &self.shared.expired].map(|n| n.load(Relaxed));
            let all = have.iter().all(|n| *n > 0);
            std::future::ready(all.then_some(()).context(format!("{have:?}")))
        })
        .await
    }

    /// Stops publishing, publishes a last event that passes every filter, waits up to `within` until every subscriber has
    /// received it, and judges the run.
    ///
    /// # Errors
    /// The last event is not acknowledged, a task of the ledger fails, or no grant has ended although there are some.
    pub async fn finish(mut self, within: Duration) -> Result<LedgerReport> {
        self.grants_ended(within).await?;
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
        let disturbances = std::mem::take(&mut *self.shared.disturbances.lock());
        let mut report = judge(Publications { published: published.clone(), cuts }, &observed);
        report.costs = costs(&disturbances, &published, &observed, &report.verdicts);
        Ok(report)
    }
}

//! Hundreds of subscribers of a channel while something happens to it, and the table of what that cost them.
//!
//! The table is a file in Markdown, to which every scenario adds its lines: `EVENTCAST_E2E_TABLE`, or `target/e2e.md`.

use std::{fs::OpenOptions, io::Write as _, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::{Channel, Reach};
use crate::{
    ledger::{Cost, Ledger, LedgerReport, Plan},
    repository,
};

/// Events before the first disturbance, and after each one.
const EVENTS: usize = 120;
/// The longest time that these may take, and the last event of the run.
const EVENT_TIMEOUT: Duration = Duration::from_secs(90);
/// The longest silence that passes. It is no target: a slow machine must not fail a run that loses nothing.
const MAX_SILENCE: Duration = Duration::from_secs(60);

/// Publishers and subscribers outside of the cluster, and what disturbs them.
#[derive(Debug)]
pub struct Disturbances {
    /// The ledger, for what a scenario does with it beside.
    pub ledger: Ledger,
    _ways: Vec<Reach>,
}

impl Disturbances {
    /// The plan of most runs: 240 subscribers that wait as browsers do before they reconnect, and about 40 events a second.
    #[must_use]
    pub fn plan() -> Plan {
        Plan {
            publishers: 5,
            publish_every: Duration::from_millis(120),
            publish_within: Duration::from_secs(180),
            subscribers: 240,
            stay: Duration::from_secs(90),
            arrive: Duration::from_millis(1500),
            cut_early: 0.05,
            slow: 0.0,
            obeys_retry: true,
            ..Plan::default()
        }
    }

    /// Starts publishers and subscribers of the channel.
    ///
    /// # Errors
    /// When no events flow.
    pub async fn start(channel: &Channel<'_>, plan: Plan) -> Result<Self> {
        Self::start_by(vec![channel.reach().await?], plan).await
    }

    /// Starts publishers and subscribers that reach one channel by several ways.
    ///
    /// # Errors
    /// When no events flow.
    pub async fn start_by(ways: Vec<Reach>, plan: Plan) -> Result<Self> {
        let run = Self::start_at(ways.iter().map(|way| way.events("")).collect(), plan).await?;
        Ok(Self { _ways: ways, ..run })
    }

    /// Starts publishers and subscribers at URLs of one channel.
    ///
    /// # Errors
    /// When no events flow.
    pub async fn start_at(urls: Vec<String>, plan: Plan) -> Result<Self> {
        let ledger = Ledger::start(plan, urls);
        ledger.progress(EVENTS, EVENT_TIMEOUT).await?;
        Ok(Self { ledger, _ways: Vec::new() })
    }

    /// Does something to the channel, and waits until events flow again.
    ///
    /// # Errors
    /// Those of `action`, or no events flow after it.
    pub async fn disturb(
        &self,
        name: &str,
        action: impl AsyncFnOnce() -> Result<()>,
    ) -> Result<()> {
        self.ledger.disturb(name);
        action().await.with_context(|| name.to_owned())?;
        self.progress().await.with_context(|| name.to_owned())
    }

    /// Waits until as many events have flowed as before the first disturbance.
    ///
    /// # Errors
    /// When they do not.
    pub async fn progress(&self) -> Result<()> {
        self.ledger.progress(EVENTS, EVENT_TIMEOUT).await
    }

    /// Ends the run: nothing may be missing or declared lost. Adds the costs to the table.
    ///
    /// # Errors
    /// The last event does not arrive, or a subscriber was without service for a minute.
    pub async fn finish(self) -> Result<()> {
        self.report().await?.assert_nothing_lost();
        Ok(())
    }

    /// Ends the run, adds the costs to the table, and leaves the judgement to the scenario.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub async fn report(self) -> Result<LedgerReport> {
        let report = self.ledger.finish(EVENT_TIMEOUT).await?;
        for cost in &report.costs {
            Self::add_to_table(cost)?;
        }
        Ok(report)
    }

    /// Ends the run, and leaves table and judgement to the scenario.
    ///
    /// # Errors
    /// When the last event is not acknowledged.
    pub async fn end(self) -> Result<LedgerReport> {
        self.ledger.finish(EVENT_TIMEOUT).await
    }

    /// Adds a line to the table.
    ///
    /// # Errors
    /// When it cannot be written, or subscribers were without service for a minute.
    pub fn add_to_table(cost: &Cost) -> Result<()> {
        add_line(&cost.to_string())?;
        ensure!(cost.silence < MAX_SILENCE, "{}: a silence of {:?}", cost.name, cost.silence);
        Ok(())
    }
}

/// Says in the table that something was not done, and why.
///
/// # Errors
/// When the table cannot be written.
pub fn skipped(what: &str, why: &str) -> Result<()> {
    add_line(&format!("| {what}: skipped, {why} | | | | | | | | |"))
}

fn add_line(line: &str) -> Result<()> {
    let path = std::env::var_os("EVENTCAST_E2E_TABLE").map(PathBuf::from);
    let path = path.unwrap_or_else(|| repository().join("target/e2e.md"));
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let mut file = file.with_context(|| format!("failed to open {}", path.display()))?;
    if file.metadata()?.len() == 0 {
        writeln!(file, "{}", Cost::HEAD)?;
    }
    eprintln!("{line}");
    Ok(writeln!(file, "{line}")?)
}

//! A script of `tests/clients/browser` that tells its steps, and asks for what only the test can do.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use eventcast_tests::clients::{Adapter, Entry, entries};
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// The whole script.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(120);
/// How often the script is asked for what it wants.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The description of a browser.
pub(crate) fn browser(name: &str) -> Result<Entry> {
    let found = entries("browser")?.into_iter().find(|entry| entry.name == name);
    found.with_context(|| format!("clients.json has no {name}"))
}

/// A running script.
pub(crate) struct Script {
    name: String,
    driver: Adapter,
    deadline: Instant,
    /// The steps that passed.
    steps: Vec<String>,
    /// Lines that were not looked at yet.
    lines: Vec<String>,
}

impl Script {
    /// Runs `script` in the browser `name`; its files go to `folder`.
    pub(crate) fn start(
        name: &str,
        script: &str,
        arguments: &[&str],
        folder: &Path,
    ) -> Result<Self> {
        let mut entry = browser(name)?;
        let path = entry.command.last_mut().context("no script")?;
        *path = path.replace("eventsource.mjs", script);
        let driver = Adapter::start(&entry, arguments, &[], folder)?;
        let deadline = Instant::now() + SCRIPT_TIMEOUT;
        Ok(Self { name: name.into(), driver, deadline, steps: Vec::new(), lines: Vec::new() })
    }

    /// What the script asks for next; `None` once it has ended well.
    pub(crate) async fn next_ask(&mut self) -> Result<Option<String>> {
        loop {
            let ended = self.driver.exited()?;
            self.lines.extend(self.driver.text_lines()?);
            while !self.lines.is_empty() {
                let line = self.lines.remove(0);
                let line: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
                match (line["step"].as_str(), line["ask"].as_str()) {
                    (Some(step), None) => self.steps.push(step.to_owned()),
                    (None, Some(ask)) => return Ok(Some(ask.to_owned())),
                    _ => bail!("what does the script want? {line}"),
                }
            }
            let (name, steps) = (&self.name, &self.steps);
            if let Some(status) = ended {
                ensure!(status.success(), "{name} after {steps:?}:\n{}", self.driver.stderr());
                return Ok(None);
            }
            let in_time = Instant::now() < self.deadline;
            let stderr = self.driver.stderr();
            ensure!(in_time, "{name}: not within {SCRIPT_TIMEOUT:?}, after {steps:?}:\n{stderr}");
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Checks that none of the steps was left out unseen.
    pub(crate) fn took(&self, steps: &[&str]) -> Result<()> {
        ensure!(self.steps == steps, "{:?}", self.steps);
        Ok(())
    }
}

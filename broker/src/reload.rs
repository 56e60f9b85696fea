//! Reads the configuration, and reloads the file when it changes.
//!
//! The file is polled, not watched: Kubernetes replaces a mounted ConfigMap by swapping symbolic links, which file events report
//! in different ways.

use std::{path::PathBuf, time::Duration};

use eventcast_crds::config::{
    BrokerConfig,
    load::{Loaded, Override, load},
};
use eventcast_runtime::telemetry;
use tokio::time::{MissedTickBehavior, interval};

use crate::{channel_folder::ChannelFolder, clock::now_seconds, watch::Stamp};

/// How often the file is checked for changes.
const CONFIG_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Attempts to read the file that fail before that is logged, once.
const FAILURES_BEFORE_WARNING: u32 = 5;

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub struct ConfigSource {
    /// The file. Without one, the defaults and the overrides apply.
    pub file: Option<PathBuf>,
    /// Values from the environment and from flags, which override the file.
    pub overrides: Vec<Override>,
}

/// Why the configuration is invalid: one message per problem.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct InvalidConfig(pub Vec<String>);

/// A valid configuration.
#[derive(Debug)]
pub struct ValidConfig {
    /// The configuration.
    pub config: BrokerConfig,
    /// Paths of keys that this version does not know.
    pub unknown: Vec<String>,
    /// The content of the file.
    pub text: String,
}

/// Every invalid value, one message each.
fn problems(config: &BrokerConfig) -> Vec<String> {
    let level = config.log.level.as_deref().map(telemetry::parse_filter);
    let level = level.and_then(Result::err).map(|error| format!("log.level: {error}"));
    config.problems().iter().map(ToString::to_string).chain(level).collect()
}

impl ConfigSource {
    /// Reads and validates the configuration.
    ///
    /// # Errors
    /// The file cannot be read or is invalid. All problems are reported at once.
    pub async fn read(&self) -> Result<ValidConfig, InvalidConfig> {
        self.parse(self.text().await?)
    }

    /// Every problem of the configuration, one message each. Unknown keys are problems here.
    pub async fn problems(&self) -> Vec<String> {
        let loaded = self.text().await.and_then(|text| {
            load(&text, &self.overrides).map_err(|e| InvalidConfig(vec![e.to_string()]))
        });
        match loaded {
            Err(InvalidConfig(lines)) => lines,
            Ok(Loaded { config, unknown }) => {
                let unknown = unknown.iter().map(|k| format!("{k}: unknown key"));
                let folder = match ChannelFolder::of(&config) {
                    Some(mut folder) => folder.problems(&config.channels).await,
                    None => Vec::new(),
                };
                unknown.chain(problems(&config)).chain(folder).collect()
            }
        }
    }

    async fn stamp(&self) -> Option<Stamp> {
        let meta = tokio::fs::metadata(self.file.as_ref()?).await.ok()?;
        Some(Stamp::of(&meta))
    }

    async fn text(&self) -> Result<String, InvalidConfig> {
        let Some(file) = &self.file else {
            return Ok(String::new());
        };
        tokio::fs::read_to_string(file)
            .await
            .map_err(|e| InvalidConfig(vec![format!("failed to read {}: {e}", file.display())]))
    }

    fn parse(&self, text: String) -> Result<ValidConfig, InvalidConfig> {
        let loaded =
            load(&text, &self.overrides).map_err(|e| InvalidConfig(vec![e.to_string()]))?;
        let problems = problems(&loaded.config);
        if problems.is_empty() {
            Ok(ValidConfig { config: loaded.config, unknown: loaded.unknown, text })
        } else {
            Err(InvalidConfig(problems))
        }
    }

    /// Waits until the content of the file differs from `last`, and returns the new configuration.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn changed(&self, last: &mut String) -> Result<ValidConfig, InvalidConfig> {
        let mut tick = interval(CONFIG_POLL_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut read, mut failures) = (None, 0);
        loop {
            tick.tick().await;
            // An unchanged file is not read: with ten thousand channels it has megabytes.
            let stamp = self.stamp().await;
            if stamp.is_some() && stamp == read {
                continue;
            }
            read = stamp.filter(|stamp| stamp.is_settled(now_seconds()));
            let text = match self.text().await {
                Ok(text) => text,
                // A file that is being replaced may be missing temporarily.
                Err(error) => {
                    failures += 1;
                    if failures == FAILURES_BEFORE_WARNING {
                        tracing::warn!(%error, "cannot read the configuration file; keeping the last valid configuration");
                    }
                    continue;
                }
            };
            failures = 0;
            if text != *last {
                last.clone_from(&text);
                return self.parse(text);
            }
        }
    }
}

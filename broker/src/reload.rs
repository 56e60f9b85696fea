//! The configuration file, read again when it changes.
//!
//! It is looked at, not watched: a mounted ConfigMap is swapped by symbolic links, which file events report in too many ways.

use std::{path::PathBuf, time::Duration};

use eventcast_crds::config::{
    BrokerConfig,
    load::{Loaded, Override, load},
};
use tokio::time::{MissedTickBehavior, interval};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file; without one the overrides are all there is.
    pub file: Option<PathBuf>,
    /// What replaces values of the file, from the environment and from flags.
    pub overrides: Vec<Override>,
}

/// Why there is no configuration: every reason, a line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct BadConfig(pub Vec<String>);

/// A configuration that can be used, and the keys that mean nothing to this version.
#[derive(Debug)]
pub struct Usable {
    /// The configuration.
    pub config: BrokerConfig,
    /// Paths of unknown keys.
    pub unknown: Vec<String>,
    /// What the file said.
    pub text: String,
}

impl Source {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// The file cannot be read, or what it says cannot be used: all problems at once.
    pub async fn read(&self) -> Result<Usable, BadConfig> {
        self.parse(self.text().await?)
    }

    /// Everything that is wrong with the configuration, unknown keys included; empty where nothing is.
    pub async fn complaints(&self) -> Vec<String> {
        let loaded = self.text().await.and_then(|text| {
            load(&text, &self.overrides).map_err(|e| BadConfig(vec![e.to_string()]))
        });
        match loaded {
            Err(BadConfig(lines)) => lines,
            Ok(Loaded { config, unknown }) => {
                let unknown =
                    unknown.iter().map(|k| format!("{k}: this version does not know the key"));
                unknown.chain(config.problems().iter().map(ToString::to_string)).collect()
            }
        }
    }

    async fn text(&self) -> Result<String, BadConfig> {
        let Some(file) = &self.file else {
            return Ok(String::new());
        };
        tokio::fs::read_to_string(file)
            .await
            .map_err(|e| BadConfig(vec![format!("{}: cannot be read: {e}", file.display())]))
    }

    fn parse(&self, text: String) -> Result<Usable, BadConfig> {
        let loaded = load(&text, &self.overrides).map_err(|e| BadConfig(vec![e.to_string()]))?;
        let problems = loaded.config.problems();
        if problems.is_empty() {
            Ok(Usable { config: loaded.config, unknown: loaded.unknown, text })
        } else {
            Err(BadConfig(problems.iter().map(ToString::to_string).collect()))
        }
    }

    /// Waits until the file says something else than `last`; gives what it says now.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn changed(&self, last: &mut String) -> Result<Usable, BadConfig> {
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            // A file that is being replaced may be missing for a moment.
            let Ok(text) = self.text().await else { continue };
            if text != *last {
                last.clone_from(&text);
                return self.parse(text);
            }
        }
    }
}

//! The release of the chart: installing, upgrading and uninstalling it with helm.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tokio::process::Command;

use super::{Cluster, SYSTEM, WAIT_TIMEOUT, run, words};
use crate::repository;

/// The release and its namespace, as the documentation has them.
const RELEASE: [&str; 3] = ["eventcast", "--namespace", SYSTEM];
/// Waits until everything is ready.
const WAIT: [&str; 3] = ["--wait", "--timeout", "180s"];
/// The volume of the bundled NATS.
const VOLUME: &str = "pvc/data-eventcast-nats-0";

/// The chart of this tree.
#[must_use]
pub fn chart() -> PathBuf {
    repository().join("charts/eventcast")
}

/// The chart and the images of the last release. Nothing is released yet: `tests/cluster/previous.sh` packs these sources under an
/// older version number. So an upgrade replaces every pod, but changes no behaviour.
#[derive(Clone, Debug)]
pub struct Previous {
    /// The packed chart.
    pub chart: PathBuf,
    /// Its version, which is the tag of its images.
    pub version: String,
}

impl Previous {
    /// The chart that `EVENTCAST_E2E_PREVIOUS` names; `None` without it: the nodes of somebody else's cluster do not have its
    /// images.
    ///
    /// # Errors
    /// When the file has no version in its name.
    pub fn of_environment() -> Result<Option<Self>> {
        let Some(path) = std::env::var_os("EVENTCAST_E2E_PREVIOUS").filter(|path| !path.is_empty())
        else {
            return Ok(None);
        };
        let chart = PathBuf::from(path);
        let stem = chart.file_stem().and_then(|stem| stem.to_str());
        let version = stem.and_then(|stem| stem.strip_prefix("eventcast-"));
        let version = version.context("EVENTCAST_E2E_PREVIOUS is no eventcast-<version>.tgz")?;
        Ok(Some(Self { version: version.to_owned(), chart }))
    }
}

impl Cluster {
    /// What helm prints about the release.
    ///
    /// # Errors
    /// Its error output.
    pub async fn helm(&self, command: &str, arguments: &[&str]) -> Result<String> {
        run(Command::new(&self.helm).arg(command).args(RELEASE).args(arguments), None).await
    }

    /// The same cluster with another helm.
    #[must_use]
    pub fn with_helm(&self, helm: PathBuf) -> Self {
        Self { kubectl: self.kubectl.clone(), helm }
    }

    /// Installs the chart as the README does, and waits until it is ready; a release that is there already is used.
    ///
    /// # Errors
    /// When it is not within the time.
    pub async fn install(&self) -> Result<()> {
        self.upgrade(&chart(), &[]).await
    }

    /// Installs a chart or upgrades to it, with these further arguments, and waits until it is ready.
    ///
    /// # Errors
    /// When it is not within the time.
    pub async fn upgrade(&self, chart: &Path, arguments: &[&str]) -> Result<()> {
        self.restricted_namespace(SYSTEM).await?;
        let chart = chart.to_str().context("a path that is not UTF-8")?;
        let further = std::env::var("EVENTCAST_HELM_ARGUMENTS").unwrap_or_default();
        // Without values of its own, an upgrade would keep those of the last one.
        let install = [chart, "--install", "--create-namespace", "--reset-values"];
        let all = [&install[..], &WAIT[..], &words(&further), arguments];
        self.helm("upgrade", &all.concat()).await?;
        Ok(())
    }

    /// Goes back to the revision before.
    ///
    /// # Errors
    /// When it is not ready within the time.
    pub async fn roll_back(&self) -> Result<()> {
        self.helm("rollback", &WAIT).await?;
        Ok(())
    }

    /// Uninstalls the release, if there is one. Channels, pools, the definitions and the volume of NATS stay.
    ///
    /// # Errors
    /// When pods of it stay.
    pub async fn uninstall(&self) -> Result<()> {
        self.helm("uninstall", &["--ignore-not-found", "--wait", "--timeout", "120s"]).await?;
        let pods = ["-n", SYSTEM, "wait", "--for=delete", "pod", "--all", "--timeout=120s"];
        self.kubectl(&pods).await?;
        Ok(())
    }

    /// Uninstalls the release with everything that it keeps: the volume of NATS, and the definitions with all channels and pools.
    ///
    /// # Errors
    /// When something stays.
    pub async fn remove_all(&self) -> Result<()> {
        self.uninstall().await?;
        self.kubectl(&["-n", SYSTEM, "delete", "--ignore-not-found", VOLUME]).await?;
        let definitions = ["crd/eventchannels.eventcast.dev", "crd/brokerpools.eventcast.dev"];
        let limit = format!("--timeout={}s", WAIT_TIMEOUT.as_secs());
        let delete = ["delete", "--ignore-not-found", &limit];
        self.kubectl(&[&delete[..], &definitions].concat()).await?;
        Ok(())
    }
}

//! The built broker as a child: start, faults, restart on the same ports, metrics, configuration while it runs.
//!
//! A broker has one channel, `default/demo`, creates its stream, and lets a test change any key. Each test owns its
//! nats-server, so names need not be unique. The log of the broker is shown when a test panics.

mod cli;
mod delivery;
mod setup;
mod start;

pub use cli::{Cli, Ended};
pub use setup::{RawKeys, networks, open_channel};

use std::{
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context as _, Result};
use eventcast_crds::config::BrokerConfig;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    http::{Version, client},
    metrics::Metrics,
    process::{self, Process},
    tls::KeyFiles,
};

/// Time until a started broker is ready.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A broker, running or not.
#[derive(Debug)]
pub struct Broker {
    folder: TempDir,
    config: BrokerConfig,
    raw: RawKeys,
    /// Its limit of open files, where it is not the one of the tests.
    files: Option<u32>,
    /// Its log filter, where it is not the default.
    log_filter: Option<&'static str>,
    /// Environment variables that the tests do not have.
    variables: Vec<String>,
    process: Option<Process>,
    /// The certificate of a broker that a whole suite uses over TLS.
    _key_files: Option<KeyFiles>,
    public: String,
    /// Address of the listener with TLS, if there is one.
    secure: Option<String>,
    /// URL of the control port, if there is one.
    control: Option<String>,
    admin: String,
}

impl Broker {
    /// Starts a broker on the servers of `nats` (separated by `,`) and waits until it is ready. `change` sees the
    /// configuration before it is written.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn start(nats: &str, change: impl FnOnce(&mut BrokerConfig)) -> Result<Self> {
        let mut broker = Self::launch(nats, change).await?;
        broker.ready(START_TIMEOUT).await?;
        Ok(broker)
    }

    /// As [`start`](Self::start), but waits only until it listens.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub async fn launch(nats: &str, change: impl FnOnce(&mut BrokerConfig)) -> Result<Self> {
        Self::launch_with_files(nats, None, change).await
    }

    /// As [`launch`](Self::launch), with a limit of open files.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub async fn launch_with_files(
        nats: &str,
        files: Option<u32>,
        change: impl FnOnce(&mut BrokerConfig),
    ) -> Result<Self> {
        let mut broker = Self::prepare(nats, change)?;
        broker.files = files;
        broker.write()?;
        broker.run().await?;
        Ok(broker)
    }

    /// As [`start`](Self::start), with a log filter.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn start_with_log(
        nats: &str,
        log: &'static str,
        change: impl FnOnce(&mut BrokerConfig),
    ) -> Result<Self> {
        let mut broker = Self::prepare(nats, change)?;
        broker.log_filter = Some(log);
        broker.write()?;
        broker.run().await?;
        broker.ready(START_TIMEOUT).await?;
        Ok(broker)
    }

    /// As [`start`](Self::start), with a kubeconfig for its requests to the API server.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn start_with_kubeconfig(
        nats: &str,
        kubeconfig: &Path,
        change: impl FnOnce(&mut BrokerConfig),
    ) -> Result<Self> {
        let mut broker = Self::prepare(nats, change)?;
        broker.variables.push(format!("KUBECONFIG={}", kubeconfig.display()));
        broker.write()?;
        broker.run().await?;
        broker.ready(START_TIMEOUT).await?;
        Ok(broker)
    }

    /// As [`start`](Self::start), with logs in JSON.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn start_with_json_log(
        nats: &str,
        change: impl FnOnce(&mut BrokerConfig),
    ) -> Result<Self> {
        Self::start_with_variables(nats, vec!["EVENTCAST_LOG_FORMAT=json".into()], change).await
    }

    /// As [`start`](Self::start), with these variables (`NAME=value`) in its environment.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn start_with_variables(
        nats: &str,
        variables: Vec<String>,
        change: impl FnOnce(&mut BrokerConfig),
    ) -> Result<Self> {
        let mut broker = Self::prepare(nats, change)?;
        broker.variables = variables;
        broker.write()?;
        broker.run().await?;
        broker.ready(START_TIMEOUT).await?;
        Ok(broker)
    }

    /// A broker that was not started yet.
    fn prepare(nats: &str, change: impl FnOnce(&mut BrokerConfig)) -> Result<Self> {
        let folder = process::folder("eventcast-broker-")?;
        let mut config = setup::defaults(nats)?;
        let key_files = setup::key_files()?;
        config.tls = key_files.as_ref().map(KeyFiles::config);
        change(&mut config);
        Ok(Self {
            folder,
            config,
            raw: RawKeys::new(),
            files: None,
            log_filter: None,
            variables: Vec::new(),
            process: None,
            _key_files: key_files,
            public: String::new(),
            secure: None,
            control: None,
            admin: String::new(),
        })
    }

    /// `http://127.0.0.1:PORT` + `path`; `https` if there is only TLS.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.public)
    }

    /// The events of `default/demo`, with `query` (`""`, or `"topic=a&from=earliest"`).
    #[must_use]
    pub fn events_url(&self, query: &str) -> String {
        let mark = if query.is_empty() { "" } else { "?" };
        self.url(&format!("/channels/default/demo/events{mark}{query}"))
    }

    /// `http://127.0.0.1:PORT` + `path` on the admin listener.
    #[must_use]
    pub fn admin_url(&self, path: &str) -> String {
        format!("{}{path}", self.admin)
    }

    /// `http://localhost:PORT` + `path` on the control port.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn control_url(&self, path: &str) -> String {
        format!("{}{path}", self.control.as_deref().expect("the broker has no control port"))
    }

    /// `127.0.0.1:PORT` of the public listener.
    #[must_use]
    pub fn address(&self) -> &str {
        self.public.trim_start_matches("http://").trim_start_matches("https://")
    }

    /// `127.0.0.1:PORT` of the listener with TLS.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn secure_address(&self) -> &str {
        self.secure.as_deref().expect("the broker has no TLS")
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill9(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill9()?;
        }
        Ok(())
    }

    /// `SIGTERM`; does not wait.
    ///
    /// # Errors
    /// When it does not run.
    pub fn terminate(&self) -> Result<()> {
        self.running()?.signal(Signal::TERM)
    }

    /// `SIGHUP`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn hang_up(&self) -> Result<()> {
        self.running()?.signal(Signal::HUP)
    }

    /// Pauses it (`SIGSTOP`).
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.running()?.pause()
    }

    /// Ends [`pause`](Self::pause).
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.running()?.signal(Signal::CONT)
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When it still runs after `within`.
    pub async fn wait_exit(&mut self, within: Duration) -> Result<ExitStatus> {
        let process = self.process.as_mut().context("the broker does not run")?;
        process.wait_exit(within).await
    }

    /// Starts it again on the same ports, after `kill -9` where it still runs, and waits until it is ready.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn restart(&mut self) -> Result<()> {
        self.relaunch().await?;
        self.ready(START_TIMEOUT).await
    }

    /// As [`restart`](Self::restart), but waits only until it listens.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub async fn relaunch(&mut self) -> Result<()> {
        self.kill9()?;
        self.run().await
    }

    /// Scrapes `/metrics`.
    ///
    /// # Errors
    /// When there is no response, or it cannot be parsed.
    pub async fn metrics(&self) -> Result<Metrics> {
        let http = client(Version::Http1);
        let answer = http.get(self.admin_url("/metrics")).send().await?.error_for_status()?;
        Metrics::parse(&answer.text().await?)
    }

    /// Scrapes until `holds` accepts what it sees.
    ///
    /// # Errors
    /// When it does not within `within`.
    pub async fn settled(
        &self,
        what: &str,
        within: Duration,
        holds: impl Fn(&Metrics) -> Result<()>,
    ) -> Result<Metrics> {
        crate::eventually(what, within, || async {
            let metrics = self.metrics().await?;
            holds(&metrics)?;
            anyhow::Ok(metrics)
        })
        .await
    }

    /// The sum of a metric over all samples with `labels`.
    ///
    /// # Errors
    /// When it cannot be scraped.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        Ok(self.metrics().await?.metric(name, labels))
    }

    /// Changes the configuration file, atomically. It does not wait until the broker has applied it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn reconfigure(&mut self, change: impl FnOnce(&mut BrokerConfig)) -> Result<()> {
        change(&mut self.config);
        self.write()
    }

    /// As [`start`](Self::start), with keys that no configuration has.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn start_with_raw_keys(nats: &str, raw: RawKeys) -> Result<Self> {
        let mut broker = Self::prepare(nats, |_| {})?;
        broker.raw = raw;
        broker.write()?;
        broker.run().await?;
        broker.ready(START_TIMEOUT).await?;
        Ok(broker)
    }

    /// Writes the configuration file with these unknown keys instead of those that were in it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_raw_keys(&mut self, raw: RawKeys) -> Result<()> {
        self.raw = raw;
        self.write()
    }

    /// The configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("config.yaml")
    }

    /// The configuration as it was last written.
    #[must_use]
    pub fn config(&self) -> &BrokerConfig {
        &self.config
    }

    /// Everything it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::stderr).unwrap_or_default()
    }

    /// Process id.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.running()?.pid())
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// When it does not run.
    pub fn rss(&self) -> Result<u64> {
        self.running()?.rss()
    }

    fn running(&self) -> Result<&Process> {
        self.process.as_ref().context("the broker does not run")
    }
}

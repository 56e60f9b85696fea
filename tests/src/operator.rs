//! The built operator as a child: start, faults, metrics.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    eventually,
    http::{Version, client},
    metrics::Metrics,
    nats::NatsServer,
    ports,
    process::{self, Process},
};

/// Time until a started operator leads.
const START_TIMEOUT: Duration = Duration::from_secs(40);
/// Time until it has counted what a test waits for.
const COUNT_TIMEOUT: Duration = Duration::from_secs(45);
/// The image that brokers get; nothing pulls it where there is no kubelet.
pub const IMAGE: &str = "registry.example/eventcast-broker:test";

/// What an operator is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// How it reaches the API server.
    pub kubeconfig: PathBuf,
    /// Where NATS is.
    pub nats: String,
    /// The namespaces that it watches, separated by commas; empty: all.
    pub watch: String,
    /// Namespace of its Lease.
    pub own: String,
    /// Further arguments.
    pub more: Vec<String>,
}

impl Options {
    /// An operator in `namespace`, which it watches alone.
    #[must_use]
    pub fn of(kubeconfig: PathBuf, nats: &NatsServer, namespace: &str) -> Self {
        let (watch, own) = (namespace.to_owned(), namespace.to_owned());
        Self { kubeconfig, nats: nats.url(), watch, own, more: Vec::new() }
    }

    /// An operator in `namespace`, which watches all namespaces.
    #[must_use]
    pub fn of_all_namespaces(kubeconfig: PathBuf, nats: &NatsServer, namespace: &str) -> Self {
        Self { watch: String::new(), ..Self::of(kubeconfig, nats, namespace) }
    }
}

/// An operator, running or not.
#[derive(Debug)]
pub struct Operator {
    folder: TempDir,
    options: Options,
    admin: u16,
    environment: Vec<String>,
    process: Option<Process>,
}

impl Operator {
    /// Starts an operator and waits until it leads.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start(options: Options) -> Result<Self> {
        let mut operator = Self::launch(options)?;
        operator.leads(START_TIMEOUT).await?;
        Ok(operator)
    }

    /// Starts an operator and waits for nothing.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(options: Options) -> Result<Self> {
        let folder = process::folder("eventcast-operator-")?;
        let mut operator = Self {
            folder,
            options,
            admin: ports::reserve(1)?[0],
            environment: Vec::new(),
            process: None,
        };
        operator.relaunch()?;
        Ok(operator)
    }

    /// Starts it again, after `kill -9` where it still runs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn relaunch(&mut self) -> Result<()> {
        self.kill9()?;
        let Options { kubeconfig, nats, watch, own, more } = &self.options;
        // `env`: a child's own variables, without touching those of the test
        let mut arguments = vec![
            format!("KUBECONFIG={}", kubeconfig.display()),
            process::built("eventcast-operator").display().to_string(),
            "run".into(),
            format!("--admin=[::]:{}", self.admin),
            "--control-port=0".into(),
            format!("--nats-servers={nats}"),
            format!("--watch-namespaces={watch}"),
            format!("--lease-namespace={own}"),
            format!("--broker-image={IMAGE}"),
        ];
        arguments.extend(more.iter().cloned());
        arguments.splice(0..0, self.environment.iter().cloned());
        let folder = self.folder.path();
        self.process = Some(Process::spawn("operator", Path::new("env"), &arguments, folder)?);
        Ok(())
    }

    /// Sets an environment variable for the next start.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.push(format!("{name}={value}"));
    }

    /// The port of its admin listener.
    #[must_use]
    pub fn admin_port(&self) -> u16 {
        self.admin
    }

    /// Waits until it leads.
    ///
    /// # Errors
    /// When it does not within `within`, or has ended.
    pub async fn leads(&mut self, within: Duration) -> Result<()> {
        let led = eventually("the operator leads", within, || async {
            ensure!(
                self.metrics().await?.metric("eventcast_operator_leader", &[]) > 0.0,
                "not yet"
            );
            Ok(())
        });
        let led = led.await;
        led.map_err(|error| error.context(process::tail(&self.log(), 30)))
    }

    /// Scrapes `/metrics`.
    ///
    /// # Errors
    /// When there is no response.
    pub async fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&self.get("/metrics").await?.1)
    }

    /// Status and text of a path on the admin listener.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        self.get_from("127.0.0.1", path).await
    }

    /// As [`get`](Self::get), over another address of this machine.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get_from(&self, host: &str, path: &str) -> Result<(u16, String)> {
        let url = format!("http://{host}:{}{path}", self.admin);
        let answer = client(Version::Http1).get(url).timeout(Duration::from_secs(2)).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// The sum of a metric over all samples with `labels`.
    ///
    /// # Errors
    /// When it cannot be scraped.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        Ok(self.metrics().await?.metric(name, labels))
    }

    /// Waits until [`metric`](Self::metric) is at least `count`.
    ///
    /// # Errors
    /// When it is less for too long.
    pub async fn reaches(&self, name: &str, labels: &[(&str, &str)], count: f64) -> Result<()> {
        eventually(&format!("{name} is {count}"), COUNT_TIMEOUT, || async {
            let counted = self.metric(name, labels).await?;
            ensure!(counted >= count, "{counted}");
            Ok(())
        })
        .await
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

    /// A signal.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.process.as_ref();
        process.map_or_else(|| anyhow::bail!("the operator does not run"), |p| p.signal(signal))
    }

    /// Waits until it has ended by itself; its exit code.
    ///
    /// # Errors
    /// When it still runs after `within`.
    pub async fn wait_exit(&mut self, within: Duration) -> Result<Option<i32>> {
        let process = self.process.as_mut();
        let process = process.ok_or_else(|| anyhow::anyhow!("the operator does not run"))?;
        Ok(process.wait_exit(within).await?.code())
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
    pub fn process(&self) -> Result<&Process> {
        self.process.as_ref().ok_or_else(|| anyhow::anyhow!("the operator does not run"))
    }
}

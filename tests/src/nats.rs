//! Real nats-servers with JetStream: [`NatsServer`] alone, [`NatsCluster`] of three.
//!
//! Every test owns its servers. They listen on loopback, keep their store in a temporary folder and come back on the same
//! port with the same store, so that a fault is `kill9` and `restart`, `pause` and `resume`. Dropping a server kills it.

mod cluster;
mod reach;
mod store;

pub use cluster::NatsCluster;
pub use store::Snapshot;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use async_nats::{Client, jetstream};
use rustix::process::Signal;
use tempfile::TempDir;

pub(crate) use self::reach::binary;
use self::reach::connect;
use crate::{
    eventually, ports,
    process::{self, Process},
};

/// Time until a started server answers.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// One node: its folder, its port and, while it runs, its process.
#[derive(Debug)]
pub struct NatsServer {
    folder: TempDir,
    name: String,
    port: u16,
    /// User and password that it requires.
    login: Option<(String, String)>,
    process: Option<Process>,
}

impl NatsServer {
    /// A server that syncs every message before it acknowledges.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn start() -> Result<Self> {
        Self::start_with("always").await
    }

    /// A server with another `sync_interval` (`"1s"`, `"2m"`).
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn start_with(sync_interval: &str) -> Result<Self> {
        let port = ports::reserve(1)?[0];
        let mut server = Self::prepare("nats", port, sync_interval, "")?;
        server.restart().await?;
        Ok(server)
    }

    /// A server with more in its configuration, and in its JetStream block. It may not let the harness in, so nothing is waited for.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_with(jetstream: &str, more: &str) -> Result<Self> {
        let port = ports::reserve(1)?[0];
        let mut server = Self::prepare("nats", port, &format!("always, {jetstream}"), more)?;
        server.launch()?;
        Ok(server)
    }

    /// A server that was not started yet, with `more` in its configuration.
    fn prepare(name: &str, port: u16, sync_interval: &str, more: &str) -> Result<Self> {
        let folder = process::folder("eventcast-nats-")?;
        let store = folder.path().join("store");
        // a fixed size, because the default is what the disk has left, and streams reserve theirs
        let config = format!(
            "server_name: {name}\nlisten: 127.0.0.1:{port}\nlame_duck_duration: 30s\n\
             lame_duck_grace_period: 1s\njetstream {{ store_dir: {store:?}, sync_interval: {sync_interval}, \
             max_file_store: 16GB, max_memory_store: 256MB }}\n{more}\n"
        );
        fs::write(folder.path().join("nats.conf"), config)?;
        Ok(Self { folder, name: name.to_owned(), port, login: None, process: None })
    }

    /// `nats://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The name it calls itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A new connection.
    ///
    /// # Errors
    /// When the server does not answer within two seconds.
    pub async fn client(&self) -> Result<Client> {
        connect(&[self.url()], self.login.clone()).await
    }

    /// JetStream over a new connection.
    ///
    /// # Errors
    /// When the server does not answer within two seconds.
    pub async fn jetstream(&self) -> Result<jetstream::Context> {
        Ok(jetstream::new(self.client().await?))
    }

    /// `kill -9`. The port and the store are kept.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill9(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill9()?;
        }
        Ok(())
    }

    /// `SIGTERM`, and waits for the end.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn terminate(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::TERM)?;
            process.wait_exit(START_TIMEOUT).await?;
        }
        Ok(())
    }

    /// Starts it again, after `kill -9` where it still runs, and waits until JetStream answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn restart(&mut self) -> Result<()> {
        self.launch()?;
        self.answers().await
    }

    /// Restarts it so that it requires this user and password, and no earlier one.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn restart_with_password(&mut self, user: &str, password: &str) -> Result<()> {
        let file = self.folder.path().join("nats.conf");
        let config = fs::read_to_string(&file)?;
        let mut lines: Vec<_> =
            config.lines().filter(|line| !line.starts_with("authorization")).collect();
        let login = format!("authorization {{ user: {user:?}, password: {password:?} }}\n");
        lines.push(&login);
        fs::write(&file, lines.join("\n"))?;
        self.login = Some((user.to_owned(), password.to_owned()));
        self.restart().await
    }

    /// Pauses it (`SIGSTOP`): connections stay open, nothing is answered.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.process.as_ref().with_context(|| format!("{} does not run", self.name))?.pause()
    }

    /// Ends [`pause`](Self::pause).
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// `SIGUSR2`: leaders move away, clients are told to reconnect elsewhere, then it exits.
    ///
    /// # Errors
    /// When it does not run.
    pub fn lame_duck(&self) -> Result<()> {
        self.signal(Signal::USR2)
    }

    /// Everything JetStream keeps, at this moment. The server must be stopped.
    ///
    /// # Errors
    /// When it runs, or the store cannot be copied.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.must_be_stopped()?;
        Snapshot::take(&self.store())
    }

    /// Puts an older store back. The server must be stopped.
    ///
    /// # Errors
    /// When it runs, or the store cannot be copied.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<()> {
        self.must_be_stopped()?;
        snapshot.put(&self.store())
    }

    /// Deletes the store. The server must be stopped.
    ///
    /// # Errors
    /// When it runs, or the store cannot be deleted.
    pub fn wipe(&self) -> Result<()> {
        self.must_be_stopped()?;
        store::remove(&self.store())
    }

    /// The running process, for its memory or its log.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    fn launch(&mut self) -> Result<()> {
        self.kill9()?;
        let config = self.folder.path().join("nats.conf");
        let arguments = [Path::new("-c"), &config];
        let process = Process::spawn(&self.name, &binary(), &arguments, self.folder.path())?;
        self.process = Some(process);
        Ok(())
    }

    async fn answers(&self) -> Result<()> {
        eventually(&format!("{} answers", self.name), START_TIMEOUT, || async {
            self.jetstream().await?.query_account().await.context("JetStream does not answer")
        })
        .await?;
        Ok(())
    }

    /// Deletes a stream and waits until a broker has made another of its name.
    ///
    /// # Errors
    /// When there is none, or none is made within `within`.
    pub async fn remade(&self, stream: &str, within: Duration) -> Result<()> {
        let jetstream = self.jetstream().await?;
        let old = jetstream.get_stream(stream).await?.cached_info().created;
        jetstream.delete_stream(stream).await?;
        crate::eventually("another stream", within, || async {
            let new = jetstream.get_stream(stream).await?.cached_info().created;
            anyhow::ensure!(new != old, "still the old one");
            Ok(())
        })
        .await
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().with_context(|| format!("{} does not run", self.name))?.signal(signal)
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn must_be_stopped(&self) -> Result<()> {
        anyhow::ensure!(
            self.process.is_none(),
            "{} runs: its store is not to be touched",
            self.name
        );
        Ok(())
    }
}

//! A running example of `docs/examples`: `make run` in its folder, with ports and data of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    eventually, init_tracing, ports,
    process::{self, Process, built},
    repository,
};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::script::Script;

/// Packages that were not installed yet included.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// The broker drains for a second.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Example {
    name: String,
    folder: TempDir,
    /// The URL of the application.
    url: String,
    /// The URL of the broker's metrics.
    admin: String,
    run: Process,
}

impl Example {
    pub(super) async fn start(name: &str) -> Result<Self> {
        init_tracing();
        let folder = process::folder("eventcast-example-")?;
        let ports = ports::reserve(3)?;
        let source = source(name)?;
        let variables = [
            format!("PORT={}", ports[0]),
            format!("EVENTCAST_LISTEN=127.0.0.1:{}", ports[1]),
            format!("EVENTCAST_ADMIN=127.0.0.1:{}", ports[2]),
            format!("EVENTCAST_DATA_DIR={}", data(&folder).display()),
            format!("EVENTCAST_BROKER={}", built("eventcast-broker").display()),
        ];
        // no flags of a `make test` around this one
        let mut arguments = vec!["-u", "MAKEFLAGS", "-u", "MAKELEVEL"];
        arguments.extend(variables.iter().map(String::as_str));
        let source = source.to_str().context("not UTF-8")?;
        arguments.extend(["make", "--no-print-directory", "-C", source, "run"]);
        let env = process::find_on_path("env").context("no env")?;
        let run = Process::spawn(name, &env, &arguments, folder.path())?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let (url, admin) = (url(ports[0]), url(ports[2]));
        let mut example = Self { name: name.to_owned(), folder, url, admin, run };
        eventually("the example says where it is", START_TIMEOUT, || {
            let ready = example.run.stdout().contains("Press Ctrl-C to stop");
            let ended = example.run.exited().ok().flatten().is_some();
            std::future::ready((ready || ended).then_some(()))
        })
        .await
        .with_context(|| example.run.stderr())?;
        ensure!(example.run.exited()?.is_none(), "{name} ended: {}", example.run.stderr());
        ensure!(example.run.stdout().contains(&example.url), "{}", example.run.stdout());
        Ok(example)
    }

    /// Its script in a browser. With `UPDATE_EXPECT=1` the picture of its page is taken anew.
    pub(super) fn script(&self, browser: &str) -> Result<Script> {
        let picture = format!("{}.png", self.name);
        let picture = match std::env::var_os("UPDATE_EXPECT") {
            Some(_) => source(&self.name)?.join(picture),
            None => self.folder.path().join(picture),
        };
        let [data, picture] = [data(&self.folder), picture].map(|path| path.display().to_string());
        let arguments = [&*self.url, &self.admin, &data, &picture];
        let script = format!("examples/{}.mjs", self.name);
        Script::start(browser, &script, &arguments, self.folder.path())
    }

    /// Ends it as Ctrl-C does, and checks that it left nothing behind.
    pub(super) async fn end(mut self) -> Result<()> {
        let nats = fs::read_to_string(data(&self.folder).join("nats.pid"))?;
        self.run.signal(Signal::TERM)?;
        self.run.wait_exit(STOP_TIMEOUT).await?;
        let gone = !Path::new("/proc").join(nats.trim()).exists();
        ensure!(gone, "nats-server {nats} is left behind");
        Ok(())
    }
}

/// What `run.sh` started does not die with a process that is killed.
impl Drop for Example {
    fn drop(&mut self) {
        let deadline = Instant::now() + STOP_TIMEOUT;
        if matches!(self.run.exited(), Ok(None)) && self.run.signal(Signal::TERM).is_ok() {
            while Instant::now() < deadline && matches!(self.run.exited(), Ok(None)) {
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// The folder of an example.
fn source(name: &str) -> Result<PathBuf> {
    Ok(repository().join("docs/examples").join(name).canonicalize()?)
}

/// What the example keeps.
fn data(folder: &TempDir) -> PathBuf {
    folder.path().join("data")
}

//! A reader with a shell, files, and a running `dev` or a cluster.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use super::blocks::{found, matches};
use crate::{
    broker::Cli,
    eventually,
    kube::program,
    ports,
    process::{self, Process, find_on_path},
    repository,
};

/// For a page that needs one machine.
const WAIT: Duration = Duration::from_secs(15);
/// For a page that needs a cluster.
const CLUSTER_WAIT: Duration = Duration::from_secs(180);

/// The reader of a page.
pub struct Session {
    folder: TempDir,
    /// Where commands run.
    place: PathBuf,
    /// Folders of programs, before those of the `PATH`.
    programs: Vec<PathBuf>,
    /// How long a command may take.
    wait: Duration,
    /// Addresses as pages have them, and as they are here.
    addresses: BTreeMap<&'static str, String>,
    dev: Option<Process>,
    /// Of the commands that ran last.
    printed: String,
    /// What goes on in other terminals, and how much of what the last one printed was compared.
    streams: Vec<Process>,
    compared: usize,
    started: usize,
}

impl Session {
    /// On one machine: `make run` starts a broker.
    ///
    /// # Errors
    /// No folder or port is free.
    pub fn new() -> Result<Self> {
        let programs =
            [process::built("eventcast-broker"), process::built("eventcast"), program("nats")];
        let session = Self::start_with(programs.iter(), WAIT)?;
        Ok(Self { place: session.folder.path().to_owned(), ..session })
    }

    /// In a clone of the repository, with these programs and the cluster of `KUBECONFIG`.
    ///
    /// # Errors
    /// No folder or port is free.
    pub fn in_cluster(programs: &[PathBuf]) -> Result<Self> {
        let mut session = Self::start_with(programs.iter(), CLUSTER_WAIT)?;
        let (_, port) = session.addresses["127.0.0.1:8080"].split_once(':').context("no port")?;
        let forwarded = format!("{port}:80");
        session.addresses.insert("8080:80", forwarded);
        Ok(session)
    }

    fn start_with<'a>(programs: impl Iterator<Item = &'a PathBuf>, wait: Duration) -> Result<Self> {
        let ports = ports::reserve(2)?;
        let addresses = [("127.0.0.1:8080", ports[0]), ("127.0.0.1:9090", ports[1])];
        let addresses = addresses.map(|(page, port)| (page, format!("127.0.0.1:{port}")));
        let folder = process::folder("eventcast-page-")?;
        fs::write(folder.path().join("variables"), "")?;
        let folders = programs.filter_map(|program| program.parent()).map(Path::to_owned);
        Ok(Self {
            folder,
            place: repository(),
            programs: folders.collect(),
            wait,
            addresses: addresses.into(),
            dev: None,
            printed: String::new(),
            streams: Vec::new(),
            compared: 0,
            started: 0,
        })
    }

    /// Runs the commands of a block.
    ///
    /// # Errors
    /// One of them fails, or takes too long.
    pub async fn run(&mut self, block: &str) -> Result<()> {
        if let Some(command) = block.lines().find(|line| line.starts_with("make run")) {
            return self.start(command).await;
        }
        if block.contains("curl -N") || block.contains("port-forward") {
            let stream = self.spawn(block)?;
            eventually("it begins to print", self.wait, || {
                std::future::ready((!stream.stdout().is_empty()).then_some(()))
            })
            .await
            .with_context(|| stream.stderr())?;
            self.streams.push(stream);
            self.compared = 0;
            return Ok(());
        }
        let mut process = self.spawn(&format!("{block}export -p > '{}'\n", self.variables()))?;
        let status = process.wait_exit(self.wait).await?;
        self.printed = self.as_on_the_page(&process.stdout());
        ensure!(status.success(), "{status}\n{}{}", self.printed, process.stderr());
        Ok(())
    }

    /// `make run` without the build.
    async fn start(&mut self, command: &str) -> Result<()> {
        self.end().await?;
        let arguments = command.split('"').nth(1).unwrap_or_default();
        let arguments: Vec<_> = ["dev"].into_iter().chain(arguments.split_whitespace()).collect();
        let cli = Cli::new(&arguments).without("XDG_STATE_HOME").with_nats();
        let cli = cli.env("HOME", self.folder.path());
        let cli = cli.arg("--listen").arg(&self.addresses["127.0.0.1:8080"]);
        let cli = cli.arg("--admin").arg(&self.addresses["127.0.0.1:9090"]);
        self.started += 1;
        let dev = self.dev.insert(cli.spawn(&format!("dev{}", self.started), self.folder.path())?);
        let text = eventually("dev says where everything is", WAIT, || {
            let text = Some(dev.stdout()).filter(|text| text.contains("Press Ctrl-C to stop"));
            std::future::ready(text)
        })
        .await
        .with_context(|| dev.stderr())?;
        let nats = text.split_once("nats://").and_then(|(_, rest)| rest.split_once(','));
        let (nats, _) = nats.context("no address of NATS")?;
        self.addresses.insert("127.0.0.1:4222", nats.to_owned());
        self.printed = self.as_on_the_page(&text);
        Ok(())
    }

    /// Ends `dev`, and with it its nats-server and all streams.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn end(&mut self) -> Result<()> {
        let Some(mut dev) = self.dev.take() else { return Ok(()) };
        dev.signal(Signal::INT)?;
        eventually("dev shuts down", WAIT, || {
            std::future::ready(dev.stderr().contains("shutting down").then_some(()))
        })
        .await?;
        dev.signal(Signal::INT)?; // a second one ends it at once
        dev.wait_exit(WAIT).await?;
        self.streams.clear();
        Ok(())
    }

    /// The file that has the variables of the commands before.
    fn variables(&self) -> String {
        self.folder.path().join("variables").display().to_string()
    }

    /// A shell with the commands of a block, and the variables of those before.
    fn spawn(&mut self, block: &str) -> Result<Process> {
        let mut commands = block.to_owned();
        for (page, here) in &self.addresses {
            commands = commands.replace(page, here);
        }
        let folder = self.folder.path();
        let (place, variables) = (self.place.display(), self.variables());
        let script = format!("cd '{place}'\nset -a\n. '{variables}'\n{commands}");
        let mut path = self.programs.clone();
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        let path = format!("PATH={}", env::join_paths(path)?.to_string_lossy());
        let home = format!("HOME={}", folder.display());
        let shell = find_on_path("env").context("no env")?;
        self.started += 1;
        let name = format!("block{}", self.started);
        let words = ["no_proxy=127.0.0.1", &path, &home, "sh", "-ec", &script];
        Process::spawn(&name, &shell, &words, folder)
    }

    /// Writes the file that is named in the first line of a block; what has no name is not run.
    pub(super) fn write(&self, block: &str) -> Result<()> {
        let first = block.lines().next().unwrap_or_default();
        let Some(name) = first.strip_prefix("# ").or_else(|| first.strip_prefix("// ")) else {
            return Ok(());
        };
        ensure!(!name.contains('/'), "not the name of a file: {name}");
        let mut text = block.to_owned();
        for (page, here) in &self.addresses {
            text = text.replace(page, here);
        }
        Ok(fs::write(self.place.join(name), text)?)
    }

    /// Whether the last commands have printed this.
    pub(super) fn printed(&self, expected: &str) -> Result<()> {
        ensure!(matches(expected, &self.printed), "they printed\n{}", self.printed);
        Ok(())
    }

    /// Waits until the last stream has printed this, after what was compared before.
    pub(super) async fn streamed(&mut self, expected: &str) -> Result<()> {
        let Some(stream) = self.streams.last() else { bail!("no stream is open") };
        let print = || self.as_on_the_page(&stream.stdout());
        let end = eventually("the stream has printed it", WAIT, || {
            let end = print().get(self.compared..).and_then(|text| found(expected, text));
            std::future::ready(end)
        });
        let end =
            end.await.with_context(|| format!("it printed\n{}{}", print(), stream.stderr()))?;
        self.compared += end;
        Ok(())
    }

    fn as_on_the_page(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (page, here) in &self.addresses {
            text = text.replace(here.as_str(), page);
        }
        text
    }
}

//! Real proxies in front of brokers, as an ingress is: nginx, HAProxy and Envoy, with TLS and both versions of HTTP for clients.
//!
//! They run what `docs/proxies` says, with the addresses and files of a test in it. A [`Setting`] changes lines of that, so that a
//! test can see what a wrong one does. `tests/tools/install.sh proxies` installs the programs.

mod controller;
mod envoy;
mod haproxy;
mod nginx;

pub use controller::Controller;

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::{
    eventually,
    http::{Version, client},
    kube::program,
    ports,
    process::{self, Process},
    repository,
    tls::{self, Issued},
};

/// Time until a started proxy answers.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest silence and the longest response that [`Setting::IdleTimeout`] and [`Setting::TimeLimit`] allow.
pub const TIME_LIMIT: Duration = Duration::from_secs(5);
/// The largest body that [`Setting::SmallBodies`] allows, in bytes.
pub const BODY_LIMIT: usize = 1 << 20;

/// A program that forwards requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// nginx.
    Nginx,
    /// HAProxy.
    HaProxy,
    /// HAProxy that forwards connections, not requests: the brokers have TLS and read the PROXY protocol.
    HaProxyTcp,
    /// Envoy.
    Envoy,
}

/// How a proxy is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// As `docs/proxies` says.
    Documented,
    /// It collects a response and passes it on in pieces of its own, whatever the broker asks for.
    Buffering,
    /// It compresses event streams, and JSON.
    Compression,
    /// It closes what was silent for [`TIME_LIMIT`].
    IdleTimeout,
    /// It ends each response after [`TIME_LIMIT`].
    TimeLimit,
    /// It rejects bodies of more than [`BODY_LIMIT`].
    SmallBodies,
}

/// Lines of a documented configuration, and what takes their place.
pub(crate) type Changes = Vec<(String, String)>;

impl Kind {
    /// Those that forward requests.
    pub const ALL: [Self; 3] = [Self::Nginx, Self::HaProxy, Self::Envoy];

    /// Those that can be configured in this way.
    pub fn with(setting: Setting) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |kind| kind.changes(setting).is_some())
    }

    /// `None` if the proxy has no such setting.
    fn changes(self, setting: Setting) -> Option<&'static [(&'static str, &'static str)]> {
        match self {
            _ if setting == Setting::Documented => Some(&[]),
            Self::Nginx => nginx::changes(setting),
            Self::HaProxy => haproxy::changes(setting),
            Self::HaProxyTcp => None,
            Self::Envoy => envoy::changes(setting),
        }
    }

    /// The name of its program, and of its configuration in `docs/proxies`.
    pub(crate) const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Nginx => ("nginx", "nginx.conf"),
            Self::HaProxy => ("haproxy", "haproxy.cfg"),
            Self::HaProxyTcp => ("haproxy", "haproxy-tcp.cfg"),
            Self::Envoy => ("envoy", "envoy.yaml"),
        }
    }

    /// The configuration for a test.
    fn configuration(self, setting: Setting, place: &Place<'_>) -> Result<String> {
        let wrong =
            self.changes(setting).with_context(|| format!("{self:?} has no {setting:?}"))?;
        let wrong = wrong.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned()));
        self.documented(wrong.collect(), place)
    }

    /// What `docs/proxies` says, for this place and with these changes.
    ///
    /// # Errors
    /// When a line that is to be changed is not there once.
    pub(crate) fn documented(self, changes: Changes, place: &Place<'_>) -> Result<String> {
        let file = repository().join("docs/proxies").join(self.names().1);
        let mut text = fs::read_to_string(file)?;
        let own = match self {
            Self::Nginx => nginx::place(place),
            Self::HaProxy => haproxy::place(place),
            Self::HaProxyTcp => haproxy::place_tcp(place),
            Self::Envoy => envoy::place(place),
        };
        for (from, to) in own.into_iter().chain(changes) {
            ensure!(text.matches(&from).count() == 1, "{from:?} is not once in {}", self.names().1);
            text = text.replace(&from, &to);
        }
        Ok(text)
    }

    /// The arguments of its program, which may write into `folder`. `file` has the path of a file of its configuration.
    pub(crate) fn arguments(self, folder: &Path, file: impl Fn(&str) -> String) -> Vec<String> {
        match self {
            Self::Nginx => nginx::arguments(folder, &file(nginx::MAIN)),
            Self::HaProxy | Self::HaProxyTcp => haproxy::arguments(file(self.names().1)),
            Self::Envoy => envoy::arguments(file(self.names().1)),
        }
    }

    /// The files of its configuration, with `configuration` as the one of `docs/proxies`.
    pub(crate) fn files(self, configuration: String) -> Vec<(&'static str, String)> {
        let main = (self == Self::Nginx).then(|| (nginx::MAIN, nginx::main()));
        main.into_iter().chain([(self.names().1, configuration)]).collect()
    }
}

/// Where a proxy of a test listens, finds its files, and sends requests.
pub(crate) struct Place<'a> {
    /// Host and port on which it listens.
    pub(crate) address: &'a str,
    /// The folder of its certificate: `tls.crt`, `tls.key`, and both as `tls.pem`.
    pub(crate) folder: &'a Path,
    /// Host and port of each broker.
    pub(crate) brokers: &'a [&'a str],
}

impl Place<'_> {
    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// A line for each broker, from its number, its host and its port.
    fn broker_lines(&self, line: impl Fn(usize, &str, &str) -> String) -> String {
        let line = |(n, address): (usize, &&str)| {
            let (host, port) = address.rsplit_once(':').unwrap_or((address, "80"));
            line(n + 1, host, port)
        };
        self.brokers.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// A proxy, running or not. Dropping it kills it.
#[derive(Debug)]
pub struct Proxy {
    kind: Kind,
    folder: TempDir,
    address: String,
    process: Option<Process>,
}

impl Proxy {
    /// Starts a proxy in front of `brokers` (`http://127.0.0.1:PORT`; of [`Kind::HaProxyTcp`] with `https`) and waits until it answers.
    ///
    /// # Errors
    /// When it has no such setting, or does not answer.
    pub async fn start(kind: Kind, setting: Setting, brokers: &[&str]) -> Result<Self> {
        let folder = process::folder("eventcast-proxy-")?;
        let address = format!("127.0.0.1:{}", ports::reserve(1)?[0]);
        let brokers: Vec<_> = brokers
            .iter()
            .map(|url| url.rsplit_once("://").map_or(*url, |(_, rest)| rest))
            .collect();
        let place = Place { address: &address, folder: folder.path(), brokers: &brokers };
        let configuration = kind.configuration(setting, &place)?;
        let Issued { certificate, key, .. } = Issued::new()?;
        let identity = [
            ("tls.pem", [certificate.as_str(), &key].concat()),
            ("tls.crt", certificate),
            ("tls.key", key),
        ];
        for (name, text) in kind.files(configuration).into_iter().chain(identity) {
            fs::write(folder.path().join(name), text)?;
        }
        tls::register(&address);
        let mut proxy = Self { kind, folder, address, process: None };
        proxy.restart().await?;
        Ok(proxy)
    }

    /// `https://127.0.0.1:PORT` + `path`. Clients of the harness trust its certificate.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
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

    /// Starts it again on the same port, after `kill -9` where it still runs, and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill9()?;
        let (name, _) = self.kind.names();
        let folder = self.folder.path();
        let file = |name: &str| folder.join(name).display().to_string();
        let arguments = self.kind.arguments(folder, file);
        let process = Process::spawn(name, &program(name), &arguments, folder)?;
        let process = self.process.insert(process);
        let (client, url) = (client(Version::Http1), format!("https://{}/", self.address));
        let what = format!("{name} answers");
        let answer = eventually(&what, START_TIMEOUT, || async {
            client.get(&url).timeout(Duration::from_secs(2)).send().await?.error_for_status()
        })
        .await;
        let ending = || format!("{}{}", process.stdout(), process::tail(&process.stderr(), 30));
        answer.map(drop).with_context(ending)
    }
}

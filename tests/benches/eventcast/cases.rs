//! What is measured, a file each. A case runs one round at a time: it starts its servers one after the other, so that what else happens on
//! the machine meets all of them alike, and gives readings in which ours stands beside what it is compared with.
//!
//! A round that delivers less or other than what was published is an error, whatever its figures.

mod access;
mod beside;
mod bursts;
mod channels;
mod fan_out;
mod fanout;
mod filters;
mod http2;
mod newcomers;
mod publish;
mod saturation;
mod small;
mod stalled;
mod storm;
mod targeted;
mod tls;
mod traces;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use eventcast_tests::issuer::Issuer;
use tokio::runtime::{Builder, Runtime};

use crate::{
    options::Options,
    report::Reading,
    server::{Server, Setup, Sync},
};

/// A case, by its name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// One event at a time to everyone.
    Fanout,
    /// Ten events at once to everyone.
    Bursts,
    /// Events as fast as they can be published.
    Saturation,
    /// Fan-out to subscribers with filters.
    Filters,
    /// Events for one user of many.
    Targeted,
    /// Readers that do not read, among readers that do.
    Stalled,
    /// A small channel beside a large one that is busy.
    Small,
    /// Everyone comes back at once, each from another place.
    Storm,
    /// Publishing, against JetStream's own.
    Publish,
    /// Fan-out over HTTP/2.
    Http2,
    /// Fan-out over TLS, and handshakes.
    Tls,
    /// Many channels, with few subscribers each, and idle.
    Channels,
    /// Fan-out to subscribers with tokens, connections with tokens, refused tokens, the list of subscribers.
    Access,
    /// Publishing and fan-out with traces of which none is sampled.
    Traces,
}

impl Case {
    pub(crate) fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    /// Measures it once.
    pub(crate) fn round(self, bench: &Bench, round: u32) -> Result<Vec<Reading>> {
        match self {
            Self::Fanout => fanout::round(bench),
            Self::Bursts => bursts::round(bench),
            Self::Saturation => saturation::round(bench),
            Self::Filters => filters::round(bench),
            Self::Targeted => targeted::round(bench),
            Self::Stalled => stalled::round(bench),
            Self::Small => small::round(bench),
            Self::Storm => storm::round(bench, round),
            Self::Publish => publish::round(bench),
            Self::Http2 => http2::round(bench),
            Self::Tls => tls::round(bench),
            Self::Channels => channels::round(bench),
            Self::Access => access::round(bench),
            Self::Traces => traces::round(bench),
        }
    }
}

/// What every case is given. Servers are started asynchronously, as the harness does; all load is synchronous.
pub(crate) struct Bench {
    pub(crate) options: Options,
    runtime: Runtime,
}

impl Bench {
    pub(crate) fn new(options: Options) -> Result<Self> {
        Ok(Self { options, runtime: Builder::new_current_thread().enable_all().build()? })
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn floor(&self) -> Result<Server> {
        self.block_on(Server::floor())
    }

    fn nchan(&self) -> Result<Server> {
        self.block_on(Server::nchan())
    }

    /// The broker with as many shards as the options say.
    fn broker(&self, sync: Sync) -> Result<Server> {
        self.broker_with(self.options.shards(), sync)
    }

    fn broker_with(&self, shards: Option<usize>, sync: Sync) -> Result<Server> {
        self.block_on(Server::broker(Setup { shards, sync, ..Setup::default() }))
    }

    /// The broker with TLS beside plaintext, for fan-out.
    fn broker_with_tls(&self) -> Result<Server> {
        let shards = self.options.shards();
        self.block_on(Server::broker(Setup { shards, tls: true, ..Setup::default() }))
    }

    /// The broker where tokens of an issuer count, for fan-out.
    fn broker_with_issuer(&self, issuer: &Issuer) -> Result<Server> {
        let (shards, issuer) = (self.options.shards(), Some(issuer.trusted()));
        self.block_on(Server::broker(Setup { shards, issuer, ..Setup::default() }))
    }

    /// The broker with many channels, for fan-out.
    fn broker_with_channels(&self, channels: u32) -> Result<Server> {
        let shards = self.options.shards();
        self.block_on(Server::broker(Setup { shards, channels, ..Setup::default() }))
    }

    /// Waits until the server counts so many subscribers, where it counts them.
    fn subscribed(&self, server: &Server, subscribers: usize) -> Result<()> {
        self.block_on(server.subscribed(subscribers))
    }
}

/// A result with the end of the server's log where it is an error.
fn blame<T>(server: &Server, result: Result<T>) -> Result<T> {
    result.with_context(|| format!("the log of the server ends:\n{}", server.log()))
}

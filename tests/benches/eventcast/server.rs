//! The servers that are measured: the floor, the broker, a peer. Each is a process of its own on a fresh port, speaks the same
//! requests, and is asked for the same figures.

pub(crate) mod nchan;
pub(crate) mod text;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::{BrokerConfig, ChannelConfig, Otlp, Tls, TokenIssuer};
use eventcast_tests::{
    broker::{Broker, open_channel},
    channel_folder::ChannelFolder,
    eventually,
    nats::NatsServer,
    ports,
    process::{self, Process},
    tls::KeyFiles,
};
use tempfile::TempDir;

pub(crate) use text::Channel;

use crate::measure;

const START_TIMEOUT: Duration = Duration::from_secs(20);
/// What the limits of the broker are raised to: one machine stands for all clients.
const PLENTY: usize = 100_000;

/// How often the log of the broker is synced to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sync {
    /// Before every acknowledgement.
    Always,
    /// Now and then: fan-out is to be measured, not the disk.
    #[default]
    Seldom,
}

/// What a broker is started with.
#[derive(Default)]
pub(crate) struct Setup {
    /// As in its configuration, or as it sees fit.
    pub(crate) shards: Option<usize>,
    pub(crate) sync: Sync,
    /// Whether it has a listener with TLS, too.
    pub(crate) tls: bool,
    /// Whose tokens count in its channel, which is open to clients without one.
    pub(crate) issuer: Option<TokenIssuer>,
    /// How many channels it has beside the two of every case, in a folder.
    pub(crate) channels: u32,
    /// Whether spans would be exported, of which none is sampled.
    pub(crate) traces: bool,
}

/// A running server.
pub(crate) struct Server {
    kind: Kind,
    address: SocketAddr,
    pid: u32,
}

enum Kind {
    Floor(Child),
    Broker {
        broker: Box<Broker>,
        nats: Box<NatsServer>,
        _files: Option<KeyFiles>,
        _channels: Option<ChannelFolder>,
    },
    Nchan(Child),
}

/// A child and the folder it writes to, in the order in which they must go.
struct Child {
    process: Process,
    _folder: TempDir,
}

impl Server {
    /// The floor, as a child of this executable.
    pub(crate) async fn floor() -> Result<Self> {
        let address = free_address()?;
        let folder = process::folder("eventcast-floor-")?;
        let arguments = ["serve-floor".to_owned(), address.port().to_string()];
        let own = std::env::current_exe()?;
        let process = Process::spawn("floor", &own, &arguments, folder.path())?;
        Self::child(address, process, folder, Kind::Floor).await
    }

    /// nginx with nchan.
    pub(crate) async fn nchan() -> Result<Self> {
        let address = free_address()?;
        let folder = process::folder("eventcast-nchan-")?;
        let process = nchan::spawn(address, folder.path())?;
        Self::child(address, process, folder, Kind::Nchan).await
    }

    async fn child(
        address: SocketAddr,
        process: Process,
        folder: TempDir,
        kind: impl FnOnce(Child) -> Kind,
    ) -> Result<Self> {
        eventually("the server listens", START_TIMEOUT, || async {
            TcpStream::connect(address).map_err(|error| format!("{error}: {}", process.stderr()))
        })
        .await?;
        let pid = process.pid();
        Ok(Self { kind: kind(Child { process, _folder: folder }), address, pid })
    }

    /// The broker with a nats-server of its own.
    pub(crate) async fn broker(setup: Setup) -> Result<Self> {
        let nats = match setup.sync {
            Sync::Always => NatsServer::start().await?,
            Sync::Seldom => NatsServer::start_with("1m").await?,
        };
        let files = setup.tls.then(KeyFiles::new).transpose()?;
        let numbered: Vec<_> = (0..setup.channels).map(Channel::Numbered).map(config_of).collect();
        let folder = (!numbered.is_empty()).then(|| ChannelFolder::new(&numbered)).transpose()?;
        let broker = Broker::start(&nats.url(), |config| {
            configure(config, &setup);
            config.channels_folder = folder.as_ref().map(|folder| folder.path().into());
            config.channels[0].access.tokens.extend(setup.issuer);
            config.tls = files.as_ref().map(|files| Tls { plaintext: true, ..files.config() });
        })
        .await?;
        let (address, pid) = (broker.address().parse()?, broker.pid()?);
        let kind = Kind::Broker {
            broker: Box::new(broker),
            nats: Box::new(nats),
            _files: files,
            _channels: folder,
        };
        Ok(Self { kind, address, pid })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The listener with TLS.
    pub(crate) fn secure_address(&self) -> Result<SocketAddr> {
        match &self.kind {
            Kind::Broker { broker, .. } => Ok(broker.secure_address().parse()?),
            _ => anyhow::bail!("no broker, no TLS"),
        }
    }

    /// Processor time so far. Only for a server that has nothing left to do.
    pub(crate) fn cpu(&self) -> Result<f64> {
        std::thread::sleep(Duration::from_millis(30)); // what it does after the last write counts too
        Ok(measure::cpu(self.pid)?.as_secs_f64())
    }

    /// Processor time of its nats-server so far; 0 if it has none.
    pub(crate) fn nats_cpu(&self) -> Result<f64> {
        let Ok(nats) = self.nats() else { return Ok(0.0) };
        Ok(measure::cpu(nats.process().context("nats-server does not run")?.pid())?.as_secs_f64())
    }

    /// How often its threads have gone to sleep so far.
    pub(crate) fn sleeps(&self) -> Result<u64> {
        measure::sleeps(self.pid)
    }

    /// Resident memory.
    pub(crate) fn rss(&self) -> Result<u64> {
        measure::rss(self.pid)
    }

    /// The end of its log, for failures.
    pub(crate) fn log(&self) -> String {
        let log = match &self.kind {
            Kind::Floor(child) | Kind::Nchan(child) => child.process.stderr(),
            Kind::Broker { broker, .. } => broker.log(),
        };
        process::tail(&log, 20)
    }

    /// The nats-server behind the broker.
    pub(crate) fn nats(&self) -> Result<&NatsServer> {
        match &self.kind {
            Kind::Broker { nats, .. } => Ok(nats),
            _ => anyhow::bail!("no broker, no nats-server"),
        }
    }

    /// Waits until the broker counts so many subscribers; the others count none.
    pub(crate) async fn subscribed(&self, subscribers: usize) -> Result<()> {
        let Kind::Broker { broker, .. } = &self.kind else { return Ok(()) };
        eventually("everyone subscribed", START_TIMEOUT, || async {
            let open = broker.metric("eventcast_subscribers", &[]).await?;
            ensure!((open - subscribers as f64).abs() < 0.5, "{open} of {subscribers}");
            Ok(())
        })
        .await
    }

    /// The target of a subscription or a publish.
    pub(crate) fn target(&self, channel: Channel, query: &str) -> String {
        let mark = if query.is_empty() { "" } else { "?" };
        format!("/channels/default/{}/events{mark}{query}", channel.name())
    }

    /// A subscription.
    pub(crate) fn subscribe(&self, channel: Channel, query: &str, cursor: Option<&str>) -> Vec<u8> {
        match self.kind {
            Kind::Nchan(_) => text::get("/subscribe", None),
            _ => text::get(&self.target(channel, query), cursor),
        }
    }

    /// The publish of one event.
    pub(crate) fn event(&self, channel: Channel, query: &str, number: u32, size: usize) -> Vec<u8> {
        let target = match self.kind {
            Kind::Nchan(_) => "/publish".to_owned(),
            _ => self.target(channel, query),
        };
        text::post(&target, "text/plain", &text::data(number, size))
    }

    /// Several events to everyone at once, and how many answers that makes: a batch, or requests one behind the other where a server knows no batches.
    pub(crate) fn burst(&self, numbers: std::ops::Range<u32>, size: usize) -> (Vec<u8>, u64) {
        if matches!(self.kind, Kind::Nchan(_)) {
            let answers = u64::from(numbers.end - numbers.start);
            let all = numbers.flat_map(|number| self.event(Channel::Main, "", number, size));
            return (all.collect(), answers);
        }
        (self.batch(numbers.map(|number| (number, None)), size), 1)
    }

    /// A batch of events, each with its topic or to everyone.
    pub(crate) fn batch(
        &self,
        events: impl Iterator<Item = (u32, Option<String>)>,
        size: usize,
    ) -> Vec<u8> {
        let mut lines = String::new();
        for (number, topic) in events {
            let topic = topic.map(|topic| format!("\"topic\":\"{topic}\",")).unwrap_or_default();
            lines += &format!("{{{topic}\"data\":\"{}\"}}\n", text::data(number, size));
        }
        text::post(&self.target(Channel::Main, ""), "application/x-ndjson", &lines)
    }
}

/// Limits are raised, since all clients come from one machine; all else is as by default.
fn configure(config: &mut BrokerConfig, setup: &Setup) {
    if setup.shards.is_some() {
        config.fanout.shards = setup.shards;
    }
    if setup.traces {
        // Nobody is there, and nothing is sent.
        let endpoint = Some("http://127.0.0.1:4318".to_owned());
        config.telemetry.otlp = Otlp { endpoint, sample_ratio: Some(0.0) };
    }
    config.limits.connections = PLENTY;
    config.limits.subscribers = PLENTY;
    config.limits.subscribers_per_address = PLENTY;
    config.channels.push(config_of(Channel::Small));
}

fn config_of(channel: Channel) -> ChannelConfig {
    let mut config = open_channel("default", &channel.name());
    if channel != Channel::Small {
        config.retention.max_bytes = 1 << 20; // JetStream reserves it
    }
    config
}

fn free_address() -> Result<SocketAddr> {
    let port = *ports::reserve(1)?.first().context("no free port")?;
    Ok((Ipv4Addr::LOCALHOST, port).into())
}

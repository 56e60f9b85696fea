//! `eventcast-broker dev`: a broker with its own nats-server, on a data directory that survives restarts, and a channel to try.

mod access;
mod nats;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use eventcast_crds::config::{
    Access, BrokerConfig, ChannelConfig, DEFAULT_CONTROL_PORT, Nats, Shutdown, valid_label,
};
use eventcast_runtime::{listener::parse_address, supervise::Supervisor};
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Listeners,
    reload::{ConfigSource, ValidConfig},
};
use access::{Commands, Issuer, Mode};
use nats::NatsChild;

/// Options of `eventcast-broker dev`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// A channel to serve, as namespace/name; repeatable.
    #[arg(long, env = "EVENTCAST_CHANNEL", default_value = "default/demo", value_delimiter = ',')]
    pub channel: Vec<String>,
    /// Address of the web page and the API.
    #[arg(long, value_parser = parse_address, env = "EVENTCAST_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Address of metrics and probes.
    #[arg(long, value_parser = parse_address, env = "EVENTCAST_ADMIN", default_value = "127.0.0.1:9090")]
    pub admin: SocketAddr,
    /// Port of the control listener on the loopback addresses; if it is in use, any free one.
    #[arg(long, env = "EVENTCAST_CONTROL_PORT", value_name = "PORT", default_value_t = DEFAULT_CONTROL_PORT)]
    pub control_port: u16,
    /// Who may use the channels: everyone (`open`), or only requests with a token (`closed`). Tokens are printed.
    #[arg(long, env = "EVENTCAST_ACCESS", default_value = "open")]
    pub access: Mode,
    /// An origin whose pages may use the channels, such as http://localhost:3000; repeatable. Pages of other origins are refused.
    #[arg(long, env = "EVENTCAST_ALLOWED_ORIGIN", value_delimiter = ',')]
    pub allowed_origin: Vec<String>,
    /// Directory for the events, and for the key of tokens. Default: $XDG_STATE_HOME/eventcast or ~/.local/state/eventcast.
    #[arg(long, env = "EVENTCAST_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Use this NATS server instead of starting one.
    #[arg(long, env = "EVENTCAST_NATS_URL")]
    pub nats_url: Option<String>,
    /// Path of nats-server. Default: the one in PATH.
    #[arg(long, env = "EVENTCAST_NATS_SERVER")]
    pub nats_server: Option<PathBuf>,
}

/// How long to wait for the broker before printing that it waits for NATS.
const READY_TIMEOUT: Duration = Duration::from_secs(15);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the broker, and a nats-server unless the options name one, until `shutdown`.
///
/// # Errors
/// A port or the data directory is in use, or nats-server is missing, too old, or exits repeatedly. The message says what to do.
pub async fn run(options: Options, shutdown: CancellationToken) -> Result<(), Failure> {
    let mut config = configuration(&options)?;
    let listeners = Listeners::bind(&config).await?;
    config.control_port = listeners.control.as_ref().and_then(|control| control.port().ok());
    let supervisor = Supervisor::default();
    let issuer = match options.access {
        Mode::Open => None,
        Mode::Closed => Some(issuer(&options).await?),
    };
    if let Some(issuer) = &issuer {
        for channel in &mut config.channels {
            channel.access = issuer.access();
        }
    }
    for channel in &mut config.channels {
        channel.access.allowed_origins.clone_from(&options.allowed_origin);
    }
    let child = match &options.nats_url {
        Some(_) => None,
        None => Some(NatsChild::start(&options, &supervisor).await?),
    };
    if let Some(child) = &child {
        config.nats.servers = vec![child.url()];
    }
    let problems: Vec<_> = config.problems().iter().map(ToString::to_string).collect();
    if !problems.is_empty() {
        return Err(problems.join("\n").into());
    }
    let source = ConfigSource { file: None, overrides: Vec::new() };
    let nats = child.as_ref().map(NatsChild::describe);
    let announcement = tokio::spawn(announce(config.clone(), nats, issuer));
    let first = ValidConfig { config, unknown: Vec::new(), text: String::new() };
    let served = crate::run(first, source, listeners, supervisor, shutdown).await;
    announcement.abort();
    if let Some(child) = child {
        child.stop().await;
    }
    served
}

/// The issuer of tokens, whose key is in the data directory.
async fn issuer(options: &Options) -> Result<Issuer, Failure> {
    let folder = nats::data_folder(options)?;
    let issuer = spawn_blocking(move || {
        std::fs::create_dir_all(&folder).map_err(|error| {
            let folder = folder.display();
            format!("cannot use {folder}: {error}; choose another directory with --data-dir")
        })?;
        let folder = folder.canonicalize().map_err(|error| error.to_string())?;
        Issuer::new(&folder)
    });
    Ok(issuer.await??)
}

fn configuration(options: &Options) -> Result<BrokerConfig, Failure> {
    let mut channels = Vec::new();
    for name in &options.channel {
        let split =
            name.split_once('/').ok_or_else(|| format!("--channel {name}: must be namespace/name"));
        let (namespace, name) = split?;
        for label in [namespace, name] {
            if !valid_label(label) {
                let rule =
                    "namespace and name must be DNS labels: a-z, 0-9 and -, at most 63 characters";
                return Err(format!("--channel {namespace}/{name}: {rule}").into());
            }
        }
        channels
            .push(ChannelConfig { access: Access::open(), ..ChannelConfig::new(namespace, name) });
    }
    let servers = options.nats_url.iter().cloned().collect();
    let mut config = BrokerConfig {
        listen: options.listen,
        admin: options.admin,
        control_port: Some(control_port(options.control_port)),
        page: true,
        nats: Nats { servers, create_streams: true, ack_milliseconds: 2000, ..Nats::default() },
        shutdown: Shutdown { delay_seconds: 0, drain_seconds: 1, grace_seconds: 5 },
        channels,
        ..BrokerConfig::default()
    };
    // Fits the usual limit of open files, with some connections left for requests.
    (config.limits.connections, config.limits.subscribers) = (10_000, 9_000);
    if options.listen.ip().is_loopback() {
        // Protects against DNS rebinding: a foreign page could resolve a domain of its own to this machine.
        let address = match options.listen.ip() {
            IpAddr::V6(ip) => format!("[{ip}]"),
            IpAddr::V4(ip) => ip.to_string(),
        };
        config.limits.allowed_hosts = vec!["localhost".into(), address, "[::1]".into()];
    }
    Ok(config)
}

/// `port`, or any free one if another instance has it.
fn control_port(port: u16) -> u16 {
    match std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => port,
        Err(_) => 0,
    }
}

/// Prints the addresses once the broker is ready.
#[expect(clippy::print_stdout, reason = "for the user at the terminal")]
async fn announce(config: BrokerConfig, nats: Option<String>, issuer: Option<Issuer>) {
    let ready = async {
        while !is_ready(config.admin).await {
            sleep(Duration::from_millis(50)).await;
        }
    };
    if timeout(READY_TIMEOUT, ready).await.is_err() {
        println!("Eventcast is waiting for NATS at {}.", config.nats.servers.join(", "));
        return;
    }
    let host = config.listen;
    let Some(channel) = config.channels.first() else {
        return;
    };
    let events = format!("http://{host}/channels/{}/{}/events", channel.namespace, channel.name);
    let commands = Commands::new(issuer.as_ref(), &events);
    println!("\nEventcast is running.\n");
    println!("  page       http://{host}/");
    println!("  subscribe  {}", commands.subscribe);
    println!("  publish    {}", commands.publish);
    println!("  metrics    http://{}/metrics", config.admin);
    if let Some(port) = config.control_port {
        println!("  control    http://localhost:{port}  (eventcast connections --control-url)");
    }
    println!("  NATS       {}", nats.unwrap_or_else(|| config.nats.servers.join(", ")));
    println!("\n{}", access::notice(issuer.as_ref(), host));
    println!("\nPress Ctrl-C to stop. Events are kept.\n");
}

async fn is_ready(admin: SocketAddr) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let request = async {
        let mut socket = tokio::net::TcpStream::connect(admin).await?;
        socket
            .write_all(b"GET /readyz HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")
            .await?;
        let mut response = String::new();
        socket.read_to_string(&mut response).await?;
        Ok::<_, std::io::Error>(response.starts_with("HTTP/1.1 200"))
    };
    request.await.unwrap_or(false)
}

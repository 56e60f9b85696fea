//! The broker's configuration: one YAML file, in which only `channels` is required, or a folder with channels.
//!
//! `docs/CONFIGURATION.md` and the JSON Schema are generated from these types. The names of the keys contain the units.
//! [`load`](load::load) parses a file with its overrides, and [`BrokerConfig::problems`] validates it.

mod access;
mod balancing;
mod certificates;
mod channel;
pub mod channel_file;
mod jwk_set;
pub mod load;
mod log;
mod memory;
mod nats_secret;
mod origin;
mod probe;
mod restart;
mod telemetry;
mod tls;
mod validate;

pub use access::{
    Access, Action, Algorithm, ApiKeys, Cookie, KubernetesAccess, ManageRule, PublishRule, Quota,
    SubscribeRule, Tickets, TokenIssuer,
};
pub use balancing::Balancing;
pub use certificates::CertificateRule;
pub use channel::{ChannelConfig, Delivery, Publishing, Retention, Storage, valid_label};
pub use jwk_set::JwkSet;
pub use log::Log;
pub use memory::Memory;
pub use origin::{Authority, Origin, OriginPattern};
pub use probe::Probe;
pub use telemetry::{Otlp, Telemetry};
pub use tls::{Alpn, Tls, TlsVersion};
pub use validate::ConfigProblem;

use std::{
    net::{Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The broker's configuration file. A running broker reloads `log`, `channelList`, `limits`, `shutdown`, `query`, `balancing` and `channels` when the file changes, except
/// for amounts that are reserved at the start. All other changes need a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerConfig {
    /// Address of the public listener. `[::]` accepts IPv4 as well, and means `0.0.0.0` on a system without IPv6.
    pub listen: SocketAddr,
    /// TLS on a listener of its own, instead of `listen` or besides it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Address of the admin listener: `/livez`, `/readyz`, `/metrics`, `/state`.
    pub admin: SocketAddr,
    /// Port of the control listener, 9091 if not set: open streams, the log level, draining ([OPERATIONS.md](OPERATIONS.md#the-control-port)). It listens on
    /// `127.0.0.1` and `::1` alone, whatever `listen` and `admin` are. `null`: there is none; 0: any free port. If the port is in use, the
    /// broker goes on without.
    #[serde(skip_serializing_if = "is_default_control_port")]
    pub control_port: Option<u16>,
    /// Logs.
    #[serde(skip_serializing_if = "Log::is_default")]
    pub log: Log,
    /// Traces.
    #[serde(skip_serializing_if = "Telemetry::is_default")]
    pub telemetry: Telemetry,
    /// Serves a demo page at `/`, and the list of channels at `/channels`.
    pub page: bool,
    /// Whether `/channels` lists the channels where `page` is on. If not, the page shows the channel that its address names: `/#shop/orders`.
    #[serde(skip_serializing_if = "Clone::clone")]
    pub channel_list: bool,
    /// Connection to NATS.
    pub nats: Nats,
    /// Delivery of events to sockets.
    pub fanout: Fanout,
    /// Memory budgets.
    pub memory: Memory,
    /// Limits of this process.
    pub limits: Limits,
    /// Limits of history and statistics requests.
    pub query: Query,
    /// Graceful shutdown.
    pub shutdown: Shutdown,
    /// Closing streams for balance.
    #[serde(skip_serializing_if = "Balancing::is_default")]
    pub balancing: Balancing,
    /// The channels this broker serves.
    pub channels: Vec<ChannelConfig>,
    /// Folder with more channels, in files whose names end with `.json`: `{"channels": [...]}`, with the keys of `channels`. The files are read again
    /// when they change. A channel that is invalid there is skipped, or keeps its last valid configuration; the others are not affected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels_folder: Option<PathBuf>,
}

/// The control port of every program, unless its settings have another one.
pub const DEFAULT_CONTROL_PORT: u16 = 9091;

// Left out by default: the keys of older versions must keep their hash, or brokers would restart.
fn is_default_control_port(port: &Option<u16>) -> bool {
    *port == Some(DEFAULT_CONTROL_PORT)
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8080)),
            tls: None,
            admin: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 9090)),
            control_port: Some(DEFAULT_CONTROL_PORT),
            log: Log::default(),
            telemetry: Telemetry::default(),
            page: false,
            channel_list: true,
            nats: Nats::default(),
            fanout: Fanout::default(),
            memory: Memory::default(),
            limits: Limits::default(),
            query: Query::default(),
            shutdown: Shutdown::default(),
            balancing: Balancing::default(),
            channels: Vec::new(),
            channels_folder: None,
        }
    }
}

/// Connection to NATS. At most one of `user`, `tokenFile` and `credentialsFile` may be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Nats {
    /// Servers, as `nats://host:port` or `tls://host:port`.
    pub servers: Vec<String>,
    /// User name. Requires `passwordFile`.
    pub user: Option<String>,
    /// File with the password of `user`.
    pub password_file: Option<PathBuf>,
    /// File with a token.
    pub token_file: Option<PathBuf>,
    /// NATS credentials file (JWT and seed).
    pub credentials_file: Option<PathBuf>,
    /// File with the certificate authorities to trust.
    pub ca_file: Option<PathBuf>,
    /// File with the client certificate. Requires `keyFile`.
    pub certificate_file: Option<PathBuf>,
    /// File with the private key of the client certificate.
    pub key_file: Option<PathBuf>,
    /// Whether to create missing streams, with the `retention` of their channel. In Kubernetes the operator creates them.
    pub create_streams: bool,
    /// How long a publish waits for an acknowledgement before it retries, in milliseconds: 100 to 10,000. Slow disks with
    /// `sync_interval: always` need 2000.
    pub ack_milliseconds: u64,
    /// JetStream domain of the account, for NATS behind a leaf node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Prefix of the subjects for replies, such as `_INBOX_shop`, for a user that may not subscribe to `_INBOX.>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbox_prefix: Option<String>,
    /// Whether TLS starts before the server's greeting (`handshake_first` of the server).
    // Left out by default: the keys of older versions must keep their hash, or brokers would restart.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_first: bool,
}

impl Default for Nats {
    fn default() -> Self {
        Self {
            servers: vec!["nats://127.0.0.1:4222".into()],
            user: None,
            password_file: None,
            token_file: None,
            credentials_file: None,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            create_streams: false,
            ack_milliseconds: 750,
            domain: None,
            inbox_prefix: None,
            tls_first: false,
        }
    }
}

impl Nats {
    /// Prefix of the subjects of the JetStream API, without a trailing dot.
    #[must_use]
    pub fn api_prefix(&self) -> String {
        match &self.domain {
            Some(domain) => format!("$JS.{domain}.API"),
            None => "$JS.API".into(),
        }
    }
}

/// Delivery of events to sockets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Fanout {
    /// Number of threads that write to the sockets of subscribers: 0 to 256. If not set, one for each processor. With 0, one thread
    /// serves HTTP/2 alone, and subscribers of HTTP/1.1 are served in a way that needs more memory and CPU.
    pub shards: Option<usize>,
}

/// Response to a subscriber beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overload {
    /// `200`, a `retry:` field and the end of the stream: browsers reconnect.
    Retry,
    /// `503` with `Retry-After`. Browsers do not reconnect after it.
    Status,
}

/// Whether connections start with a PROXY protocol header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// No: the peer of a connection is the client or an HTTP proxy.
    Off,
    /// Yes, in version 1 or 2, and they come from `trustedProxies`; other connections are closed. No setting accepts both, because a client
    /// could then send the header itself.
    Required,
}

/// Limits of this process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Maximum number of open connections of the public listener, at least 2; less if the process may not open as many files. A sixteenth
    /// (8 to 512, at most half) is reserved for requests and not used by streams. Beyond the limit idle connections are closed,
    /// and if none is idle, new ones are answered with `503`.
    pub connections: usize,
    /// Maximum number of subscribers of all channels.
    pub subscribers: usize,
    /// Maximum number of subscribers from one client address: an IPv4 address, or an IPv6 /64 network.
    pub subscribers_per_address: usize,
    /// Response to a subscriber beyond a limit.
    pub overload: Overload,
    /// Networks of the proxies whose `X-Forwarded-For`, `Forwarded` or PROXY protocol header determines the client's address.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
    /// Whether connections start with a PROXY protocol header. `required` needs `trustedProxies`.
    pub proxy_protocol: ProxyProtocol,
    /// Allowed values of the header `Host`, without port, case-insensitive; all if empty. Protects a listener on loopback from DNS
    /// rebinding.
    pub allowed_hosts: Vec<String>,
    /// Maximum number of publishes in progress. Further ones wait for at most one second and are then rejected.
    pub publishes_in_flight: usize,
    /// Maximum total size of the publish requests in memory, from arrival to acknowledgement, in bytes. Further ones wait for at most two
    /// seconds and are then answered with `503`. A single request is accepted even if it is larger.
    pub body_bytes: usize,
    /// Like `bodyBytes`, for the requests of one client address.
    pub body_bytes_per_address: usize,
    /// Maximum size of a request's head (request line and headers) in bytes: 4,096 to 262,144. A larger one is answered with `431`.
    pub head_bytes: usize,
    /// Seconds after which an idle connection is closed: 1 to 3600. Must be longer than the idle timeout of load balancers (60 s is common);
    /// otherwise they send requests on connections that are about to be closed.
    pub idle_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 60_000,
            subscribers: 50_000,
            subscribers_per_address: 10_000,
            overload: Overload::Retry,
            trusted_proxies: Vec::new(),
            proxy_protocol: ProxyProtocol::Off,
            allowed_hosts: Vec::new(),
            publishes_in_flight: 4096,
            body_bytes: 64 << 20,
            body_bytes_per_address: 16 << 20,
            head_bytes: 16 << 10,
            idle_seconds: 75,
        }
    }
}

/// Limits of history and statistics requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Query {
    /// Maximum number of events that a request scans before it answers with `next`.
    pub scan_events: usize,
    /// Maximum number of bytes that a request scans before it answers with `next`.
    pub scan_bytes: usize,
    /// Maximum number of requests at the same time, of which one client address may use half. Further ones wait for at most five seconds.
    pub concurrent: usize,
    /// Maximum total size of responses that clients have not read yet, in bytes, of which one client address may use half. Further
    /// requests wait for at most five seconds and are then answered with `503`. A single response is accepted even if it is larger.
    pub answer_bytes: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self { scan_events: 20_000, scan_bytes: 16 << 20, concurrent: 8, answer_bytes: 64 << 20 }
    }
}

/// Graceful shutdown after SIGTERM: `/readyz` fails at once, the listener closes after `delaySeconds`, streams are closed over
/// `drainSeconds`, and the process exits at the latest `graceSeconds` after the signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Shutdown {
    /// Seconds between the failure of `/readyz` and the closing of the listener: time for load balancers to notice.
    pub delay_seconds: u64,
    /// Seconds over which streams are closed, at an even pace.
    pub drain_seconds: u64,
    /// Seconds from the signal to the exit of the process, even if connections are still open.
    pub grace_seconds: u64,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { delay_seconds: 5, drain_seconds: 15, grace_seconds: 28 }
    }
}

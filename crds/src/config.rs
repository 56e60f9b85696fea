//! The broker's configuration: one YAML file, every key optional but `channels`.
//!
//! The types are the documentation: `docs/CONFIGURATION.md` and the JSON Schema are generated from them. Units stand in the
//! names. [`load`](load::load) reads a file with its overrides, [`BrokerConfig::problems`] says what is wrong with it.

mod channel;
pub mod load;
mod nats_secret;
mod origin;
mod validate;

pub use channel::{
    Access, Action, ChannelConfig, Delivery, Publishing, Retention, Storage, TokenIssuer,
    valid_label,
};
pub use origin::{Authority, Origin, OriginPattern};
pub use validate::ConfigProblem;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything a broker reads at its start. `limits`, `shutdown`, `query` and `channels` are read again when the file changes,
/// but for what is reserved at the start; the rest needs a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerConfig {
    /// Address of the public listener.
    pub listen: SocketAddr,
    /// Address of the admin listener: `/livez`, `/readyz`, `/metrics`.
    pub admin: SocketAddr,
    /// Serve the page to try it on at `/`, and the list of channels at `/channels`.
    pub page: bool,
    /// How to reach NATS.
    pub nats: Nats,
    /// How events get to sockets.
    pub fanout: Fanout,
    /// Memory budgets.
    pub memory: Memory,
    /// Connection limits of this process.
    pub limits: Limits,
    /// Bounds of one history or statistics request.
    pub query: Query,
    /// How the broker ends.
    pub shutdown: Shutdown,
    /// The channels this broker serves.
    pub channels: Vec<ChannelConfig>,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            admin: SocketAddr::from(([0, 0, 0, 0], 9090)),
            page: false,
            nats: Nats::default(),
            fanout: Fanout::default(),
            memory: Memory::default(),
            limits: Limits::default(),
            query: Query::default(),
            shutdown: Shutdown::default(),
            channels: Vec::new(),
        }
    }
}

/// How to reach NATS. At most one of `user`, `tokenFile` and `credentialsFile`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Nats {
    /// Servers to try, as `nats://host:port` or `tls://host:port`.
    pub servers: Vec<String>,
    /// User name; its password is in `passwordFile`.
    pub user: Option<String>,
    /// File with the password of `user`.
    pub password_file: Option<PathBuf>,
    /// File with a token.
    pub token_file: Option<PathBuf>,
    /// A NATS credentials file (JWT and seed).
    pub credentials_file: Option<PathBuf>,
    /// File with the certificate authorities to trust.
    pub ca_file: Option<PathBuf>,
    /// File with our client certificate; goes with `keyFile`.
    pub certificate_file: Option<PathBuf>,
    /// File with the key of our client certificate.
    pub key_file: Option<PathBuf>,
    /// Create the stream of a channel that has none, with its `retention`. In Kubernetes the operator does that.
    pub create_streams: bool,
    /// How long one try of a publish waits for its acknowledgement, in milliseconds: 100 to 10,000. Slow disks under
    /// `sync_interval: always` want 2000.
    pub ack_milliseconds: u64,
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
        }
    }
}

/// How events get to sockets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Fanout {
    /// Threads that write to the sockets of HTTP/1.1 subscribers themselves: 0 to 256; without it one for each processor. With
    /// 0 every subscriber is served as those of HTTP/2 are, which costs more memory and processor time.
    pub shards: Option<usize>,
}

/// Memory budgets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// Events that the tail of one channel holds at most: 16 to 1,000,000.
    pub tail_events: usize,
    /// Bytes that the tail of one channel holds at most.
    pub tail_bytes: usize,
    /// Bytes that the tails of all channels hold together: each gets an equal share, and never more than `tailBytes`. The
    /// shares follow when channels are added or removed.
    pub all_tail_bytes: usize,
    /// Bytes that the pages of all channels hold together.
    pub page_bytes: u64,
    /// Bytes that the pages of one channel hold at most, and never more than `pageBytes`: beyond, its own oldest go first.
    pub channel_page_bytes: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            tail_events: 65_536,
            tail_bytes: 64 << 20,
            all_tail_bytes: 512 << 20,
            page_bytes: 128 << 20,
            channel_page_bytes: 64 << 20,
        }
    }
}

impl Memory {
    /// Bytes that the tail of each of `channels` channels holds at most.
    #[must_use]
    pub fn tail_share(&self, channels: usize) -> usize {
        self.tail_bytes.min(self.all_tail_bytes / channels.max(1))
    }
}

/// What to answer to a subscriber that cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overload {
    /// `200`, `retry:` and the end of the stream: browsers come back.
    Retry,
    /// `503` with `Retry-After`: for listeners that no browser reaches.
    Status,
}

/// Whether connections begin with a PROXY protocol header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// They do not: the peer of a connection is its client, or a proxy that speaks HTTP.
    Off,
    /// They all do, in version 1 or 2, and come from `trustedProxies`: any other connection is closed. There is no setting that
    /// accepts both, because a client could then send the header itself.
    Required,
}

/// Connection limits of this process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Open sockets of the public listener, at least 2; fewer where the process may not open as many files. A sixteenth of them,
    /// from 8 to 512 and at most half, is never taken by streams. Beyond the limit idle connections are closed, and what
    /// still does not fit is answered `503`.
    pub connections: usize,
    /// Subscribers of all channels.
    pub subscribers: usize,
    /// Subscribers from one client address: an IPv4 address, or a /64 network of IPv6.
    pub subscribers_per_address: usize,
    /// What a subscriber beyond a limit is answered.
    pub overload: Overload,
    /// Proxies whose `X-Forwarded-For`, `Forwarded` or PROXY protocol header is believed for the client's address.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
    /// Whether connections begin with a PROXY protocol header: `required` needs `trustedProxies`.
    pub proxy_protocol: ProxyProtocol,
    /// Values of `Host` that are answered, without port, whatever their case; empty: all. Protects a listener on loopback from DNS rebinding.
    pub allowed_hosts: Vec<String>,
    /// Publishes under way at once; what comes beyond waits for at most a second, then is refused.
    pub publishes_in_flight: usize,
    /// Bytes of publish requests that are held in memory, from their arrival to their acknowledgement. What comes beyond waits for
    /// at most two seconds, then is answered `503`. One body always fits: a larger one than the whole budget takes all of it.
    pub body_bytes: usize,
    /// As `bodyBytes`, for the requests of one client address.
    pub body_bytes_per_address: usize,
    /// Bytes of a request's head, which is its request line and its headers: 4,096 to 262,144. Beyond, the answer is `431`.
    pub head_bytes: usize,
    /// How long a connection without a request is kept: 1 to 3600. Longer than load balancers keep theirs (60 s is common), or they
    /// send requests on connections that are about to be closed.
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

/// Bounds of one history or statistics request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Query {
    /// Events that a request reads at most before it answers with `next`.
    pub scan_events: usize,
    /// Bytes that a request reads at most before it answers with `next`.
    pub scan_bytes: usize,
    /// Requests at once, of which one client address has at most half; what comes beyond waits for at most five seconds.
    pub concurrent: usize,
    /// Bytes of answers that clients have not read yet, of which one client address has at most half. What comes
    /// beyond waits for at most five seconds, then is answered `503`. One answer always fits.
    pub answer_bytes: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self { scan_events: 20_000, scan_bytes: 16 << 20, concurrent: 8, answer_bytes: 64 << 20 }
    }
}

/// How the broker ends after SIGTERM: not ready at once; after `delaySeconds` it accepts no more; streams are closed over
/// `drainSeconds`; `graceSeconds` after the signal it is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Shutdown {
    /// Time for load balancers to notice that `/readyz` fails, before the listener is closed.
    pub delay_seconds: u64,
    /// Time over which streams are closed, at an even pace.
    pub drain_seconds: u64,
    /// Time from the signal to the end, whatever is still open.
    pub grace_seconds: u64,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { delay_seconds: 5, drain_seconds: 15, grace_seconds: 28 }
    }
}

impl BrokerConfig {
    /// The part that is read at the start alone: each key with its value. Two configurations whose parts are equal can be
    /// taken over from one another by a running broker.
    ///
    /// Destructured without `..`: a new key does not compile until it is known on which side it stands.
    #[must_use]
    pub fn restart_part(&self) -> BTreeMap<&'static str, serde_json::Value> {
        let Self {
            listen,
            admin,
            page,
            nats,
            fanout,
            memory,
            limits,
            query,
            shutdown: _,
            channels: _,
        } = self;
        let value = |v: serde_json::Result<serde_json::Value>| v.unwrap_or_default();
        BTreeMap::from([
            ("listen", value(serde_json::to_value(listen))),
            ("admin", value(serde_json::to_value(admin))),
            ("page", value(serde_json::to_value(page))),
            ("nats", value(serde_json::to_value(nats))),
            ("fanout", value(serde_json::to_value(fanout))),
            ("memory", value(serde_json::to_value(memory))),
            ("limits.connections", limits.connections.into()),
            ("limits.publishesInFlight", limits.publishes_in_flight.into()),
            ("limits.bodyBytes", limits.body_bytes.into()),
            ("limits.bodyBytesPerAddress", limits.body_bytes_per_address.into()),
            ("query.concurrent", query.concurrent.into()),
            ("query.answerBytes", query.answer_bytes.into()),
        ])
    }

    /// The keys whose change from `self` to `new` needs a restart.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        let (old, new) = (self.restart_part(), new.restart_part());
        old.iter()
            .filter(|(key, value)| new.get(*key) != Some(value))
            .map(|(key, _)| *key)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_restart_is_named() {
        let old = BrokerConfig::default();
        let mut new = old.clone();
        new.shutdown.drain_seconds = 99;
        new.limits.subscribers = 1;
        assert_eq!(old.needs_restart(&new), Vec::<&str>::new());
        new.limits.connections = 1;
        new.nats.servers.clear();
        assert_eq!(old.needs_restart(&new), ["limits.connections", "nats"]);
    }

    #[test]
    fn tails_share_what_all_may_hold_and_none_gets_more_than_its_own() {
        let memory = Memory { tail_bytes: 64, all_tail_bytes: 200, ..Memory::default() };
        let shares = [0, 1, 3, 4, 7].map(|channels| memory.tail_share(channels));
        assert_eq!(shares, [64, 64, 64, 50, 28]);
    }
}

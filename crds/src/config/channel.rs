//! One channel of the broker's configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A channel and how it is served. All but `namespace`, `name`, `stream` and `subjectPrefix` can change while it runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelConfig {
    /// Namespace, a DNS label; first part of the channel's URL.
    pub namespace: String,
    /// Name, a DNS label; second part of the channel's URL.
    pub name: String,
    /// Name of the JetStream stream; `SSE_<namespace>_<name>` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Subjects of the channel begin with this; `sse.<namespace>.<name>` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_prefix: Option<String>,
    /// What the stream keeps, and how; used where the broker creates it.
    #[serde(default)]
    pub retention: Retention,
    /// How subscribers are served.
    #[serde(default)]
    pub delivery: Delivery,
    /// What may be published over HTTP.
    #[serde(default)]
    pub publishing: Publishing,
    /// Who may come.
    #[serde(default)]
    pub access: Access,
}

impl ChannelConfig {
    /// A channel with defaults for everything else.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into(), ..Self::default() }
    }

    /// `<namespace>/<name>`: how logs, metrics and messages call it.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Name of the JetStream stream. `_` cannot occur in a DNS label, so no two channels share one.
    #[must_use]
    pub fn stream_name(&self) -> String {
        self.stream.clone().unwrap_or_else(|| format!("SSE_{}_{}", self.namespace, self.name))
    }

    /// What the channel's subjects begin with.
    #[must_use]
    pub fn prefix(&self) -> String {
        self.subject_prefix
            .clone()
            .unwrap_or_else(|| format!("sse.{}.{}", self.namespace, self.name))
    }
}

/// Where the stream of a channel is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Storage {
    /// On disk: events survive a restart of NATS.
    #[default]
    File,
    /// In memory: a restart of a single NATS server loses them, and clients are told.
    Memory,
}

/// What the stream of a channel keeps, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Retention {
    /// Age at which events are dropped; 0: never.
    #[schemars(range(max = 3_153_600_000_u64))]
    pub max_age_seconds: u64,
    /// Bytes beyond which the oldest events are dropped; reserved in NATS when the stream is created.
    #[schemars(range(min = 65_536, max = 1_125_899_906_842_624_u64))]
    pub max_bytes: u64,
    /// Events beyond which the oldest are dropped; 0: no limit.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub max_events: u64,
    /// Copies that NATS keeps: 1, 3 or 5.
    #[schemars(range(min = 1, max = 5))]
    pub replicas: usize,
    /// Where they are kept. Cannot be changed later.
    pub storage: Storage,
    /// Window in which an idempotency key is remembered: 1 to 3600, and not longer than `maxAgeSeconds`.
    #[schemars(range(min = 1, max = 3600))]
    pub duplicate_window_seconds: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            max_age_seconds: 7 * 86_400,
            max_bytes: 1 << 30,
            max_events: 0,
            replicas: 1,
            storage: Storage::File,
            duplicate_window_seconds: 120,
        }
    }
}

/// How subscribers are served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Delivery {
    /// Where a subscriber without a cursor and without `from=` begins: `latest`, `earliest`, `last:N` or `-<duration>`.
    #[schemars(length(max = 32))]
    pub from: String,
    /// Silence after which a heartbeat is sent, give or take a fifth: 1 to 300.
    #[schemars(range(min = 1, max = 300))]
    pub heartbeat_seconds: u64,
    /// How long a client waits before it reconnects, jittered by half: 1,000 to 3,600,000.
    #[schemars(range(min = 1000, max = 3_600_000))]
    pub retry_milliseconds: u64,
    /// A socket that takes nothing for so long is closed: 1 to 600.
    #[schemars(range(min = 1, max = 600))]
    pub stall_seconds: u64,
    /// Age at which a connection is closed, less a random fifth; 0: never.
    #[schemars(range(max = 604_800))]
    pub max_age_seconds: u64,
    /// Subscribers of this channel on this broker; 0: only the limits of the process.
    #[schemars(range(max = 1_000_000))]
    pub max_subscribers: usize,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            from: "latest".into(),
            heartbeat_seconds: 15,
            retry_milliseconds: 2000,
            stall_seconds: 30,
            max_age_seconds: 3600,
            max_subscribers: 0,
        }
    }
}

/// What may be published over HTTP. Publishers straight to NATS meet `maxEventBytes` when their event is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Publishing {
    /// Whether `POST` is answered at all.
    pub enabled: bool,
    /// Data of one event.
    #[schemars(range(min = 1, max = 8_388_608))]
    pub max_event_bytes: usize,
    /// Events of one request.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_batch_events: usize,
    /// Body of one batch request.
    #[schemars(range(min = 1, max = 67_108_864))]
    pub max_batch_bytes: usize,
    /// How long a publish is tried before `504`.
    #[schemars(range(min = 1, max = 60))]
    pub deadline_seconds: u64,
    /// Events that one broker takes in a second, over all publishers; 0: no limit. What comes beyond is answered `429`.
    #[schemars(range(max = 1_000_000))]
    pub max_events_per_second: u32,
    /// Patterns of the types that may be published, as `order.paid`, `order.*` or `order.>`; empty: all.
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub types: Vec<String>,
}

impl Default for Publishing {
    fn default() -> Self {
        Self {
            enabled: true,
            max_event_bytes: 256 << 10,
            max_batch_events: 1000,
            max_batch_bytes: 4 << 20,
            deadline_seconds: 10,
            max_events_per_second: 0,
            types: Vec::new(),
        }
    }
}

/// What can be done with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// Read: subscribe, history, statistics, what the channel is.
    Subscribe,
    /// Publish.
    Publish,
}

/// Who may come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Access {
    /// What needs no token.
    pub anonymous: Vec<Action>,
    /// Issuers whose tokens are good for what is not anonymous. Not verified yet: until then what is not anonymous is `401`.
    pub tokens: Vec<TokenIssuer>,
    /// Origins whose pages may read and publish: exactly (`https://app.example.com`), all subdomains of a domain
    /// (`https://*.example.com`, which is not `https://example.com`), or `*`.
    pub allowed_origins: Vec<String>,
    /// Names of request headers that those pages may send besides the broker's own and those of tracing.
    pub allowed_headers: Vec<String>,
    /// Let those pages send cookies and other credentials.
    pub allow_credentials: bool,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            anonymous: vec![Action::Subscribe, Action::Publish],
            tokens: Vec::new(),
            allowed_origins: Vec::new(),
            allowed_headers: Vec::new(),
            allow_credentials: false,
        }
    }
}

/// An issuer of tokens (RFC 7519). Exactly one of `jwksUrl` and `keyFile`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenIssuer {
    /// What the claim `iss` must say.
    pub issuer: String,
    /// What the claim `aud` must contain.
    pub audience: String,
    /// Where the issuer publishes its keys (RFC 7517).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// File with the issuer's keys, as a JWK set (RFC 7517).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<std::path::PathBuf>,
}

/// Whether `s` is a DNS label: what a namespace and a channel name must be.
#[must_use]
pub fn valid_label(s: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let b = s.as_bytes();
    (1..=63).contains(&b.len())
        && b.iter().all(|b| alphanumeric(b) || *b == b'-')
        && b.first().is_some_and(alphanumeric)
        && b.last().is_some_and(alphanumeric)
}

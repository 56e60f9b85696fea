//! One channel of the broker's configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Access, Probe};

/// A channel. A running broker reloads all keys except `namespace`, `name`, `stream` and `subjectPrefix`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelConfig {
    /// Namespace: a DNS label, and the first part of the channel's path.
    pub namespace: String,
    /// Name: a DNS label, and the second part of the channel's path.
    pub name: String,
    /// Name of the JetStream stream. If not set, `SSE_<namespace>_<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Prefix of the channel's NATS subjects. If not set, `sse.<namespace>.<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_prefix: Option<String>,
    /// How many events the stream keeps, for how long, and where. Used only if the broker creates the stream.
    #[serde(default)]
    pub retention: Retention,
    /// How events are delivered to subscribers.
    #[serde(default)]
    pub delivery: Delivery,
    /// Publishing over HTTP: limits and allowed types.
    #[serde(default)]
    pub publishing: Publishing,
    /// Who may subscribe, publish and manage, and from which web pages.
    #[serde(default)]
    pub access: Access,
    /// Checks from time to time that events reach clients through their URL. If not set, nothing is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// The generation of the `EventChannel` that this configuration was made from. The broker reports it at `/state`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Whether the channel is moving to other brokers: its streams are closed over `shutdown.drainSeconds`, and new ones are told to
    /// reconnect.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

impl ChannelConfig {
    /// A channel with defaults for all other keys.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into(), ..Self::default() }
    }

    /// `<namespace>/<name>`, as in logs, metrics and messages.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Name of the JetStream stream. A DNS label has no `_`, so two channels never get the same default.
    #[must_use]
    pub fn stream_name(&self) -> String {
        self.stream.clone().unwrap_or_else(|| format!("SSE_{}_{}", self.namespace, self.name))
    }

    /// Prefix of the channel's NATS subjects.
    #[must_use]
    pub fn prefix(&self) -> String {
        self.subject_prefix
            .clone()
            .unwrap_or_else(|| format!("sse.{}.{}", self.namespace, self.name))
    }
}

/// Where the stream of a channel is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Storage {
    /// On disk. Events survive a restart of NATS.
    #[default]
    File,
    /// In memory. A restart of a single NATS server loses all events, and clients receive a gap event.
    Memory,
}

/// How many events the stream of a channel keeps, for how long, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Retention {
    /// Age in seconds at which events are deleted; 0: never.
    #[schemars(range(max = 3_153_600_000_u64))]
    pub max_age_seconds: u64,
    /// Size of the stream in bytes beyond which the oldest events are deleted. NATS reserves it when the stream is created.
    #[schemars(range(min = 65_536, max = 1_125_899_906_842_624_u64))]
    pub max_bytes: u64,
    /// Number of events beyond which the oldest are deleted; 0: no limit.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub max_events: u64,
    /// Number of NATS servers that store the stream: 1, 3 or 5.
    #[schemars(range(min = 1, max = 5))]
    pub replicas: usize,
    /// Where events are stored. Cannot be changed.
    pub storage: Storage,
    /// Seconds for which idempotency keys are remembered: 1 to 3600, at most `maxAgeSeconds`.
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

/// How events are delivered to subscribers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Delivery {
    /// Start position of a subscriber that sends neither a cursor nor `from=`: `latest`, `earliest`, `last:N` or `-<duration>`.
    #[schemars(length(max = 32))]
    pub from: String,
    /// Seconds without an event after which a heartbeat is sent, randomised by a fifth: 1 to 300.
    #[schemars(range(min = 1, max = 300))]
    pub heartbeat_seconds: u64,
    /// Milliseconds that a client waits before it reconnects, randomised by half: 1,000 to 3,600,000.
    #[schemars(range(min = 1000, max = 3_600_000))]
    pub retry_milliseconds: u64,
    /// Seconds after which a connection is closed whose client does not read: 1 to 600.
    #[schemars(range(min = 1, max = 600))]
    pub stall_seconds: u64,
    /// Maximum age of a stream in seconds, reduced by up to a fifth at random; 0: no limit.
    #[schemars(range(max = 604_800))]
    pub max_age_seconds: u64,
    /// Maximum number of subscribers of this channel on one broker; 0: only the limits of the process.
    #[schemars(range(max = 1_000_000))]
    pub max_subscribers: usize,
    /// Whether an event in a sampled trace begins with a comment `: traceparent …` for clients whose parser shows comments. A change closes
    /// the streams of the channel.
    // Left out by default, as the keys of older versions are.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub trace_comments: bool,
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
            trace_comments: false,
        }
    }
}

/// Publishing over HTTP. `maxEventBytes` also applies to events that are published directly to NATS: larger ones are skipped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Publishing {
    /// Whether events can be published over HTTP.
    pub enabled: bool,
    /// Maximum size of the data of one event in bytes.
    #[schemars(range(min = 1, max = 8_388_608))]
    pub max_event_bytes: usize,
    /// Maximum number of events in one request.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_batch_events: usize,
    /// Maximum size of the body of one batch request in bytes.
    #[schemars(range(min = 1, max = 67_108_864))]
    pub max_batch_bytes: usize,
    /// Seconds for which a publish is retried before it is answered with `504`.
    #[schemars(range(min = 1, max = 60))]
    pub deadline_seconds: u64,
    /// Maximum rate at which one broker accepts events from all publishers together; 0: no limit. Further ones are answered with `429`.
    #[schemars(range(max = 1_000_000))]
    pub max_events_per_second: u32,
    /// Patterns of the event types that may be published, such as `order.paid`, `order.*` or `order.>`; all if empty.
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

impl Publishing {
    /// The largest body of a CloudEvent that brokers accept, in bytes: twice the data, for escapes in JSON, and the attributes.
    #[must_use]
    pub fn largest_cloud_event(&self) -> usize {
        self.max_event_bytes * 2 + 4096
    }

    /// The largest body that brokers accept, in bytes: a batch, or a CloudEvent.
    #[must_use]
    pub fn largest_body(&self) -> usize {
        self.max_batch_bytes.max(self.largest_cloud_event())
    }
}

/// Whether `s` is a DNS label, as namespaces and names of channels must be.
#[must_use]
pub fn valid_label(s: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let b = s.as_bytes();
    (1..=63).contains(&b.len())
        && b.iter().all(|b| alphanumeric(b) || *b == b'-')
        && b.first().is_some_and(alphanumeric)
        && b.last().is_some_and(alphanumeric)
}

//! The JSON of brokers, as far as commands use it. Fields that a newer broker adds are ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An event of history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PastEvent {
    pub(crate) cursor: String,
    pub(crate) time: String,
    #[serde(rename = "type")]
    pub(crate) event_type: String,
    pub(crate) topic: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

/// Events that cannot be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gap {
    pub(crate) requested: String,
    pub(crate) resumed_at: String,
    pub(crate) lost: Option<u64>,
    pub(crate) reason: String,
}

/// A page of history.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Page {
    pub(crate) events: Vec<PastEvent>,
    pub(crate) next: Option<String>,
    pub(crate) complete: bool,
    pub(crate) gap: Option<Gap>,
}

/// Statistics of a range, or of a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stats {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    pub(crate) types: BTreeMap<String, u64>,
    pub(crate) topics: BTreeMap<String, u64>,
    pub(crate) sources: BTreeMap<String, u64>,
    pub(crate) buckets: Vec<Bucket>,
    pub(crate) other: Other,
    pub(crate) next: Option<String>,
    pub(crate) complete: bool,
    pub(crate) scanned: u64,
    pub(crate) gap: Option<Gap>,
}

/// Events of a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bucket {
    pub(crate) start: String,
    pub(crate) events: u64,
}

/// Events that are not in the maps, because those are bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Other {
    pub(crate) types: u64,
    pub(crate) topics: u64,
    pub(crate) sources: u64,
    pub(crate) buckets: u64,
}

/// A stored event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) cursor: Option<String>,
    #[serde(default)]
    pub(crate) duplicate: bool,
}

/// The events of a batch.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct StoredBatch {
    pub(crate) events: Vec<Stored>,
}

/// A ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ticket {
    pub(crate) ticket: String,
    pub(crate) url: String,
    pub(crate) expires_at: String,
    pub(crate) renew: Option<String>,
}

/// The data of `eventcast.closing`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Closing {
    pub(crate) reason: String,
    pub(crate) retry_ms: Option<u64>,
}

/// The data of `eventcast.expiring`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Expiring {
    pub(crate) expires_at: String,
}

/// What a client may do.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Access {
    pub(crate) way: String,
    pub(crate) issuer: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) subscribe: Option<Allowed>,
    pub(crate) publish: Option<Allowed>,
    pub(crate) manage: bool,
    pub(crate) expires_at: Option<String>,
}

/// Events that a client may read or publish.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Allowed {
    pub(crate) topics: Vec<String>,
    /// Types of events that may be published. Empty: all of them.
    #[serde(default)]
    pub(crate) types: Vec<String>,
    pub(crate) broadcast: bool,
}

/// The log filter of a program.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct LogLevel {
    /// The pod of the program.
    #[serde(default)]
    pub(crate) pod: String,
    pub(crate) filter: String,
    pub(crate) configured: String,
    pub(crate) temporary: bool,
    pub(crate) seconds_left: Option<u64>,
}

/// What the drain of a broker does.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Drain {
    /// The pod of the broker.
    #[serde(default)]
    pub(crate) broker: String,
    pub(crate) draining: bool,
    pub(crate) streams: u64,
    pub(crate) delay_seconds: u64,
    pub(crate) drain_seconds: u64,
    pub(crate) grace_seconds: u64,
}

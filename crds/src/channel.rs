//! The `EventChannel`: what a person asks for. Its docs are what `kubectl explain` says, its rules what the API server checks.
//!
//! - [`access`], [`brokers`], [`exposure`], [`limits`], [`stream`]: the parts of the spec that are Kubernetes' own; `retention`, `delivery` and
//!   `publishing` are the types that the broker reads ([`crate::config`]);
//! - [`status`]: what the operator reports;
//! - [`rules`]: what the API server checks beside the types;
//! - [`crd`]: the definition, as the API server takes it.

pub mod access;
pub mod brokers;
mod crd;
pub mod exposure;
pub mod limits;
pub mod rules;
pub mod status;
pub mod stream;

pub use crd::{BadDefinition, crd, crd_yaml};

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Delivery, Publishing, Retention};
use access::AccessSpec;
use brokers::Brokers;
use exposure::Exposure;
use limits::LimitsSpec;
use status::EventChannelStatus;
use stream::{DeletionPolicy, StreamSpec};

/// API group of all our types; it also begins the names of our labels and annotations.
pub const GROUP: &str = "eventcast.dev";

/// `"true"`: the operator leaves the channel, and everything made of it, as it is.
pub const PAUSED_ANNOTATION: &str = "eventcast.dev/paused";

/// Held while the stream is to be deleted with its channel.
pub const STREAM_FINALIZER: &str = "eventcast.dev/stream";

/// A durable, replayable stream of events on a URL that a browser's EventSource can open. `spec: {}` is a complete channel.
#[expect(clippy::duplicated_attributes, reason = "columns of one type are no duplicates")]
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "eventcast.dev",
    version = "v1alpha1",
    kind = "EventChannel",
    plural = "eventchannels",
    shortname = "evch",
    category = "eventcast",
    namespaced,
    status = "EventChannelStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A durable, replayable stream of events on a URL that a browser's EventSource can open. `spec: {}` is a complete channel.",
    selectable = ".spec.stream.name",
    scale(
        spec_replicas_path = ".spec.brokers.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(name = "Replicas", type_ = "string", json_path = ".status.brokers"),
    printcolumn(name = "Subscribers", type_ = "integer", json_path = ".status.subscribers"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = "1",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Stream",
        type_ = "string",
        priority = "1",
        json_path = ".status.stream.name"
    ),
    printcolumn(name = "Image", type_ = "string", priority = "1", json_path = ".status.image")
)]
#[serde(rename_all = "camelCase", default)]
pub struct EventChannelSpec {
    /// What the log keeps, and how.
    pub retention: Retention,
    /// The JetStream stream behind the channel.
    pub stream: StreamSpec,
    /// What becomes of the stream, and with it of the events, when the channel is deleted.
    pub deletion_policy: DeletionPolicy,
    /// How subscribers are served.
    pub delivery: Delivery,
    /// What may be published over HTTP.
    pub publishing: Publishing,
    /// Who may come.
    pub access: AccessSpec,
    /// Limits of each broker.
    pub limits: LimitsSpec,
    /// The brokers that serve the channel.
    pub brokers: Brokers,
    /// How clients reach the brokers.
    pub exposure: Exposure,
}

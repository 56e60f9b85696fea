//! The custom resource `EventChannel`. `kubectl explain` shows the docs of its fields.
//!
//! - [`access`], [`brokers`], [`exposure`], [`limits`], [`stream`]: the parts of the spec that exist only in Kubernetes. `retention`,
//!   `delivery` and `publishing` have the types of the broker's configuration ([`crate::config`]).
//! - [`status`]: the status that the operator writes.
//! - [`rules`]: CEL rules that the API server checks.

pub mod access;
pub mod brokers;
pub mod exposure;
pub mod limits;
pub mod rules;
pub mod status;
pub mod stream;

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

pub use crate::GROUP;

/// Annotation that pauses reconciliation if its value is `true`: the operator leaves the channel, its stream and its objects as they
/// are.
pub const PAUSED_ANNOTATION: &str = "eventcast.dev/paused";

/// Annotation with the name of the operator (its namespace) that reconciles the channel, if several watch its namespace: it takes the channel
/// over at once, and others leave it alone.
pub const OPERATOR_ANNOTATION: &str = "eventcast.dev/operator";

/// Annotation that requests a delivery probe: brokers probe at once when its value changes, and go on even if the channel is not exposed.
pub const PROBE_ANNOTATION: &str = "eventcast.dev/probe";

/// Annotation with the value `Observe`: the operator scales and balances nothing, and reports in Events what it would do.
pub const AUTOPILOT_ANNOTATION: &str = "eventcast.dev/autopilot";

/// Label that says when a channel has its turn in a rollout that the operator begins itself: `first` or `last`. Annotation with the value `Hold`: it does not
/// take part.
pub const ROLLOUT_ANNOTATION: &str = "eventcast.dev/rollout";

/// Finalizer of channels whose stream is deleted with them.
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
    printcolumn(name = "Pool", type_ = "string", priority = "1", json_path = ".status.pool.name"),
    printcolumn(
        name = "Delivery",
        type_ = "string",
        priority = "1",
        json_path = ".status.conditions[?(@.type==\"DeliveryVerified\")].reason"
    ),
    printcolumn(
        name = "Scaling",
        type_ = "string",
        priority = "1",
        json_path = ".status.autoscaling.reason"
    ),
    printcolumn(name = "Image", type_ = "string", priority = "1", json_path = ".status.image")
)]
#[serde(rename_all = "camelCase", default)]
pub struct EventChannelSpec {
    /// How many events the log keeps, for how long, and where.
    pub retention: Retention,
    /// The JetStream stream behind the channel.
    pub stream: StreamSpec,
    /// Whether the stream and its events are deleted with the channel.
    pub deletion_policy: DeletionPolicy,
    /// How events are delivered to subscribers.
    pub delivery: Delivery,
    /// Publishing over HTTP: limits and allowed types.
    pub publishing: Publishing,
    /// Who may subscribe and publish, and from which web pages.
    pub access: AccessSpec,
    /// Limits of each broker.
    pub limits: LimitsSpec,
    /// The brokers that serve the channel.
    pub brokers: Brokers,
    /// How clients reach the brokers.
    pub exposure: Exposure,
}

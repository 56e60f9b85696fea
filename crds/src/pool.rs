//! The custom resource `BrokerPool`: brokers that serve many channels. `kubectl explain` shows the docs of its fields.
//!
//! A channel chooses a pool by `spec.brokers.pool`, and the pool says which namespaces it accepts channels from.

pub mod rules;
pub mod status;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::channel::{brokers::Brokers, exposure::Exposure, limits::LimitsSpec};
use status::BrokerPoolStatus;

/// Brokers that serve many channels, each under its own path. `spec: {}` is a complete pool for the channels of its namespace.
#[expect(clippy::duplicated_attributes, reason = "columns of one type are no duplicates")]
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "eventcast.dev",
    version = "v1alpha1",
    kind = "BrokerPool",
    plural = "brokerpools",
    shortname = "brpool",
    category = "eventcast",
    namespaced,
    status = "BrokerPoolStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Brokers that serve many channels, each under its own path. `spec: {}` is a complete pool for the channels of its namespace.",
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
    printcolumn(name = "Channels", type_ = "integer", json_path = ".status.channels"),
    printcolumn(name = "Subscribers", type_ = "integer", json_path = ".status.subscribers"),
    printcolumn(name = "Brokers", type_ = "string", json_path = ".status.brokers"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = "1",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
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
pub struct BrokerPoolSpec {
    /// The brokers. Their memory is limited to 2Gi by default.
    pub brokers: Brokers,
    /// Which channels the pool serves.
    pub channels: PoolChannels,
    /// Limits of each broker, for the subscribers of all channels.
    pub limits: LimitsSpec,
    /// How clients reach the brokers. Ingress and HTTPRoute have the path /channels/.
    pub exposure: Exposure,
}

/// Which channels a pool serves, and how much of it one channel may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PoolChannels {
    /// Namespaces whose channels may choose the pool. All events of the pool are in the memory of the same processes: namespaces that do not
    /// trust each other need different pools.
    pub namespaces: NamespaceSelection,
    /// Maximum number of channels. The oldest are served.
    #[schemars(range(min = 1, max = 20_000))]
    pub max: u32,
    /// Maximum number of subscribers that one channel may have on one broker; 0: no limit but that of the broker. The limit of a channel itself applies,
    /// too.
    #[schemars(range(max = 1_000_000))]
    pub max_subscribers: usize,
    /// Maximum rate at which one broker accepts the events of one channel; 0: no limit. The limit of a channel itself applies, too.
    #[schemars(range(max = 1_000_000))]
    pub max_events_per_second: u32,
}

impl Default for PoolChannels {
    fn default() -> Self {
        Self {
            namespaces: NamespaceSelection::default(),
            max: 1000,
            max_subscribers: 0,
            max_events_per_second: 0,
        }
    }
}

/// Namespaces from which a pool accepts channels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceSelection {
    /// Which namespaces.
    pub from: FromNamespaces,
    /// Labels of the namespaces, if `from` is Selector.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_selector")]
    pub selector: Option<LabelSelector>,
}

/// A LabelSelector with bounds.
fn label_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "matchLabels": {
                "description": "Labels with their values.",
                "type": "object",
                "maxProperties": 16,
                "additionalProperties": {"type": "string", "maxLength": 63},
            },
            "matchExpressions": {
                "description": "Conditions on labels. All of them must hold, and all of matchLabels.",
                "type": "array",
                "maxItems": 16,
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {
                            "description": "Name of the label.",
                            "type": "string",
                            "minLength": 1,
                            "maxLength": 317,
                        },
                        "operator": {
                            "description": "What must be true of the label.",
                            "type": "string",
                            "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                        },
                        "values": {
                            "description": "Values of the label, for In and NotIn.",
                            "type": "array",
                            "maxItems": 64,
                            "items": {"type": "string", "maxLength": 63},
                        },
                    },
                },
            },
        },
    })
}

/// Which namespaces a pool accepts channels from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FromNamespaces {
    /// That of the pool.
    #[default]
    Same,
    /// All that the operator watches.
    All,
    /// Those with the labels of `selector`.
    Selector,
}

//! The brokers of a channel: their number, resources and scheduling.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Toleration, TopologySpreadConstraint},
    apimachinery::pkg::api::resource::Quantity,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// The brokers that serve a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Brokers {
    /// The BrokerPool whose brokers serve the channel, instead of brokers of its own. Excludes the other fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolReference>,
    /// Number of brokers, without autoscaling. With 0 nothing is served; applications can still publish directly to NATS.
    #[schemars(range(min = 0, max = 500))]
    pub replicas: i32,
    /// Chooses the number of brokers by their load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// Spreads streams over brokers.
    pub balancing: Balancing,
    /// How brokers are replaced.
    pub rollout: Rollout,
    /// Image of the brokers, instead of the operator's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// CPU and memory of a broker. By default it requests 100m and 256Mi, and its memory is limited to 512Mi. The memory limit determines
    /// the sizes of its buffers and caches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Seconds over which a broker closes its streams at shutdown, at an even pace. If not set: 15, and more for large brokers, so that a
    /// broker closes at most 150 streams a second, and all brokers together 5,000 (at most 600).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 600))]
    pub drain_seconds: Option<u64>,
    /// Labels that the node of a broker must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Tolerations of the broker pods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// How brokers are spread over nodes. By default over hosts and zones, as evenly as possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
    /// PriorityClass of the broker pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// A PodTemplateSpec (metadata, spec) that is merged over the operator's pod template: containers, volumes and environment variables by
    /// their names. The broker's container is named broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub pod_template: Option<serde_json::Value>,
}

impl Default for Brokers {
    fn default() -> Self {
        Self {
            pool: None,
            replicas: 1,
            autoscaling: None,
            balancing: Balancing::default(),
            rollout: Rollout::default(),
            image: None,
            resources: None,
            drain_seconds: None,
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            topology_spread_constraints: None,
            priority_class_name: None,
            pod_template: None,
        }
    }
}

/// A BrokerPool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolReference {
    /// Name of the pool.
    #[schemars(length(min = 1, max = 52))]
    pub name: String,
    /// Namespace of the pool. If not set, that of the channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// How the number of brokers is chosen. A larger number is used at once; a smaller one after the load was low for a while, and in small steps, because each
/// removal makes subscribers reconnect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// Who chooses the number.
    #[serde(default)]
    pub by: Autoscaler,
    /// Minimum number of brokers.
    #[schemars(range(min = 1, max = 500))]
    pub min_replicas: i32,
    /// Maximum number of brokers.
    #[schemars(range(min = 1, max = 500))]
    pub max_replicas: i32,
    /// Target mean CPU utilisation in percent of the request. A HorizontalPodAutoscaler needs metrics-server for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 100))]
    pub cpu_percent: Option<i32>,
    /// Target mean number of subscribers of a broker: 60 to 70 percent of what it can hold. A HorizontalPodAutoscaler needs a metrics adapter that
    /// serves eventcast_subscribers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub subscribers_per_broker: Option<i32>,
    /// Seconds for which a smaller number must have been enough, with a fifth to spare, before brokers are removed.
    #[serde(default = "default_scale_down_stabilization_seconds")]
    #[schemars(range(min = 30, max = 3600))]
    pub scale_down_stabilization_seconds: u32,
}

fn default_scale_down_stabilization_seconds() -> u32 {
    600
}

/// Who chooses the number of brokers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Autoscaler {
    /// The operator, from the counts of the brokers. When it removes brokers, it removes those with the fewest subscribers.
    #[default]
    Operator,
    /// A HorizontalPodAutoscaler, which the operator creates.
    HorizontalPodAutoscaler,
}

/// How streams are spread over brokers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Balancing {
    /// Whether brokers that have far more streams than others close some. Their clients reconnect and miss nothing.
    pub mode: BalancingMode,
    /// Streams that one broker closes in a second at most.
    #[schemars(range(min = 1, max = 10_000))]
    pub shed_per_second: u32,
}

impl Default for Balancing {
    fn default() -> Self {
        Self { mode: BalancingMode::default(), shed_per_second: 100 }
    }
}

/// Whether streams are closed for balance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BalancingMode {
    /// Brokers with far more streams than the mean close some.
    #[default]
    Shed,
    /// Streams stay where they are.
    Disabled,
}

/// How brokers are replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollout {
    /// New brokers that are started besides the old ones, in percent of their number. With 100 every stream moves once, to new brokers; with less, the
    /// first new brokers get more than their share, and there is less need for room in the cluster.
    #[schemars(range(min = 1, max = 100))]
    pub surge_percent: i32,
}

impl Default for Rollout {
    fn default() -> Self {
        Self { surge_percent: 100 }
    }
}

/// CPU and memory, as in a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Resources {
    /// Resources that are reserved on the node.
    #[serde(deserialize_with = "quantities", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities_schema")]
    pub requests: BTreeMap<String, Quantity>,
    /// Resources that the broker cannot exceed.
    #[serde(deserialize_with = "quantities", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities_schema")]
    pub limits: BTreeMap<String, Quantity>,
}

/// Accepts numbers besides strings: `cpu: 1` as well as `cpu: 500m`.
fn quantities<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, Quantity>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Amount {
        Number(i64),
        Text(String),
    }
    let amounts = BTreeMap::<String, Amount>::deserialize(d)?;
    let quantity = |amount| match amount {
        Amount::Number(n) => Quantity(n.to_string()),
        Amount::Text(text) => Quantity(text),
    };
    Ok(amounts.into_iter().map(|(name, amount)| (name, quantity(amount))).collect())
}

fn quantities_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": "^[0-9]+([.][0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$",
        },
    })
}

fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

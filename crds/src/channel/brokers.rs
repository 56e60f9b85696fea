//! The brokers of a channel: how many, how large, where.

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
    /// How many, without autoscaling. 0 stops serving; publishing straight to NATS goes on.
    #[schemars(range(min = 0, max = 500))]
    pub replicas: i32,
    /// Let a HorizontalPodAutoscaler choose how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// Image of the broker, instead of the operator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Processor and memory; by default 100m and 256Mi requested, memory limited to 512Mi. The budgets of the broker follow the
    /// memory limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Time over which a broker that ends closes its streams, one after the other.
    #[schemars(range(max = 600))]
    pub drain_seconds: u64,
    /// Labels that a node must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that are put up with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// How the brokers spread; by default over hosts and zones, as far as there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
    /// PriorityClass of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// Everything else: a PodTemplateSpec (metadata, spec) that is merged over ours; containers, volumes and variables by their
    /// names. The container of the broker is called broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub pod_template: Option<serde_json::Value>,
}

impl Default for Brokers {
    fn default() -> Self {
        Self {
            replicas: 1,
            autoscaling: None,
            image: None,
            resources: None,
            drain_seconds: 15,
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            topology_spread_constraints: None,
            priority_class_name: None,
            pod_template: None,
        }
    }
}

/// How a HorizontalPodAutoscaler chooses the number of brokers. Connections stay where they are: scaling up serves newcomers,
/// scaling down moves whoever is there, so it is done slowly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// Fewest brokers.
    #[schemars(range(min = 1, max = 500))]
    pub min_replicas: i32,
    /// Most brokers.
    #[schemars(range(min = 1, max = 500))]
    pub max_replicas: i32,
    /// Mean use of the requested processor to aim at, in percent. Needs metrics-server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 100))]
    pub cpu_percent: Option<i32>,
    /// Mean number of subscribers of a broker to aim at. Needs an adapter that serves the metric eventcast_subscribers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub subscribers_per_broker: Option<i32>,
}

/// Processor and memory, as in a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Resources {
    /// What is set aside.
    #[serde(deserialize_with = "quantities", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities_schema")]
    pub requests: BTreeMap<String, Quantity>,
    /// What is not to be exceeded.
    #[serde(deserialize_with = "quantities", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities_schema")]
    pub limits: BTreeMap<String, Quantity>,
}

/// Quantities as people write them: `cpu: 1` as well as `cpu: 500m`.
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

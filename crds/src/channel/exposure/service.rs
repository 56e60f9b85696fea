//! The Service in front of the brokers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The Service in front of the brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// Type of the Service.
    #[serde(rename = "type")]
    pub kind: ServiceKind,
    /// Labels of the Service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Service, for example for a load balancer.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Whether a node forwards external traffic to brokers on any node (Cluster) or only to its own (Local). Only Local keeps the addresses of
    /// clients. For type NodePort and LoadBalancer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<TrafficPolicy>,
    /// Which implementation provides the load balancer. If not set, the default of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub load_balancer_class: Option<String>,
    /// Networks from which the load balancer accepts connections, such as 203.0.113.0/24. If empty, from everywhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)))]
    pub load_balancer_source_ranges: Vec<String>,
    /// Whether the Service has addresses of one IP family or of both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_family_policy: Option<IpFamilyPolicy>,
    /// IP families of the Service, the first one being the main one. If empty, those of the cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub ip_families: Vec<IpFamily>,
    /// Which brokers clients inside the cluster prefer. Kubernetes 1.34 has PreferSameZone, the new name of PreferClose, and PreferSameNode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_distribution: Option<TrafficDistribution>,
}

/// Type of the Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceKind {
    /// Reachable only inside the cluster.
    #[default]
    ClusterIP,
    /// Reachable on a port of every node.
    NodePort,
    /// Reachable through a load balancer of the cloud.
    LoadBalancer,
}

impl ServiceKind {
    /// The `type` of a Kubernetes Service.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// Whether a node forwards external traffic to brokers on any node (Cluster) or only to its own (Local). Only Local keeps the addresses of
/// clients. For type NodePort and LoadBalancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrafficPolicy {
    /// To brokers on any node. They see the address of the node.
    Cluster,
    /// To brokers on the same node. They see the address of the client.
    Local,
}

impl TrafficPolicy {
    /// The `externalTrafficPolicy` of a Kubernetes Service.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::Local => "Local",
        }
    }
}

/// Whether the Service has addresses of one IP family or of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IpFamilyPolicy {
    /// One family.
    SingleStack,
    /// Both where the cluster has both.
    PreferDualStack,
    /// Both, or none at all.
    RequireDualStack,
}

impl IpFamilyPolicy {
    /// The `ipFamilyPolicy` of a Kubernetes Service.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SingleStack => "SingleStack",
            Self::PreferDualStack => "PreferDualStack",
            Self::RequireDualStack => "RequireDualStack",
        }
    }
}

/// An IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IpFamily {
    /// IP version 4.
    IPv4,
    /// IP version 6.
    IPv6,
}

impl IpFamily {
    /// An entry of `ipFamilies` of a Kubernetes Service.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IPv4 => "IPv4",
            Self::IPv6 => "IPv6",
        }
    }
}

/// Which brokers clients inside the cluster prefer. Kubernetes 1.34 has PreferSameZone, the new name of PreferClose, and PreferSameNode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrafficDistribution {
    /// Those in the same zone.
    PreferClose,
    /// Those in the same zone.
    PreferSameZone,
    /// Those on the same node.
    PreferSameNode,
}

impl TrafficDistribution {
    /// The `trafficDistribution` of a Kubernetes Service.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreferClose => "PreferClose",
            Self::PreferSameZone => "PreferSameZone",
            Self::PreferSameNode => "PreferSameNode",
        }
    }
}

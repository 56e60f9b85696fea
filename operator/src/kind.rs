//! The kinds of objects that the operator creates for a channel. Pure.
//!
//! The enum is closed: a new kind does not compile until it is built, applied and permitted.

use kube::core::{ApiResource, GroupVersionKind};

/// A kind of object that a channel owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Identity of the broker pods.
    ServiceAccount,
    /// The right to ask what a service account may do on the channel.
    Role,
    /// Gives the brokers that right.
    RoleBinding,
    /// The broker's configuration.
    ConfigMap,
    /// Credentials for NATS.
    Secret,
    /// The address of the brokers inside the cluster.
    Service,
    /// The connections that the broker pods may open and accept.
    NetworkPolicy,
    /// How many brokers an eviction may remove at once.
    PodDisruptionBudget,
    /// Chooses the number of brokers.
    HorizontalPodAutoscaler,
    /// Access from outside the cluster.
    Ingress,
    /// Access from outside the cluster, by the Gateway API.
    HttpRoute,
    /// Scrape configuration of the Prometheus operator.
    PodMonitor,
    /// The brokers.
    Deployment,
}

impl Kind {
    /// In the order of application: what pods mount comes before the pods.
    pub const ALL: [Self; 13] = [
        Self::ServiceAccount,
        Self::Role,
        Self::RoleBinding,
        Self::ConfigMap,
        Self::Secret,
        Self::Service,
        Self::NetworkPolicy,
        Self::PodDisruptionBudget,
        Self::HorizontalPodAutoscaler,
        Self::Ingress,
        Self::HttpRoute,
        Self::PodMonitor,
        Self::Deployment,
    ];

    /// Group, version, kind and plural, as the API server names them.
    #[must_use]
    pub const fn names(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::ServiceAccount => ("", "v1", "ServiceAccount", "serviceaccounts"),
            Self::Role => ("rbac.authorization.k8s.io", "v1", "Role", "roles"),
            Self::RoleBinding => ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
            Self::ConfigMap => ("", "v1", "ConfigMap", "configmaps"),
            Self::Secret => ("", "v1", "Secret", "secrets"),
            Self::Service => ("", "v1", "Service", "services"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
            Self::PodDisruptionBudget => {
                ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
            }
            Self::HorizontalPodAutoscaler => {
                ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
            }
            Self::Ingress => ("networking.k8s.io", "v1", "Ingress", "ingresses"),
            Self::HttpRoute => ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
            Self::PodMonitor => ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
            Self::Deployment => ("apps", "v1", "Deployment", "deployments"),
        }
    }

    /// The `kind` of the API server.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.names().2
    }

    /// The resource for a dynamic [`Api`](kube::Api).
    #[must_use]
    pub fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = self.names();
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }

    /// Whether a cluster may lack this API.
    #[must_use]
    pub const fn is_optional(self) -> bool {
        matches!(self, Self::HttpRoute | Self::PodMonitor)
    }

    /// Whether the operator watches objects of this kind. It does not watch Secrets: that would need permission to read
    /// every Secret of the namespace.
    #[must_use]
    pub const fn is_watched(self) -> bool {
        !matches!(self, Self::Secret)
    }

    /// Whether a channel may have no object of this kind, so that the operator deletes the one that exists.
    #[must_use]
    pub const fn is_prunable(self) -> bool {
        !matches!(self, Self::Service)
    }
}

//! The kinds of objects that a channel is made of. Closed: a new kind does not compile until it is built, applied and permitted. Pure.

use kube::core::{ApiResource, GroupVersionKind};

/// A kind of object that belongs to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Identity of the pods, without any right.
    ServiceAccount,
    /// The broker's configuration.
    ConfigMap,
    /// Credentials for NATS.
    Secret,
    /// The address inside the cluster.
    Service,
    /// What the pods may say to whom.
    NetworkPolicy,
    /// How many pods may go at once of their own will.
    DisruptionBudget,
    /// Chooses the number of brokers.
    Autoscaler,
    /// The way in from outside.
    Ingress,
    /// The way in from outside, by the Gateway API.
    Route,
    /// What Prometheus scrapes.
    PodMonitor,
    /// The brokers.
    Deployment,
}

impl Kind {
    /// In the order of application: what pods mount comes before the pods.
    pub const ALL: [Self; 11] = [
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::Secret,
        Self::Service,
        Self::NetworkPolicy,
        Self::DisruptionBudget,
        Self::Autoscaler,
        Self::Ingress,
        Self::Route,
        Self::PodMonitor,
        Self::Deployment,
    ];

    /// Group, version, kind and plural.
    #[must_use]
    pub const fn names(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::ServiceAccount => ("", "v1", "ServiceAccount", "serviceaccounts"),
            Self::ConfigMap => ("", "v1", "ConfigMap", "configmaps"),
            Self::Secret => ("", "v1", "Secret", "secrets"),
            Self::Service => ("", "v1", "Service", "services"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
            Self::DisruptionBudget => {
                ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
            }
            Self::Autoscaler => {
                ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
            }
            Self::Ingress => ("networking.k8s.io", "v1", "Ingress", "ingresses"),
            Self::Route => ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
            Self::PodMonitor => ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
            Self::Deployment => ("apps", "v1", "Deployment", "deployments"),
        }
    }

    /// What Kubernetes calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.names().2
    }

    /// As kube wants it.
    #[must_use]
    pub fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = self.names();
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }

    /// Whether the API may be absent from a cluster.
    #[must_use]
    pub const fn is_optional(self) -> bool {
        matches!(self, Self::Route | Self::PodMonitor)
    }

    /// Whether changes are watched. Secrets are not: it would take the right to read all of them.
    #[must_use]
    pub const fn is_watched(self) -> bool {
        !matches!(self, Self::Secret)
    }

    /// Whether a channel may have none: only then is one ever deleted by us.
    #[must_use]
    pub const fn may_go(self) -> bool {
        matches!(
            self,
            Self::NetworkPolicy
                | Self::DisruptionBudget
                | Self::Autoscaler
                | Self::Ingress
                | Self::Route
                | Self::PodMonitor
        )
    }
}

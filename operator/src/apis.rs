//! Discovery of the optional APIs that a cluster serves.

use eventcast_runtime::Chain;
use kube::{
    Client,
    core::{ApiResource, GroupVersionKind},
    discovery,
};

use crate::{kind::Kind, owner::OwnerKind, settings::OptionalApis};

/// Asks which optional APIs the cluster serves. An API whose discovery fails counts as absent.
pub async fn discover(client: &Client) -> OptionalApis {
    discover_or(client, OptionalApis::default()).await
}

/// Asks which optional APIs the cluster serves. An API whose discovery fails keeps its value in `known`.
pub async fn discover_or(client: &Client, known: OptionalApis) -> OptionalApis {
    OptionalApis {
        http_routes: is_served(client, &Kind::HttpRoute.resource())
            .await
            .unwrap_or(known.http_routes),
        pod_monitors: is_served(client, &Kind::PodMonitor.resource())
            .await
            .unwrap_or(known.pod_monitors),
        pools: is_served(client, &OwnerKind::Pool.resource()).await.unwrap_or(known.pools),
    }
}

/// `None` if the API server cannot be asked.
async fn is_served(client: &Client, resource: &ApiResource) -> Option<bool> {
    let ApiResource { group, version, kind, .. } = resource;
    let gvk = GroupVersionKind::gvk(group, version, kind);
    match discovery::pinned_kind(client, &gvk).await {
        Ok(_) => Some(true),
        // The response for an unknown group has no reason, only the code.
        Err(kube::Error::Api(e)) if e.code == 404 => Some(false),
        Err(kube::Error::Discovery(_)) => Some(false),
        Err(error) => {
            tracing::warn!(kind, error = %Chain(&error), "cannot discover an optional API");
            None
        }
    }
}

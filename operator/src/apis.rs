//! Which optional APIs a cluster serves.

use eventcast_runtime::Chain;
use kube::{Client, discovery};

use crate::{kind::Kind, settings::Apis};

/// What is served now; an API that cannot be asked for counts as absent.
pub async fn find(client: &Client) -> Apis {
    find_or(client, Apis::default()).await
}

/// What is served now; for what cannot be asked, as it was `known`.
pub async fn find_or(client: &Client, known: Apis) -> Apis {
    Apis {
        routes: serves(client, Kind::Route).await.unwrap_or(known.routes),
        pod_monitors: serves(client, Kind::PodMonitor).await.unwrap_or(known.pod_monitors),
    }
}

/// None: it could not be asked.
async fn serves(client: &Client, kind: Kind) -> Option<bool> {
    let (group, version, name, _) = kind.names();
    let gvk = kube::core::GroupVersionKind::gvk(group, version, name);
    match discovery::pinned_kind(client, &gvk).await {
        Ok(_) => Some(true),
        // The answer about a group that is not there has no reason in it, only the code.
        Err(kube::Error::Api(e)) if e.code == 404 => Some(false),
        Err(kube::Error::Discovery(_)) => Some(false),
        Err(error) => {
            tracing::warn!(kind = name, error = %Chain(&error), "cannot ask for an optional API");
            None
        }
    }
}

//! Checks what the operator needs: NATS, the CRDs and its permissions. For the subcommand `check` and for `/readyz`.

use std::{sync::Arc, time::Duration};

use eventcast_crds::{channel::EventChannelSpec, stream::exceeds_payload};
use eventcast_runtime::Chain;
use kube::{Api, Client, ResourceExt, api::ListParams, core::DynamicObject};

use crate::{
    apis, broker_config::channel_config, metrics::Metrics, nats::NatsLink, owner::OwnerKind,
    permissions, schema::Schema, settings::Settings,
};

/// How long `check` waits for a connection to NATS.
const NATS_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The namespaces in which the operator needs permissions.
#[derive(Clone, Debug)]
pub struct Namespaces {
    /// The namespaces to watch; all if empty.
    pub watched: Vec<String>,
    /// The namespace of the Lease; `None` without leader election.
    pub lease: Option<String>,
}

/// Describes the permissions that are missing.
///
/// # Errors
/// The API server cannot be asked.
pub async fn find_missing_permissions(
    client: &Client,
    settings: &Settings,
    namespaces: &Namespaces,
) -> Result<Vec<String>, kube::Error> {
    let apis = apis::discover(client).await;
    let in_cluster = permissions::in_cluster(settings);
    let mut missing = permissions::find_missing(client, None, in_cluster).await?;
    if namespaces.watched.is_empty() {
        let needed = permissions::in_all_namespaces(settings, apis);
        missing.extend(permissions::find_missing(client, None, needed).await?);
    }
    for namespace in &namespaces.watched {
        let needed = permissions::in_watched_namespaces(settings, apis);
        missing.extend(permissions::find_missing(client, Some(namespace), needed).await?);
    }
    if let Some(namespace) = &namespaces.lease {
        let needed = permissions::in_own_namespace();
        missing.extend(permissions::find_missing(client, Some(namespace), needed).await?);
    }
    Ok(missing)
}

/// Describes every problem with NATS, the CRDs and the permissions.
pub async fn find_problems(
    client: &Client,
    settings: Settings,
    namespaces: &Namespaces,
    metrics: &Arc<Metrics>,
) -> Vec<String> {
    let mut problems = Vec::new();
    if let Err(error) = Schema::default().refresh(client, metrics).await {
        problems.push(Chain(&error).to_string());
    }
    match find_missing_permissions(client, &settings, namespaces).await {
        Ok(missing) => {
            problems.extend(missing.into_iter().map(|p| format!("missing permission: {p}")))
        }
        Err(error) => {
            let cause = Chain(&error);
            problems.push(format!("cannot check permissions with the API server: {cause}"));
        }
    }
    match NatsLink::connect(Arc::new(settings), Arc::clone(metrics)).await {
        Ok(nats) => match nats.wait_connected(NATS_CONNECT_TIMEOUT).await {
            Ok(()) => {
                problems.extend(find_too_large(client, namespaces, nats.max_payload()).await);
                if let Err(error) = nats.jetstream().query_account().await {
                    problems.push(format!(
                        "NATS is reachable, but JetStream is not ({}): enable JetStream",
                        Chain(&error)
                    ));
                }
            }
            Err(error) => problems.push(error.condition.message),
        },
        Err(error) => problems.push(Chain(&error).to_string()),
    }
    problems
}

/// Why the API server rejects the selector of channels; `None` if it takes it, or does not answer now.
pub async fn find_invalid_selector(
    client: &Client,
    namespaces: &Namespaces,
    selector: &str,
) -> Option<String> {
    const BAD_REQUEST: u16 = 400;
    let resource = OwnerKind::Channel.resource();
    let api: Api<DynamicObject> = match namespaces.watched.first() {
        None => Api::all_with(client.clone(), &resource),
        Some(name) => Api::namespaced_with(client.clone(), name, &resource),
    };
    match api.list(&ListParams::default().labels(selector).limit(1)).await {
        Err(kube::Error::Api(error)) if error.code == BAD_REQUEST => {
            Some(format!("--channel-selector: {selector}: {}", error.message))
        }
        _ => None,
    }
}

/// Describes the channels whose largest event is larger than NATS accepts. Channels that cannot be listed are skipped:
/// the missing permission is a problem of its own.
async fn find_too_large(
    client: &Client,
    namespaces: &Namespaces,
    max_payload: usize,
) -> Vec<String> {
    let resource = OwnerKind::Channel.resource();
    let namespaced = |name: &String| Api::namespaced_with(client.clone(), name, &resource);
    let apis: Vec<Api<DynamicObject>> = match namespaces.watched.as_slice() {
        [] => vec![Api::all_with(client.clone(), &resource)],
        names => names.iter().map(namespaced).collect(),
    };
    let mut problems = Vec::new();
    for api in apis {
        let channels = api.list(&ListParams::default()).await;
        for raw in channels.into_iter().flatten() {
            // A channel whose spec cannot be parsed reports that in its status.
            let spec = raw.data.get("spec").cloned().unwrap_or_default();
            let Ok(spec) = serde_json::from_value::<EventChannelSpec>(spec) else { continue };
            let (namespace, name) = (raw.namespace().unwrap_or_default(), raw.name_any());
            let config = channel_config(&namespace, &name, &spec);
            let problem = exceeds_payload(&config, max_payload);
            problems.extend(problem.map(|p| format!("channel {}: {p}", config.key())));
        }
    }
    problems
}

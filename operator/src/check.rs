//! Whether everything is there that the operator needs: NATS, the CRD, its rights. What `check` says, and `/readyz` waits for.

use std::{sync::Arc, time::Duration};

use eventcast_crds::{channel::EventChannelSpec, stream::exceeds_payload};
use eventcast_runtime::Chain;
use kube::{Api, Client, ResourceExt, api::ListParams, core::DynamicObject};

use crate::{
    apis, build, metrics::Metrics, nats::Jet, permissions, schema::Schema,
    scope::channels_resource, settings::Settings,
};

/// How long NATS may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the operator works.
#[derive(Clone, Debug)]
pub struct Places {
    /// The namespaces to watch; empty: all.
    pub watched: Vec<String>,
    /// The operator's own namespace, where it needs a Lease.
    pub own: Option<String>,
}

/// The rights that are missing, each in words.
///
/// # Errors
/// The API server cannot be asked.
pub async fn rights(
    client: &Client,
    settings: &Settings,
    places: &Places,
) -> Result<Vec<String>, kube::Error> {
    let apis = apis::find(client).await;
    let wanted = || permissions::in_watched_namespaces(settings, apis);
    let mut missing = Vec::new();
    if places.watched.is_empty() {
        missing.extend(permissions::missing(client, None, wanted()).await?);
    }
    for namespace in &places.watched {
        missing.extend(permissions::missing(client, Some(namespace), wanted()).await?);
    }
    if let Some(own) = &places.own {
        missing.extend(
            permissions::missing(client, Some(own), permissions::in_own_namespace()).await?,
        );
    }
    Ok(missing)
}

/// Everything that is not as it should be, each in words; empty where nothing is.
pub async fn everything(
    client: &Client,
    settings: Settings,
    places: &Places,
    metrics: &Arc<Metrics>,
) -> Vec<String> {
    let mut found = Vec::new();
    if let Err(error) = Schema::default().look(client, metrics).await {
        found.push(Chain(&error).to_string());
    }
    match rights(client, &settings, places).await {
        Ok(missing) => {
            found.extend(missing.into_iter().map(|right| format!("missing right: {right}")))
        }
        Err(error) => {
            let why = Chain(&error);
            found.push(format!("cannot ask the API server for rights: {why}"));
        }
    }
    match Jet::connect(Arc::new(settings), Arc::clone(metrics)).await {
        Ok(jet) => match jet.reach(PATIENCE).await {
            Ok(()) => {
                found.extend(too_large(client, places, jet.max_payload()).await);
                if let Err(error) = jet.context().query_account().await {
                    found.push(format!(
                        "NATS answers, but JetStream does not ({}): switch JetStream on",
                        Chain(&error)
                    ));
                }
            }
            Err(error) => found.push(error.message),
        },
        Err(error) => found.push(Chain(&error).to_string()),
    }
    found
}

/// The channels whose largest events NATS does not take. That channels cannot be listed is told as a missing right.
async fn too_large(client: &Client, places: &Places, max_payload: usize) -> Vec<String> {
    let resource = channels_resource();
    let of = |namespace: &String| Api::namespaced_with(client.clone(), namespace, &resource);
    let apis: Vec<Api<DynamicObject>> = match places.watched.as_slice() {
        [] => vec![Api::all_with(client.clone(), &resource)],
        some => some.iter().map(of).collect(),
    };
    let mut found = Vec::new();
    for api in apis {
        let channels = api.list(&ListParams::default()).await;
        for raw in channels.into_iter().flatten() {
            // One that cannot be read says so in its status.
            let spec = raw.data.get("spec").cloned().unwrap_or_default();
            let Ok(spec) = serde_json::from_value::<EventChannelSpec>(spec) else { continue };
            let (namespace, name) = (raw.namespace().unwrap_or_default(), raw.name_any());
            let config = build::config::channel(&namespace, &name, &spec);
            let problem = exceeds_payload(&config, max_payload);
            found.extend(problem.map(|problem| format!("channel {}: {problem}", config.key())));
        }
    }
    found
}

//! Compares the CRDs that the cluster serves with those that this operator was built with.
//!
//! Reads the cluster's OpenAPI document: every client may, so the operator needs no permission on CRDs.

use std::{collections::BTreeSet, sync::Arc};

use arc_swap::ArcSwap;
use eventcast_crds::crd::{Crd, CrdError};
use kube::Client;
use serde_json::Value;

use crate::metrics::Metrics;

const OPENAPI_PATH: &str = "/openapi/v3/apis/eventcast.dev/v1alpha1";

/// Why the schemas cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The API server did not answer, or not with an OpenAPI document.
    #[error("failed to read the schemas of eventcast.dev from the API server")]
    Api(#[source] kube::Error),
    /// The cluster has no EventChannel CRD.
    #[error(
        "this cluster serves no EventChannel of eventcast.dev/v1alpha1: install the CRDs with `eventcast-operator crd | kubectl apply --server-side -f -`"
    )]
    Missing,
    /// A CRD of this operator cannot be built: a bug.
    #[error(transparent)]
    OwnCrd(#[from] CrdError),
}

/// The result of the last comparison. Before the first one nothing is missing, and no pools are served.
#[derive(Debug, Default)]
pub struct Schema {
    compared: ArcSwap<Compared>,
}

/// Paths of the fields that the operator knows and the installed CRDs lack.
#[derive(Debug, Default, PartialEq, Eq)]
struct Compared {
    /// Of EventChannels. Contains `BrokerPool` if the cluster has no CRD of that kind.
    channels: Vec<String>,
    /// Of BrokerPools. `None` if the cluster has no CRD of that kind.
    pools: Option<Vec<String>>,
}

impl Schema {
    /// Compares again. Returns whether the result changed.
    ///
    /// # Errors
    /// See [`SchemaError`]. The last result stays.
    pub async fn refresh(&self, client: &Client, metrics: &Metrics) -> Result<bool, SchemaError> {
        let request =
            http::Request::get(OPENAPI_PATH).body(Vec::new()).map_err(kube::Error::HttpError);
        let document: Value = match client.request(request.map_err(SchemaError::Api)?).await {
            Ok(document) => document,
            Err(kube::Error::Api(e)) if e.code == 404 => return Err(SchemaError::Missing),
            Err(error) => return Err(SchemaError::Api(error)),
        };
        let mut channel =
            Differences::of(Crd::EventChannel, &document)?.ok_or(SchemaError::Missing)?;
        let pool = Differences::of(Crd::BrokerPool, &document)?;
        if pool.is_none() {
            channel.missing.push(Crd::BrokerPool.kind().into());
        }
        let all = [(Crd::EventChannel, Some(&channel)), (Crd::BrokerPool, pool.as_ref())];
        let found: Vec<_> = all
            .into_iter()
            .filter_map(|(crd, differences)| Some((crd, differences?)))
            .filter(|(_, Differences { missing, unknown })| missing.len() + unknown.len() > 0)
            .collect();
        let count: usize = found.iter().map(|(_, d)| d.missing.len() + d.unknown.len()).sum();
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        if count != metrics.schema_differences.get() {
            for (crd, Differences { missing, unknown }) in found {
                tracing::warn!(
                    kind = crd.kind(),
                    ?missing,
                    ?unknown,
                    "the installed CRD differs from the CRD of this operator"
                );
            }
        }
        metrics.schema_differences.set(count);
        let pools = pool.map(|differences| differences.missing);
        let compared = Compared { channels: channel.missing, pools };
        let changed = compared != **self.compared.load();
        self.compared.store(Arc::new(compared));
        Ok(changed)
    }

    /// Whether the cluster has the CRD of BrokerPools, as far as known.
    #[must_use]
    pub fn serves_pools(&self) -> bool {
        self.compared.load().pools.is_some()
    }

    /// Paths of the fields of EventChannels that the operator knows and the installed CRD lacks, and `BrokerPool` if the cluster has no CRD of
    /// that kind.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        self.compared.load().channels.clone()
    }

    /// Paths of the fields of BrokerPools that the operator knows and the installed CRD lacks.
    #[must_use]
    pub fn missing_in_pools(&self) -> Vec<String> {
        self.compared.load().pools.clone().unwrap_or_default()
    }

    /// Removes the fields from the status of a channel that the installed CRD lacks. The API server would reject the whole status.
    pub fn remove_unknown(&self, status: &mut Value) {
        remove(&self.compared.load().channels, status);
    }

    /// The same for the status of a pool.
    pub fn remove_unknown_in_pool(&self, status: &mut Value) {
        remove(self.compared.load().pools.as_deref().unwrap_or_default(), status);
    }
}

/// Removes the fields at those paths that begin with `status.`.
fn remove(paths: &[String], status: &mut Value) {
    for path in paths.iter().filter_map(|path| path.strip_prefix("status.")) {
        let (parent, last) = path.rsplit_once('.').unwrap_or(("", path));
        let mut parent = parent.split('.').filter(|p| !p.is_empty());
        let parent = parent.try_fold(&mut *status, |value, name| value.get_mut(name));
        if let Some(Value::Object(map)) = parent {
            map.remove(last);
        }
    }
}

/// Paths of the fields that only one of two CRDs of a kind has.
struct Differences {
    /// Those that only this operator has.
    missing: Vec<String>,
    /// Those that only the cluster has.
    unknown: Vec<String>,
}

impl Differences {
    /// `None` if the cluster has no CRD of that kind.
    fn of(crd: Crd, document: &Value) -> Result<Option<Self>, CrdError> {
        let pointer = format!("/components/schemas/dev.eventcast.v1alpha1.{}", crd.kind());
        let Some(installed) = document.pointer(&pointer).map(paths) else { return Ok(None) };
        let own = paths(&crd.open_api_schema()?);
        let missing = own.difference(&installed).cloned().collect();
        let unknown = installed.difference(&own).cloned().collect();
        Ok(Some(Self { missing, unknown }))
    }
}

/// Paths of all fields of spec and status.
fn paths(schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for part in ["spec", "status"] {
        collect_paths(&schema["properties"][part], part, &mut found);
    }
    found
}

fn collect_paths(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    if !schema.is_object() {
        return;
    }
    found.insert(path.to_owned());
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        collect_paths(property, &format!("{path}.{name}"), found);
    }
    if schema["items"].is_object() {
        collect_paths(&schema["items"], &format!("{path}[]"), found);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_fields_are_compared() {
        let mut installed = Crd::EventChannel.open_api_schema().unwrap();
        let delivery = installed.pointer_mut("/properties/spec/properties/delivery/properties");
        delivery.unwrap().as_object_mut().unwrap().remove("heartbeatSeconds");
        let condition = installed
            .pointer_mut("/properties/status/properties/conditions/items/properties")
            .unwrap();
        condition["severity"] = json!({"type": "string"});
        let document =
            json!({"components": {"schemas": {"dev.eventcast.v1alpha1.EventChannel": installed}}});
        let found = Differences::of(Crd::EventChannel, &document).unwrap().unwrap();
        assert_eq!(found.missing, ["spec.delivery.heartbeatSeconds"]);
        assert_eq!(found.unknown, ["status.conditions[].severity"]);
        assert!(Differences::of(Crd::BrokerPool, &document).unwrap().is_none());
    }

    #[test]
    fn a_status_loses_the_fields_that_the_crd_lacks() {
        let missing = |paths: [&str; 3]| paths.map(String::from).to_vec();
        let schema = Schema::default();
        schema.compared.store(Arc::new(Compared {
            channels: missing(["BrokerPool", "status.url", "status.stream.epoch"]),
            pools: Some(missing(["spec.x", "status.channels", "status.absent.field"])),
        }));
        let mut status = json!({"url": "u", "stream": {"epoch": "e", "name": "n"}});
        schema.remove_unknown(&mut status);
        assert_eq!(status, json!({"stream": {"name": "n"}}));
        let mut status = json!({"url": "u", "channels": 1});
        schema.remove_unknown_in_pool(&mut status);
        assert_eq!(status, json!({"url": "u"}));
    }
}

//! Compares the CRD that the cluster serves with the CRD that this operator was built with.
//!
//! Reads the cluster's OpenAPI document: every client may, so the operator needs no permission on CRDs.

use std::{collections::BTreeSet, sync::Arc};

use arc_swap::ArcSwap;
use eventcast_crds::crd::{Crd, CrdError};
use kube::Client;
use serde_json::Value;

use crate::metrics::Metrics;

const OPENAPI_PATH: &str = "/openapi/v3/apis/eventcast.dev/v1alpha1";
const OPENAPI_SCHEMA_POINTER: &str = "/components/schemas/dev.eventcast.v1alpha1.EventChannel";

/// Why the schemas cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The API server did not answer, or not with an OpenAPI document.
    #[error("failed to read the schema of EventChannels from the API server")]
    Api(#[source] kube::Error),
    /// The cluster has no EventChannel CRD.
    #[error(
        "this cluster serves no EventChannel of eventcast.dev/v1alpha1: install the CRD with `eventcast-operator crd | kubectl apply --server-side -f -`"
    )]
    Missing,
    /// The CRD of this operator cannot be built: a bug.
    #[error(transparent)]
    OwnCrd(#[from] CrdError),
}

/// The result of the last comparison of both CRDs.
#[derive(Debug, Default)]
pub struct Schema {
    /// Paths of the fields that the operator knows and the installed CRD lacks.
    missing: ArcSwap<Vec<String>>,
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
        let installed =
            paths(document.pointer(OPENAPI_SCHEMA_POINTER).ok_or(SchemaError::Missing)?);
        let own = own_paths()?;
        let missing: Vec<_> = own.difference(&installed).cloned().collect();
        let unknown: Vec<_> = installed.difference(&own).cloned().collect();
        let differences = i64::try_from(missing.len() + unknown.len()).unwrap_or(i64::MAX);
        if differences > 0 && differences != metrics.schema_differences.get() {
            tracing::warn!(
                ?missing,
                ?unknown,
                "the installed CRD differs from the CRD of this operator"
            );
        }
        metrics.schema_differences.set(differences);
        let changed = missing != **self.missing.load();
        self.missing.store(Arc::new(missing));
        Ok(changed)
    }

    /// Paths of the fields that the operator knows and the installed CRD lacks.
    #[must_use]
    pub fn missing(&self) -> Arc<Vec<String>> {
        self.missing.load_full()
    }

    /// Removes the fields from `status` that the installed CRD lacks. The API server would reject the whole status.
    pub fn remove_unknown(&self, status: &mut Value) {
        for path in self.missing.load().iter() {
            let Some(path) = path.strip_prefix("status.") else { continue };
            let (parent, last) = path.rsplit_once('.').unwrap_or(("", path));
            let mut parent = parent.split('.').filter(|p| !p.is_empty());
            let parent = parent.try_fold(&mut *status, |value, name| value.get_mut(name));
            if let Some(Value::Object(map)) = parent {
                map.remove(last);
            }
        }
    }
}

fn own_paths() -> Result<BTreeSet<String>, SchemaError> {
    Ok(paths(&Crd::EventChannel.open_api_schema()?))
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
    fn the_own_schema_lists_nested_fields() {
        let own = own_paths().unwrap();
        for path in
            ["spec.delivery.heartbeatSeconds", "status.conditions[].type", "spec.brokers.replicas"]
        {
            assert!(own.contains(path), "{path} not in {own:#?}");
        }
    }

    #[test]
    fn a_status_loses_the_fields_that_the_crd_lacks() {
        let schema = Schema::default();
        schema.missing.store(Arc::new(vec![
            "spec.x".into(),
            "status.url".into(),
            "status.stream.epoch".into(),
        ]));
        let mut status = json!({"url": "u", "stream": {"epoch": "e", "name": "n"}});
        schema.remove_unknown(&mut status);
        assert_eq!(status, json!({"stream": {"name": "n"}}));
    }
}

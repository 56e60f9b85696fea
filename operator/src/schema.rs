//! Whether the CRD that the cluster serves is the one that this operator was built with.
//!
//! The cluster's OpenAPI document says what is served; everybody may read it, so no right on CRDs is needed.

use std::{collections::BTreeSet, sync::Arc};

use arc_swap::ArcSwap;
use eventcast_crds::channel::{BadDefinition, crd};
use kube::Client;
use serde_json::Value;

use crate::metrics::Metrics;

const DOCUMENT: &str = "/openapi/v3/apis/eventcast.dev/v1alpha1";
const TYPE: &str = "/components/schemas/dev.eventcast.v1alpha1.EventChannel";

/// Why the schemas cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The API server was not understood.
    #[error("failed to read the schema of EventChannels from the API server")]
    Api(#[source] kube::Error),
    /// There are no EventChannels in this cluster.
    #[error(
        "this cluster serves no EventChannel of eventcast.dev/v1alpha1: apply the CRD (`eventcast-operator crd | kubectl apply --server-side -f -`)"
    )]
    Missing,
    /// A mistake of this build.
    #[error(transparent)]
    Own(#[from] BadDefinition),
}

/// In which fields CRD and operator differ; as it was looked at last.
#[derive(Debug, Default)]
pub struct Schema {
    /// Fields that the operator knows and the CRD does not.
    missing: ArcSwap<Vec<String>>,
}

impl Schema {
    /// Looks again; true where something has changed.
    ///
    /// # Errors
    /// See [`SchemaError`]; what was known stays.
    pub async fn look(&self, client: &Client, metrics: &Metrics) -> Result<bool, SchemaError> {
        let request = http::Request::get(DOCUMENT).body(Vec::new()).map_err(kube::Error::HttpError);
        let document: Value = match client.request(request.map_err(SchemaError::Api)?).await {
            Ok(document) => document,
            Err(kube::Error::Api(e)) if e.code == 404 => return Err(SchemaError::Missing),
            Err(error) => return Err(SchemaError::Api(error)),
        };
        let theirs = paths(document.pointer(TYPE).ok_or(SchemaError::Missing)?);
        let ours = own_paths()?;
        let missing: Vec<_> = ours.difference(&theirs).cloned().collect();
        let more: Vec<_> = theirs.difference(&ours).cloned().collect();
        let differences = i64::try_from(missing.len() + more.len()).unwrap_or(i64::MAX);
        if differences > 0 && differences != metrics.schema_differences.get() {
            tracing::warn!(
                ?missing,
                ?more,
                "the schema of the cluster's CRD is not the operator's"
            );
        }
        metrics.schema_differences.set(differences);
        let changed = missing != **self.missing.load();
        self.missing.store(Arc::new(missing));
        Ok(changed)
    }

    /// Fields that the operator knows and the CRD does not.
    #[must_use]
    pub fn missing(&self) -> Arc<Vec<String>> {
        self.missing.load_full()
    }

    /// Takes out of a status what the CRD does not know: the API server would refuse it whole.
    pub fn strip(&self, status: &mut Value) {
        for path in self.missing.load().iter() {
            let Some(path) = path.strip_prefix("status.") else { continue };
            let (parent, last) = path.rsplit_once('.').unwrap_or(("", path));
            let mut parent = parent.split('.').filter(|p| !p.is_empty());
            let at = parent.try_fold(&mut *status, |at, name| at.get_mut(name));
            if let Some(Value::Object(map)) = at {
                map.remove(last);
            }
        }
    }
}

fn own_paths() -> Result<BTreeSet<String>, SchemaError> {
    let crd = serde_json::to_value(crd()?).unwrap_or_default();
    Ok(paths(crd.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap_or(&Value::Null)))
}

/// The fields of spec and status, each as a path.
fn paths(schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for part in ["spec", "status"] {
        walk(&schema["properties"][part], part, &mut found);
    }
    found
}

fn walk(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    if !schema.is_object() {
        return;
    }
    found.insert(path.to_owned());
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        walk(below, &format!("{path}.{name}"), found);
    }
    if schema["items"].is_object() {
        walk(&schema["items"], &format!("{path}[]"), found);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn our_own_schema_has_the_fields_that_people_use() {
        let ours = own_paths().unwrap();
        for path in
            ["spec.delivery.heartbeatSeconds", "status.conditions[].type", "spec.brokers.replicas"]
        {
            assert!(ours.contains(path), "{path} not in {ours:#?}");
        }
    }

    #[test]
    fn a_status_loses_what_the_crd_does_not_know() {
        let schema = Schema::default();
        schema.missing.store(Arc::new(vec![
            "spec.x".into(),
            "status.url".into(),
            "status.stream.epoch".into(),
        ]));
        let mut status = json!({"url": "u", "stream": {"epoch": "e", "name": "n"}});
        schema.strip(&mut status);
        assert_eq!(status, json!({"stream": {"name": "n"}}));
    }
}

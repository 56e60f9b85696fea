//! The CustomResourceDefinition of the EventChannel: the derived one, corrected and with CEL rules. Pure.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::{
    EventChannel,
    rules::{RULES, Rule},
};

/// JSON pointer to the schema of the only version.
pub(super) const CRD_SCHEMA_POINTER: &str = "/spec/versions/0/schema/openAPIV3Schema";

/// `status.observedGeneration` of a channel that no operator has seen.
const NEVER_OBSERVED: i64 = -1;

/// Why the CRD cannot be built: a bug in the types or in [`RULES`], which a test finds.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// The schema has no property at the path of a rule.
    #[error("no property {0} in the schema")]
    NoProperty(&'static str),
    /// The corrected value is not a CRD.
    #[error("not a CustomResourceDefinition")]
    Json(#[from] serde_json::Error),
    /// The CRD cannot be written as YAML.
    #[error("failed to write the CRD as YAML")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

/// The CRD. Do not use the derived one: it lacks the rules and has keywords that the API server rejects or that break defaults.
///
/// # Errors
/// See [`CrdError`].
pub fn crd() -> Result<CustomResourceDefinition, CrdError> {
    let mut value = serde_json::to_value(EventChannel::crd())?;
    remove_keywords(&mut value);
    describe_defaults(&mut value);
    // Knative then takes an EventChannel as the target of sources, SinkBindings and Triggers, by its status.address.
    value["metadata"]["labels"] = json!({"duck.knative.dev/addressable": "true"});
    let schema = value.pointer_mut(CRD_SCHEMA_POINTER).ok_or(CrdError::NoProperty(""))?;
    for rule in RULES {
        add_rule(schema, rule)?;
    }
    // Until the operator has written a status, nobody may take the channel for ready (kstatus, Flux, Helm 4).
    property(schema, "status")?["default"] = json!({"observedGeneration": NEVER_OBSERVED});
    let conditions = property(schema, "status.conditions")?;
    conditions["x-kubernetes-list-type"] = json!("map");
    conditions["x-kubernetes-list-map-keys"] = json!(["type"]);
    Ok(serde_json::from_value(value)?)
}

/// The CRD as YAML, for `kubectl apply --server-side`.
///
/// # Errors
/// See [`CrdError`].
pub fn crd_yaml() -> Result<String, CrdError> {
    Ok(serde_saphyr::to_string(&crd()?)?)
}

fn add_rule(schema: &mut Value, rule: &Rule) -> Result<(), CrdError> {
    let at = property(schema, rule.path)?;
    let rule = json!({"rule": rule.rule, "message": rule.message});
    match &mut at["x-kubernetes-validations"] {
        Value::Array(rules) => rules.push(rule),
        none => *none = json!([rule]),
    }
    Ok(())
}

fn property<'a>(schema: &'a mut Value, path: &'static str) -> Result<&'a mut Value, CrdError> {
    path.split('.').filter(|name| !name.is_empty()).try_fold(schema, |at, name| {
        at.get_mut("properties")
            .and_then(|properties| properties.get_mut(name))
            .ok_or(CrdError::NoProperty(path))
    })
}

/// Removes keywords that the API server does not support.
///
/// - `nullable`: with it the API server stores `null`, which templates render for an empty value, and the scale subresource rejects the
///   object. Without it `null` means absent, and the default applies.
/// - `format` of unsigned integers: Kubernetes warns about it, and the bounds say the same.
fn remove_keywords(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("nullable").is_some_and(Value::is_boolean) {
                map.remove("nullable");
            }
            if map.get("format").and_then(Value::as_str).is_some_and(|f| f.starts_with("uint")) {
                map.remove("format");
            }
            map.values_mut().for_each(remove_keywords);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_keywords),
        _ => {}
    }
}

/// Appends the default to each description, because `kubectl explain` does not show defaults.
fn describe_defaults(value: &mut Value) {
    // An object is a property named `default`, not a default.
    let own = value.get("default").filter(|d| !d.is_object() && **d != json!([])).cloned();
    if let (Some(default), Some(text)) = (own, value.get("description").and_then(Value::as_str)) {
        let shown = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        value["description"] = json!(format!("{text} Default: {shown}"));
    }
    match value {
        Value::Object(map) => map
            .iter_mut()
            .filter(|(key, _)| *key != "default")
            .for_each(|(_, v)| describe_defaults(v)),
        Value::Array(items) => items.iter_mut().for_each(describe_defaults),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crd_has_only_keywords_that_the_api_server_knows() {
        let text = serde_json::to_string(&crd().unwrap()).unwrap();
        assert!(!text.contains("\"nullable\"") && !text.contains("\"uint"), "{text}");
        assert!(serde_json::to_string(&EventChannel::crd()).unwrap().contains("uint"));
        assert!(text.contains("1 to 300. Default: 15\""), "defaults are described");
        assert_eq!(text.matches("\"rule\":").count(), RULES.len());
    }
}

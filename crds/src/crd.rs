//! The CustomResourceDefinitions: the derived ones, corrected and with CEL rules. Pure.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::{
    channel::{self, EventChannel},
    json_schema,
    pool::{self, BrokerPool},
    rules::{self, Rule},
};

/// JSON pointer to the schema of the only version.
const SCHEMA_POINTER: &str = "/spec/versions/0/schema/openAPIV3Schema";

/// `status.observedGeneration` of an object that no operator has seen.
const NEVER_OBSERVED: i64 = -1;

/// A custom resource, and its definition. Do not use the derived definition: it lacks the rules and has keywords that the API server
/// rejects or that break defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crd {
    /// A channel.
    EventChannel,
    /// Brokers that serve many channels.
    BrokerPool,
}

/// Why the CRD cannot be built: a bug in the types or in the rules, which a test finds.
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

impl Crd {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::EventChannel, Self::BrokerPool];

    /// Its `kind`.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::EventChannel => "EventChannel",
            Self::BrokerPool => "BrokerPool",
        }
    }

    /// The CustomResourceDefinition.
    ///
    /// # Errors
    /// See [`CrdError`].
    pub fn definition(self) -> Result<CustomResourceDefinition, CrdError> {
        let mut value = serde_json::to_value(self.derived())?;
        remove_keywords(&mut value);
        describe_defaults(&mut value);
        let schema = value.pointer_mut(SCHEMA_POINTER).ok_or(CrdError::NoProperty(""))?;
        for rule in self.rules() {
            add_rule(schema, rule)?;
        }
        // Until the operator has written a status, nobody may take the object for ready (kstatus, Flux, Helm 4).
        property(schema, "status")?["default"] = json!({"observedGeneration": NEVER_OBSERVED});
        let conditions = property(schema, "status.conditions")?;
        conditions["x-kubernetes-list-type"] = json!("map");
        conditions["x-kubernetes-list-map-keys"] = json!(["type"]);
        match self {
            // Knative then takes an EventChannel as the target of sources, SinkBindings and Triggers, by its status.address.
            Self::EventChannel => {
                value["metadata"]["labels"] = json!({"duck.knative.dev/addressable": "true"});
            }
            Self::BrokerPool => {
                let brokers = &mut property(schema, "spec.brokers")?["properties"];
                brokers.as_object_mut().and_then(|fields| fields.remove("pool"));
            }
        }
        Ok(serde_json::from_value(value)?)
    }

    /// The definition as YAML, for `kubectl apply --server-side`.
    ///
    /// # Errors
    /// See [`CrdError`].
    pub fn yaml(self) -> Result<String, CrdError> {
        Ok(serde_saphyr::to_string(&self.definition()?)?)
    }

    /// The definition as JSON Schema (draft 7), for editors and for tools that check manifests without a cluster. Unknown fields are errors. It
    /// lacks the CEL rules, which only an API server checks.
    ///
    /// # Errors
    /// See [`CrdError`].
    pub fn json_schema(self) -> Result<Value, CrdError> {
        Ok(json_schema::of(self.kind(), self.open_api_schema()?))
    }

    /// The schema of its objects, as in the definition.
    ///
    /// # Errors
    /// See [`CrdError`].
    pub fn open_api_schema(self) -> Result<Value, CrdError> {
        let mut definition = serde_json::to_value(self.definition()?)?;
        let schema = definition.pointer_mut(SCHEMA_POINTER).ok_or(CrdError::NoProperty(""))?;
        Ok(schema.take())
    }

    /// The CEL rules.
    pub fn rules(self) -> impl Iterator<Item = &'static Rule> {
        let own = match self {
            Self::EventChannel => channel::rules::RULES,
            Self::BrokerPool => pool::rules::RULES,
        };
        rules::SHARED.iter().chain(own)
    }

    fn derived(self) -> CustomResourceDefinition {
        match self {
            Self::EventChannel => EventChannel::crd(),
            Self::BrokerPool => BrokerPool::crd(),
        }
    }
}

/// All definitions as documents of YAML.
///
/// # Errors
/// See [`CrdError`].
pub fn crds_yaml() -> Result<String, CrdError> {
    Ok(Crd::ALL.into_iter().map(Crd::yaml).collect::<Result<Vec<_>, _>>()?.join("---\n"))
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
    fn the_crds_have_only_keywords_that_the_api_server_knows() {
        for crd in Crd::ALL {
            let text = serde_json::to_string(&crd.definition().unwrap()).unwrap();
            assert!(!text.contains("\"nullable\"") && !text.contains("\"uint"), "{text}");
            assert!(serde_json::to_string(&crd.derived()).unwrap().contains("uint"));
            assert_eq!(text.matches("\"rule\":").count(), crd.rules().count());
        }
        let text = serde_json::to_string(&Crd::EventChannel.definition().unwrap()).unwrap();
        assert!(text.contains("1 to 300. Default: 15\""), "defaults are described");
    }

    #[test]
    fn the_brokers_of_a_pool_have_no_pool() {
        let has_pool = |crd: Crd| {
            let mut schema = crd.open_api_schema().unwrap();
            let fields = &property(&mut schema, "spec.brokers").unwrap()["properties"];
            assert!(fields.get("replicas").is_some());
            fields.get("pool").is_some()
        };
        assert_eq!(Crd::ALL.map(has_pool), [true, false]);
    }
}

//! The definition of the EventChannel, as the API server takes it. Pure.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::{
    EventChannel,
    rules::{RULES, Rule},
};

/// Where the schema of the one version stands.
const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema";

/// Why there is no definition: a mistake in the types or in [`RULES`], which a test finds.
#[derive(Debug, thiserror::Error)]
pub enum BadDefinition {
    /// A rule stands where the schema has nothing.
    #[error("no property {0} in the schema")]
    NoProperty(&'static str),
    /// What was made is no definition.
    #[error("not a definition")]
    Json(#[from] serde_json::Error),
    /// It cannot be written as YAML.
    #[error("cannot be written as YAML")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

/// The definition. Never use the derived one: it lacks the rules, and would be stored with `null`s and refused in parts.
///
/// # Errors
/// See [`BadDefinition`].
pub fn crd() -> Result<CustomResourceDefinition, BadDefinition> {
    let mut value = serde_json::to_value(EventChannel::crd())?;
    tidy(&mut value);
    explain(&mut value);
    let schema = value.pointer_mut(SCHEMA).ok_or(BadDefinition::NoProperty(""))?;
    for rule in RULES {
        add(schema, rule)?;
    }
    let conditions = property(schema, "status.conditions")?;
    conditions["x-kubernetes-list-type"] = json!("map");
    conditions["x-kubernetes-list-map-keys"] = json!(["type"]);
    Ok(serde_json::from_value(value)?)
}

/// The definition as YAML, for `kubectl apply --server-side`.
///
/// # Errors
/// See [`BadDefinition`].
pub fn crd_yaml() -> Result<String, BadDefinition> {
    Ok(serde_saphyr::to_string(&crd()?)?)
}

fn add(schema: &mut Value, rule: &Rule) -> Result<(), BadDefinition> {
    let at = property(schema, rule.path)?;
    let rule = json!({"rule": rule.rule, "message": rule.message});
    match &mut at["x-kubernetes-validations"] {
        Value::Array(rules) => rules.push(rule),
        none => *none = json!([rule]),
    }
    Ok(())
}

fn property<'a>(schema: &'a mut Value, path: &'static str) -> Result<&'a mut Value, BadDefinition> {
    path.split('.').filter(|name| !name.is_empty()).try_fold(schema, |at, name| {
        at.get_mut("properties")
            .and_then(|properties| properties.get_mut(name))
            .ok_or(BadDefinition::NoProperty(path))
    })
}

/// Takes out what says nothing to the API server, or harms.
///
/// - `nullable`: with it a `null`, as templates render an empty value, is stored, and the scale subresource refuses the object;
///   without it `null` means absent, and defaults apply.
/// - `format` of unsigned integers, which Kubernetes does not know and warns about; the bounds say the same.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("nullable").is_some_and(Value::is_boolean) {
                map.remove("nullable");
            }
            if map.get("format").and_then(Value::as_str).is_some_and(|f| f.starts_with("uint")) {
                map.remove("format");
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Says the default in the description: `kubectl explain` shows nothing else of it.
fn explain(value: &mut Value) {
    // a property may be called `default`, too: then it is an object
    let own = value.get("default").filter(|d| !d.is_object() && **d != json!([])).cloned();
    if let (Some(default), Some(text)) = (own, value.get("description").and_then(Value::as_str)) {
        let shown = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        value["description"] = json!(format!("{text} Default: {shown}"));
    }
    match value {
        Value::Object(map) => {
            map.iter_mut().filter(|(key, _)| *key != "default").for_each(|(_, v)| explain(v))
        }
        Value::Array(items) => items.iter_mut().for_each(explain),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_says_nothing_that_the_api_server_does_not_know() {
        let text = serde_json::to_string(&crd().unwrap()).unwrap();
        assert!(!text.contains("\"nullable\"") && !text.contains("\"uint"), "{text}");
        assert!(serde_json::to_string(&EventChannel::crd()).unwrap().contains("uint"));
        assert!(text.contains("1 to 300. Default: 15\""), "explained");
        assert_eq!(text.matches("\"rule\":").count(), RULES.len());
    }
}

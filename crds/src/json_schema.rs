//! Schemas of custom resources as JSON Schema, for editors and for tools that check manifests without a cluster. Pure.

use serde_json::{Map, Value, json};

use crate::GROUP;

/// Keywords whose value is a schema, and those whose value is a list of schemas.
const SCHEMA: [&str; 3] = ["additionalProperties", "items", "not"];
const SCHEMAS: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// JSON Schema (draft 7) of the objects of a kind, from the schema in its CRD.
pub(crate) fn of(kind: &str, mut schema: Value) -> Value {
    convert(&mut schema);
    let version = format!("{GROUP}/v1alpha1");
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["properties"]["apiVersion"] = json!({"type": "string", "const": version});
    schema["properties"]["kind"] = json!({"type": "string", "const": kind});
    schema["properties"]["metadata"] = json!({"type": "object"});
    schema["required"] = json!(["apiVersion", "kind", "metadata"]);
    schema
}

/// Closes objects, and removes what only Kubernetes knows.
fn convert(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    let is_open = map.contains_key("x-kubernetes-preserve-unknown-fields");
    map.retain(|key, _| !key.starts_with("x-kubernetes-"));
    if map.contains_key("properties") && !is_open && !map.contains_key("additionalProperties") {
        map.insert("additionalProperties".into(), json!(false));
    }
    let properties = map.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flat_map(Map::values_mut).for_each(convert);
    for key in SCHEMA {
        map.get_mut(key).into_iter().for_each(convert);
    }
    for key in SCHEMAS {
        let list = map.get_mut(key).and_then(Value::as_array_mut);
        list.into_iter().flatten().for_each(convert);
    }
}

#[cfg(test)]
mod tests {
    use crate::crd::Crd;

    #[test]
    fn objects_are_closed_unless_the_crd_leaves_them_open() {
        let schema = Crd::EventChannel.json_schema().unwrap();
        let text = schema.to_string();
        assert!(!text.contains("x-kubernetes-"), "{text}");
        let spec = &schema["properties"]["spec"];
        assert_eq!(spec["additionalProperties"], false);
        assert_eq!(spec["properties"]["delivery"]["additionalProperties"], false);
        let template = &spec["properties"]["brokers"]["properties"]["podTemplate"];
        assert!(template.get("additionalProperties").is_none(), "{template}");
        let labels = &spec["properties"]["exposure"]["properties"]["service"]["properties"];
        assert_eq!(labels["labels"]["additionalProperties"]["type"], "string");
    }
}

//! Detects changes that other clients made to the operator's fields of an object, and builds patches for what server-side apply
//! cannot undo (ADR 12). Pure.
//!
//! The operator owns every field that it declares, every list that it declares (all items), and in a pod template the fields
//! of `OWNED_IF_UNSET`. Every other field belongs to the client that set it.

use kube::core::DynamicObject;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::kind::Kind;

/// The lists of type `map`, with the key fields of their items. Server-side apply merges such lists by key: it keeps items that
/// others added, and it adds an item again whose key somebody changed.
const LIST_MAP_KEYS: [(&str, &[&str]); 9] = [
    ("containers", &["name"]),
    ("env", &["name"]),
    ("imagePullSecrets", &["name"]),
    ("initContainers", &["name"]),
    ("ownerReferences", &["uid"]),
    // By name and not, as server-side apply does, by number: a port with a changed number is still the same port.
    ("ports", &["name"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("volumeMounts", &["mountPath"]),
    ("volumes", &["name"]),
];

/// Fields of a pod and of its containers that the operator owns even where it declares none, so that additions are removed.
/// `brokers.podTemplate` is the place for additions.
const OWNED_IF_UNSET: [(&str, &[&str]); 3] = [
    ("", &["initContainers", "volumes"]),
    ("containers", &CONTAINER_FIELDS),
    ("initContainers", &CONTAINER_FIELDS),
];
const CONTAINER_FIELDS: [&str; 8] =
    ["args", "command", "env", "envFrom", "lifecycle", "ports", "volumeDevices", "volumeMounts"];

/// Fields that a reset keeps although the operator does not declare them: allocated ports, and the number of replicas.
const KEPT_ON_RESET: [&str; 2] = ["nodePort", "replicas"];

/// Hash of the fields of `live` that the operator owns. It changes when one of them changes, and only then. `desired` is the object
/// that was applied. The values are those of `live`, because the API server normalises them (`1000m` to `1`).
#[must_use]
pub fn fingerprint(kind: Kind, desired: &Value, live: &DynamicObject) -> [u8; 32] {
    let mut live = live.clone();
    hash_data(&mut live);
    let owned = project("", &declared(kind, desired), &json!(live));
    Sha256::digest(owned.to_string()).into()
}

/// Replaces the values of `data` by their hashes. Caches keep the hashes: the values are large and only compared.
pub fn hash_data(object: &mut DynamicObject) {
    let data = object.data.get_mut("data").and_then(Value::as_object_mut);
    for value in data.into_iter().flat_map(Map::values_mut).filter(|v| !is_hash(v)) {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let digest: String =
            Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        *value = json!({ "sha256": digest });
    }
}

fn is_hash(value: &Value) -> bool {
    value.get("sha256").is_some()
}

/// The merge patch that removes from `live` what others added to lists of the operator. `None` if there is nothing to remove.
#[must_use]
pub fn prune(kind: Kind, desired: &Value, live: &DynamicObject) -> Option<Value> {
    patch(kind, desired, live, Mode::Prune)
}

/// The merge patch that restores every declared field and removes all others from `spec`. For an object that others changed so
/// that the API server rejects the operator's fields beside theirs (a port with two names, a volume with two sources). Addresses,
/// allocated ports, `replicas`, and the labels and annotations of others stay.
#[must_use]
pub fn reset(kind: Kind, desired: &Value, live: &DynamicObject) -> Option<Value> {
    patch(kind, desired, live, Mode::Reset)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Prune,
    Reset,
}

fn patch(kind: Kind, desired: &Value, live: &DynamicObject, mode: Mode) -> Option<Value> {
    let now = json!(live);
    let mut target = correct(kind, mode, false, "", &declared(kind, desired), &now);
    target["metadata"]["resourceVersion"] = now["metadata"]["resourceVersion"].clone();
    let mut patch = difference(&now, &target)?;
    // A write in between makes the patch fail: the next reconciliation sees it.
    patch["metadata"]["resourceVersion"] = json!(live.metadata.resource_version);
    Some(patch)
}

/// `desired`, with `null` for the fields that must be absent.
fn declared(kind: Kind, desired: &Value) -> Value {
    let mut declared = desired.clone();
    let pod = declared.pointer_mut("/spec/template/spec");
    if let Some(pod) = pod.filter(|_| kind == Kind::Deployment) {
        for (list, fields) in OWNED_IF_UNSET {
            let items: Vec<&mut Value> = match list {
                "" => vec![&mut *pod],
                list => pod[list].as_array_mut().into_iter().flatten().collect(),
            };
            for item in items.into_iter().filter_map(Value::as_object_mut) {
                for field in fields {
                    item.entry(*field).or_insert(Value::Null);
                }
            }
        }
    }
    declared
}

/// The key fields of the list named `list`. `None` if it is no list map, or if a desired item lacks a key.
fn keys(list: &str, desired: &[Value]) -> Option<&'static [&'static str]> {
    let (_, keys) = LIST_MAP_KEYS.iter().find(|(name, _)| *name == list)?;
    desired.iter().all(|item| keys.iter().all(|key| item.get(key).is_some())).then_some(*keys)
}

fn have_same_key(keys: &[&str], a: &Value, b: &Value) -> bool {
    keys.iter().all(|key| a.get(key) == b.get(key))
}

/// Index of the item of `live` with the key of `desired`.
fn find(keys: &[&str], desired: &Value, live: &[Value]) -> Option<usize> {
    live.iter().position(|item| have_same_key(keys, desired, item))
}

/// Whether items that others added may stay: further owners do no harm.
fn allows_additions(list: &str) -> bool {
    list == "ownerReferences"
}

/// Whether the API server appended to a list: a Service in both IP families gets the second one.
fn is_completed(list: &str, desired: &[Value], live: &[Value]) -> bool {
    list == "ipFamilies" && live.starts_with(desired)
}

/// The part of `live` that `desired` declares.
fn project(name: &str, desired: &Value, live: &Value) -> Value {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => desired
            .iter()
            .map(|(key, value)| {
                (key.clone(), project(key, value, live.get(key).unwrap_or(&Value::Null)))
            })
            .collect(),
        (Value::Array(desired), Value::Array(live)) => {
            let Some(keys) = keys(name, desired) else { return json!(live) };
            let found: Vec<_> = desired.iter().map(|item| find(keys, item, live)).collect();
            let owned = desired
                .iter()
                .zip(&found)
                .map(|(item, at)| at.map_or(Value::Null, |at| project("", item, &live[at])));
            let others = live
                .iter()
                .enumerate()
                .filter(|(at, _)| !allows_additions(name) && !found.contains(&Some(*at)));
            owned.chain(others.map(|(_, item)| item.clone())).collect()
        }
        // The API server omits empty lists and maps.
        (_, live) if is_empty(live) => Value::Null,
        (_, live) => live.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
}

/// The value that `live` should have. `drops` removes the fields that `desired` does not declare.
fn correct(
    kind: Kind,
    mode: Mode,
    drops: bool,
    name: &str,
    desired: &Value,
    live: &Value,
) -> Value {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => {
            let mut target = live.clone();
            if drops {
                target.retain(|key, _| KEPT_ON_RESET.contains(&&**key));
            }
            for (key, value) in desired {
                let drops = mode == Mode::Reset && drops_undeclared(kind, drops, key);
                match (value, live.get(key)) {
                    (Value::Null, _) => target.remove(key),
                    (value, live) => {
                        let live = live.unwrap_or(&Value::Null);
                        target.insert(key.clone(), correct(kind, mode, drops, key, value, live))
                    }
                };
            }
            Value::Object(target)
        }
        (Value::Array(desired), Value::Array(live)) => match keys(name, desired) {
            Some(keys) => {
                let found: Vec<_> = desired.iter().map(|item| find(keys, item, live)).collect();
                let owned = desired.iter().zip(&found).map(|(item, at)| {
                    let live = at.map_or(&Value::Null, |at| &live[at]);
                    correct(kind, mode, drops, "", item, live)
                });
                let kept = |at| {
                    mode == Mode::Prune && allows_additions(name) && !found.contains(&Some(at))
                };
                let others = live.iter().enumerate().filter(|(at, _)| kept(*at));
                owned.chain(others.map(|(_, item)| item.clone())).collect()
            }
            None if mode == Mode::Prune && desired.len() == live.len() => json!(live),
            None if mode == Mode::Prune && is_completed(name, desired, live) => json!(live),
            None => without_nulls(&json!(desired)),
        },
        // Server-side apply has set the value; the API server may have normalised it.
        (_, live) if mode == Mode::Prune && !live.is_null() => live.clone(),
        (desired, _) => without_nulls(desired),
    }
}

/// Whether a reset removes undeclared fields below `key`. It keeps the addresses of a Service, which are siblings of its ports, and
/// the metadata of a pod template, which is a sibling of its spec.
fn drops_undeclared(kind: Kind, drops: bool, key: &str) -> bool {
    match key {
        "metadata" => false,
        "spec" => drops || kind != Kind::Service,
        "ports" => true,
        _ => drops,
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            kept.map(|(key, value)| (key.clone(), without_nulls(value))).collect()
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// The merge patch (RFC 7386) from `old` to `new`.
fn difference(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let gone = gone.map(|key| (key.clone(), Value::Null));
    let changed = after.iter().filter_map(|(key, value)| {
        let patch =
            before.get(key).map_or_else(|| Some(value.clone()), |old| difference(old, value));
        Some((key.clone(), patch?))
    });
    let patch: Map<_, _> = gone.chain(changed).collect();
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests;

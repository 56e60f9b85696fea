//! What of a live object is ours, and the way back where server-side apply does not lead there. Pure. ADR 12.
//!
//! Ours is every field that we declare, every list that we declare, whole, and of a pod template what [`OURS_IF_ABSENT`] names.
//! Everything else belongs to whoever set it.

use kube::core::DynamicObject;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::kind::Kind;

/// Lists whose items are matched by these fields. Server-side apply merges such lists, so what somebody adds would stay, and an
/// item of ours whose key somebody changes would stand beside the one that comes back.
const KEYS: [(&str, &[&str]); 9] = [
    ("containers", &["name"]),
    ("env", &["name"]),
    ("imagePullSecrets", &["name"]),
    ("initContainers", &["name"]),
    ("ownerReferences", &["uid"]),
    // not by number, as server-side apply does: a port that got another number is still the one of that name
    ("ports", &["name"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("volumeMounts", &["mountPath"]),
    ("volumes", &["name"]),
];

/// Fields of a pod, and of each of its containers, that must be absent where we declare none: what people add to a pod stands in
/// `brokers.podTemplate`.
const OURS_IF_ABSENT: [(&str, &[&str]); 3] = [
    ("", &["initContainers", "volumes"]),
    ("containers", &CONTAINER),
    ("initContainers", &CONTAINER),
];
const CONTAINER: [&str; 8] =
    ["args", "command", "env", "envFrom", "lifecycle", "ports", "volumeDevices", "volumeMounts"];

/// Fields that others fill in where everything else is put back: allocated ports, the number that an autoscaler chose.
const KEPT: [&str; 2] = ["nodePort", "replicas"];

/// A hash of what is ours in `live`: it changes when somebody changes that, and with nothing else. `wanted` is what was applied;
/// values are those of the API server, which writes `1000m` as `1` and adds defaults.
#[must_use]
pub fn fingerprint(kind: Kind, wanted: &Value, live: &DynamicObject) -> [u8; 32] {
    let mut live = live.clone();
    hash_data(&mut live);
    let ours = project("", &declared(kind, wanted), &json!(live));
    Sha256::digest(ours.to_string()).into()
}

/// Replaces the values of `data` by their hashes, as caches keep them: they are large, and only compared.
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

/// The merge patch that takes out of `live` what others put into lists of ours; none where there is nothing.
#[must_use]
pub fn prune(kind: Kind, wanted: &Value, live: &DynamicObject) -> Option<Value> {
    patch(kind, wanted, live, Way::Prune)
}

/// The merge patch that puts everything that we declare back, and takes out of the specification what we do not: for an object
/// that others changed so that the API server refuses it with our fields beside theirs (two names of one port, two kinds of one
/// volume). Addresses, allocated ports, `replicas`, and the labels and annotations of others stay.
#[must_use]
pub fn reset(kind: Kind, wanted: &Value, live: &DynamicObject) -> Option<Value> {
    patch(kind, wanted, live, Way::Reset)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Prune,
    Reset,
}

fn patch(kind: Kind, wanted: &Value, live: &DynamicObject, way: Way) -> Option<Value> {
    let now = json!(live);
    let mut target = mend(kind, way, false, "", &declared(kind, wanted), &now);
    // ours for ever, or the API server's own
    target["metadata"]["resourceVersion"] = now["metadata"]["resourceVersion"].clone();
    let mut patch = difference(&now, &target)?;
    // A write that came in between is seen first.
    patch["metadata"]["resourceVersion"] = json!(live.metadata.resource_version);
    Some(patch)
}

/// `wanted`, with `null` for what must be absent.
fn declared(kind: Kind, wanted: &Value) -> Value {
    let mut declared = wanted.clone();
    let pod = declared.pointer_mut("/spec/template/spec");
    if let Some(pod) = pod.filter(|_| kind == Kind::Deployment) {
        for (list, fields) in OURS_IF_ABSENT {
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

/// The keys of `list`, where every item that we want has them.
fn keys(list: &str, wanted: &[Value]) -> Option<&'static [&'static str]> {
    let (_, keys) = KEYS.iter().find(|(name, _)| *name == list)?;
    wanted.iter().all(|item| keys.iter().all(|key| item.get(key).is_some())).then_some(*keys)
}

fn same(keys: &[&str], a: &Value, b: &Value) -> bool {
    keys.iter().all(|key| a.get(key) == b.get(key))
}

/// Index of the item of `live` that is `wanted`.
fn find(keys: &[&str], wanted: &Value, live: &[Value]) -> Option<usize> {
    live.iter().position(|item| same(keys, wanted, item))
}

/// Owners that others add hurt nobody.
fn tolerates_others(list: &str) -> bool {
    list == "ownerReferences"
}

/// What of `live` stands where we declare something.
fn project(name: &str, wanted: &Value, live: &Value) -> Value {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => wanted
            .iter()
            .map(|(key, value)| {
                (key.clone(), project(key, value, live.get(key).unwrap_or(&Value::Null)))
            })
            .collect(),
        (Value::Array(wanted), Value::Array(live)) => {
            let Some(keys) = keys(name, wanted) else { return json!(live) };
            let found: Vec<_> = wanted.iter().map(|item| find(keys, item, live)).collect();
            let ours = wanted
                .iter()
                .zip(&found)
                .map(|(item, at)| at.map_or(Value::Null, |at| project("", item, &live[at])));
            let others = live
                .iter()
                .enumerate()
                .filter(|(at, _)| !tolerates_others(name) && !found.contains(&Some(*at)));
            ours.chain(others.map(|(_, item)| item.clone())).collect()
        }
        // The API server leaves empty lists and maps out.
        (_, live) if is_empty(live) => Value::Null,
        (_, live) => live.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
}

/// What `live` is to become. `drops`: fields that we do not declare go.
fn mend(kind: Kind, way: Way, drops: bool, name: &str, wanted: &Value, live: &Value) -> Value {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            let mut target = live.clone();
            if drops {
                target.retain(|key, _| KEPT.contains(&&**key));
            }
            for (key, value) in wanted {
                let drops = way == Way::Reset && goes(kind, drops, key);
                match (value, live.get(key)) {
                    (Value::Null, _) => target.remove(key),
                    (value, live) => {
                        let live = live.unwrap_or(&Value::Null);
                        target.insert(key.clone(), mend(kind, way, drops, key, value, live))
                    }
                };
            }
            Value::Object(target)
        }
        (Value::Array(wanted), Value::Array(live)) => match keys(name, wanted) {
            Some(keys) => {
                let found: Vec<_> = wanted.iter().map(|item| find(keys, item, live)).collect();
                let ours = wanted.iter().zip(&found).map(|(item, at)| {
                    let live = at.map_or(&Value::Null, |at| &live[at]);
                    mend(kind, way, drops, "", item, live)
                });
                let kept =
                    |at| way == Way::Prune && tolerates_others(name) && !found.contains(&Some(at));
                let others = live.iter().enumerate().filter(|(at, _)| kept(*at));
                ours.chain(others.map(|(_, item)| item.clone())).collect()
            }
            None if way == Way::Prune && wanted.len() == live.len() => json!(live),
            None => without_nulls(&json!(wanted)),
        },
        // Server-side apply has set it; the API server may write it in another way.
        (_, live) if way == Way::Prune && !live.is_null() => live.clone(),
        (wanted, _) => without_nulls(wanted),
    }
}

/// Whether what we do not declare goes below `key`. A Service's addresses stand beside its ports, and the labels and annotations
/// of a pod template beside its specification.
fn goes(kind: Kind, drops: bool, key: &str) -> bool {
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

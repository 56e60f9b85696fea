//! What the chart lets its ServiceAccount and the cluster's users do, as a list that a person can read.

use std::fmt::Write as _;

use serde_json::Value;

use super::{text, title};

/// Each role with its rules, and each binding, one right a line.
#[must_use]
pub fn listing(manifests: &[Value]) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("writing to a string");
    for manifest in manifests {
        let title = match text(manifest, "/metadata/namespace") {
            "" => title(manifest),
            namespace => format!("{} in {namespace}", title(manifest)),
        };
        match text(manifest, "/kind") {
            "Role" | "ClusterRole" => {
                line(title);
                for rule in manifest["rules"].as_array().into_iter().flatten() {
                    for (group, resource) in resources(rule) {
                        let group = if group.is_empty() { "core" } else { group };
                        line(format!("  {group}/{resource}: {}", words(&rule["verbs"]).join(" ")));
                    }
                }
            }
            "RoleBinding" | "ClusterRoleBinding" => {
                let subject = &manifest["subjects"][0];
                let (role, account) = (&manifest["roleRef"], text(subject, "/name"));
                let role = format!("{}/{}", text(role, "/kind"), text(role, "/name"));
                line(format!("{title}: {account} of {} is {role}", text(subject, "/namespace")));
            }
            _ => {}
        }
    }
    out
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn resources(rule: &Value) -> Vec<(&str, &str)> {
    let resources = words(&rule["resources"]);
    let groups = words(&rule["apiGroups"]);
    groups.iter().flat_map(|group| resources.iter().map(move |name| (*group, *name))).collect()
}

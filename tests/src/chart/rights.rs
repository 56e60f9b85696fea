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
                        let names = words(&rule["resourceNames"]).join(" ");
                        let only = if names.is_empty() { names } else { format!(" of {names}") };
                        let verbs = words(&rule["verbs"]).join(" ");
                        line(format!("  {group}/{resource}: {verbs}{only}"));
                    }
                }
            }
            "RoleBinding" | "ClusterRoleBinding" => {
                let role = &manifest["roleRef"];
                let role = format!("{}/{}", text(role, "/kind"), text(role, "/name"));
                match manifest["subjects"].as_array().map(Vec::as_slice) {
                    Some([subject]) => {
                        let (account, namespace) =
                            (text(subject, "/name"), text(subject, "/namespace"));
                        line(format!("{title}: {account} of {namespace} is {role}"));
                    }
                    None => line(format!("{title}: whom the operator names is {role}")),
                    Some(subjects) => line(format!("{title}: {subjects:?} are {role}")),
                }
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

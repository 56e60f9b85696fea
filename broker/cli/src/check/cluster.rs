//! The cluster: its version, the definitions of Eventcast, the rights of the user.

use eventcast_crds::crd::Crd;
use serde_json::Value;

use super::{Finding, Section, page};
use crate::kubernetes::{ApiError, Cluster, Permission};

/// The oldest minor version of Kubernetes 1 that the chart accepts.
const OLDEST_MINOR: u32 = 30;
/// What is defined, as soon as it is served. Every user may read it.
const RESOURCES: &str = "/apis/eventcast.dev/v1alpha1";
/// The schemas of the definitions, some seconds later.
const SCHEMAS: &str = "/openapi/v3/apis/eventcast.dev/v1alpha1";

/// What an installation of the chart creates.
const INSTALL_PERMISSIONS: [Permission; 13] = [
    create("apiextensions.k8s.io", "customresourcedefinitions"),
    create("rbac.authorization.k8s.io", "clusterroles"),
    create("rbac.authorization.k8s.io", "clusterrolebindings"),
    create("rbac.authorization.k8s.io", "roles"),
    create("rbac.authorization.k8s.io", "rolebindings"),
    create("apps", "deployments"),
    create("apps", "statefulsets"),
    create("policy", "poddisruptionbudgets"),
    create("networking.k8s.io", "networkpolicies"),
    create("", "serviceaccounts"),
    create("", "services"),
    create("", "configmaps"),
    create("", "secrets"),
];

/// What `status` and `check` read.
const VIEW_PERMISSIONS: [Permission; 4] = [
    Permission { verb: "get", group: "eventcast.dev", resource: "eventchannels" },
    Permission { verb: "list", group: "", resource: "pods" },
    Permission { verb: "list", group: "", resource: "events" },
    create("", "pods/portforward"),
];

const fn create(group: &'static str, resource: &'static str) -> Permission {
    Permission { verb: "create", group, resource }
}

/// The API server and its version. Returns whether it answers.
pub(crate) async fn server(cluster: &Cluster, section: &mut Section) -> bool {
    let version = match cluster.document("/version").await {
        Ok(version) => version,
        Err(error) => {
            let what = format!("the API server does not answer: {error}");
            section.fail(what, "check the kubeconfig and its context", page::INSTALL);
            return false;
        }
    };
    let shown = version["gitVersion"].as_str().unwrap_or("of an unknown version");
    let minor = version["minor"].as_str().unwrap_or_default();
    let minor: String = minor.chars().take_while(char::is_ascii_digit).collect();
    match minor.parse::<u32>() {
        Ok(minor) if minor < OLDEST_MINOR => {
            let what = format!("Kubernetes {shown} is older than 1.{OLDEST_MINOR}");
            section.fail(what, "upgrade the cluster", page::INSTALL);
        }
        _ => section.ok(format!("Kubernetes {shown} answers")),
    }
    true
}

/// Before an installation: no definitions of another one, and the rights to install.
pub(crate) async fn before_installation(cluster: &Cluster, section: &mut Section) {
    match cluster.document(RESOURCES).await {
        Err(error) if error.code() == Some(404) => {
            section.ok("no other installation has defined EventChannels");
        }
        Err(error) => unknown(section, "the definitions", &error),
        Ok(_) => section.warn(
            "EventChannels are defined already",
            "upgrade that installation, or read how two operators divide channels",
            page::UPGRADING,
        ),
    }
    rights(cluster, section, &INSTALL_PERMISSIONS, None, "install the chart").await;
}

/// After an installation: the definitions are those of this version.
pub(crate) async fn definitions(cluster: &Cluster, section: &mut Section) {
    match cluster.document(RESOURCES).await {
        Ok(_) => {}
        Err(error) if error.code() == Some(404) => {
            let advice = "install the chart, or its CRDs";
            section.fail("EventChannels are not defined", advice, page::INSTALL);
            return;
        }
        Err(error) => return unknown(section, "the definitions", &error),
    }
    let schemas = match cluster.document(SCHEMAS).await {
        Ok(schemas) => schemas,
        Err(error) => return unknown(section, "the schemas of the definitions", &error),
    };
    for crd in Crd::ALL {
        let kind = crd.kind();
        let installed = &schemas["components"]["schemas"][format!("dev.eventcast.v1alpha1.{kind}")];
        let own = crd.definition().ok().and_then(|own| serde_json::to_value(own).ok());
        let own = own.unwrap_or_default();
        let schema = &own["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut missing = Vec::new();
        missing_fields(schema, installed, "", &mut missing);
        if installed.is_null() {
            let advice = "upgrade the CRDs of the chart";
            section.warn(format!("{kind} is not defined"), advice, page::UPGRADING);
        } else if missing.is_empty() {
            section.ok(format!("{kind} is defined as by version {}", env!("CARGO_PKG_VERSION")));
        } else {
            let count = missing.len();
            let first = missing.into_iter().take(3).collect::<Vec<_>>().join(", ");
            section.warn(
                format!(
                    "the definition of {kind} lacks {count} fields of version {}: {first}",
                    env!("CARGO_PKG_VERSION")
                ),
                "upgrade the CRDs: helm leaves them as they are",
                page::UPGRADING,
            );
        }
    }
}

/// The rights that `status` and `check` need in a namespace.
pub(crate) async fn view_rights(cluster: &Cluster, section: &mut Section, namespace: &str) {
    rights(
        cluster,
        section,
        &VIEW_PERMISSIONS,
        Some(namespace),
        "read the channel and its brokers",
    )
    .await;
}

async fn rights(
    cluster: &Cluster,
    section: &mut Section,
    permissions: &[Permission],
    namespace: Option<&str>,
    purpose: &str,
) {
    let mut missing = Vec::new();
    for permission in permissions {
        let Permission { verb, group, resource } = *permission;
        match cluster.allows(*permission, namespace).await {
            Ok(true) => {}
            Ok(false) if group.is_empty() => missing.push(format!("{verb} {resource}")),
            Ok(false) => missing.push(format!("{verb} {resource}.{group}")),
            Err(error) => return unknown(section, "your rights", &error),
        }
    }
    if missing.is_empty() {
        section.ok(format!("you may {purpose}"));
        return;
    }
    let what = format!("you may not {purpose}: {} is missing", missing.join(", "));
    section.fail(what, "ask an administrator of the cluster for it", page::INSTALL);
}

fn unknown(section: &mut Section, what: &str, error: &ApiError) {
    section.warn(format!("{what} cannot be read: {error}"), "", page::INSTALL);
}

/// Paths of fields that `own` has and `installed` lacks.
fn missing_fields(own: &Value, installed: &Value, path: &str, missing: &mut Vec<String>) {
    for (name, field) in own["properties"].as_object().into_iter().flatten() {
        // The API server has these in its own words.
        if path.is_empty() && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        let at = format!("{path}.{name}");
        match &installed["properties"][name] {
            Value::Null => missing.push(at),
            other => missing_fields(field, other, &at, missing),
        }
    }
    if own["items"].is_object() {
        missing_fields(&own["items"], &installed["items"], &format!("{path}[]"), missing);
    }
}

/// The findings about the cluster before an installation.
pub(crate) async fn pre(cluster: &Cluster) -> Vec<Finding> {
    let mut section = Section::new("cluster");
    if server(cluster, &mut section).await {
        before_installation(cluster, &mut section).await;
    }
    section.done()
}

/// The findings about the cluster, and whether channels can be looked at.
pub(crate) async fn installed(cluster: &Cluster, namespace: &str) -> (Vec<Finding>, bool) {
    let mut section = Section::new("cluster");
    let answers = server(cluster, &mut section).await;
    if answers {
        definitions(cluster, &mut section).await;
        view_rights(cluster, &mut section, namespace).await;
    }
    (section.done(), answers)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_that_an_older_definition_lacks_are_named() {
        let field = |inner: Value| json!({"properties": inner});
        let own = field(json!({
            "kind": {}, "spec": field(json!({"a": {}, "list": {"items": field(json!({"b": {}, "c": {}}))}})), "status": {},
        }));
        let installed =
            field(json!({"spec": field(json!({"list": {"items": field(json!({"b": {}}))}}))}));
        let mut missing = Vec::new();
        missing_fields(&own, &installed, "", &mut missing);
        assert_eq!(missing, [".spec.a", ".spec.list[].c", ".status"]);
    }
}

//! The permissions that the operator needs, and a check of which it has.
//!
//! The chart grants exactly this list. A test compares both with the requests that the operator sends.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};

use crate::{
    kind::Kind,
    settings::{OptionalApis, Settings},
};

/// One verb on one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resource, with a subresource after a slash.
    pub resource: String,
    /// The only object; `None` for all.
    pub name: Option<String>,
    /// Verb of the API server, such as `patch`.
    pub verb: &'static str,
}

/// Permissions that are needed in every watched namespace.
#[must_use]
pub fn in_watched_namespaces(settings: &Settings, apis: OptionalApis) -> Vec<Permission> {
    let mut all = Vec::new();
    let mut add = |group, resource: &str, verbs: &[&'static str]| {
        all.extend(verbs.iter().map(|verb| Permission {
            group,
            resource: resource.into(),
            name: None,
            verb,
        }));
    };
    add("eventcast.dev", "eventchannels", &["list", "watch", "patch"]);
    add("eventcast.dev", "brokerpools", &["list", "watch"]);
    for resource in ["eventchannels/status", "brokerpools/status"] {
        add("eventcast.dev", resource, &["patch"]);
    }
    for kind in Kind::ALL.into_iter().filter(|kind| apis.serve(*kind) && settings.manages(*kind)) {
        let (group, _, _, plural) = kind.names();
        if kind.is_watched() {
            add(group, plural, &["get", "list", "watch", "create", "patch"]);
        } else {
            add(group, plural, &["get", "create", "patch"]);
        }
        if kind.is_prunable() {
            add(group, plural, &["delete"]);
        }
    }
    if settings.token_review_binding.is_some() {
        // The operator grants it to brokers, and one can only grant rights that one has.
        add("authorization.k8s.io", "localsubjectaccessreviews", &["create"]);
    }
    add("apps", "deployments/scale", &["patch"]);
    add("", "pods", &["list", "watch"]);
    if settings.autopilot {
        add("", "pods", &["patch"]);
    }
    add("events.k8s.io", "events", &["create", "patch"]);
    all
}

/// Permissions that an operator needs if it watches all namespaces.
#[must_use]
pub fn in_all_namespaces(settings: &Settings, apis: OptionalApis) -> Vec<Permission> {
    // Pools select namespaces by their labels.
    let list = Permission { group: "", resource: "namespaces".into(), name: None, verb: "list" };
    in_watched_namespaces(settings, apis).into_iter().chain([list]).collect()
}

/// Permissions that are needed in the whole cluster, whatever namespaces are watched.
#[must_use]
pub fn in_cluster(settings: &Settings) -> Vec<Permission> {
    let Some(binding) = &settings.token_review_binding else { return Vec::new() };
    let change = Permission {
        group: "rbac.authorization.k8s.io",
        resource: "clusterrolebindings".into(),
        name: Some(binding.clone()),
        verb: "patch",
    };
    // The operator grants it to brokers, and one can only grant rights that one has.
    let review = Permission {
        group: "authentication.k8s.io",
        resource: "tokenreviews".into(),
        name: None,
        verb: "create",
    };
    vec![change, review]
}

/// Permissions that leader election needs in the operator's own namespace.
#[must_use]
pub fn in_own_namespace() -> Vec<Permission> {
    let lease = |verb| Permission {
        group: "coordination.k8s.io",
        resource: "leases".into(),
        name: None,
        verb,
    };
    ["get", "create", "update"].map(lease).to_vec()
}

/// Describes the permissions of `needed` that this operator lacks in `namespace`, or in the whole cluster.
///
/// # Errors
/// The API server cannot be asked.
pub async fn find_missing(
    client: &Client,
    namespace: Option<&str>,
    needed: Vec<Permission>,
) -> Result<Vec<String>, kube::Error> {
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let mut missing = Vec::new();
    for Permission { group, resource, name: object, verb } in needed {
        let (plural, subresource) =
            resource.split_once('/').map_or((&*resource, None), |(n, s)| (n, Some(s)));
        let attributes = ResourceAttributes {
            group: Some(group.into()),
            resource: Some(plural.into()),
            name: object.clone(),
            subresource: subresource.map(Into::into),
            verb: Some(verb.into()),
            namespace: namespace.map(Into::into),
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let review = api.create(&PostParams::default(), &review).await?;
        if !review.status.is_some_and(|s| s.allowed) {
            let group = if group.is_empty() { "core" } else { group };
            let place = namespace.map_or("all namespaces".into(), |n| format!("namespace {n}"));
            let object = object.map(|name| format!(" {name}")).unwrap_or_default();
            missing.push(format!("{verb} {resource}{object} ({group}) in {place}"));
        }
    }
    Ok(missing)
}

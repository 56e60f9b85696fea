//! The right of the brokers to ask what a service account may do on the channel: a Role, and its RoleBinding.
//!
//! `None` if the channel does not accept tokens of service accounts. The right to verify tokens applies to the whole cluster and is in
//! [`crate::token_reviewers`].

use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};

use super::metadata;
use crate::workload::Workload;

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn role(workload: &Workload) -> Option<Role> {
    workload.access.kubernetes.as_ref()?;
    let rule = PolicyRule {
        api_groups: Some(vec!["authorization.k8s.io".into()]),
        resources: Some(vec!["localsubjectaccessreviews".into()]),
        verbs: vec!["create".into()],
        ..PolicyRule::default()
    };
    Some(Role { metadata: metadata(workload), rules: Some(vec![rule]) })
}

pub(super) fn role_binding(workload: &Workload) -> Option<RoleBinding> {
    workload.access.kubernetes.as_ref()?;
    Some(RoleBinding {
        metadata: metadata(workload),
        role_ref: RoleRef {
            api_group: RBAC_GROUP.into(),
            kind: "Role".into(),
            name: workload.object_name(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".into(),
            name: workload.object_name(),
            namespace: Some(workload.namespace().to_owned()),
            ..Subject::default()
        }]),
    })
}

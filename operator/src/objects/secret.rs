//! The credentials for NATS: those of the operator, whose NATS account the brokers share.

use k8s_openapi::api::core::v1::Secret;

use super::metadata;
use crate::{settings::Credentials, workload::Workload};

/// `None` if NATS needs no credentials.
pub(super) fn build(workload: &Workload, credentials: &Credentials) -> Option<Secret> {
    (!credentials.is_empty()).then(|| Secret {
        metadata: metadata(workload),
        type_: Some("Opaque".into()),
        data: Some(credentials.clone()),
        ..Secret::default()
    })
}

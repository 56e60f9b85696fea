//! The identity of the broker pods. Its token is mounted and it has a right only if they ask the API server about tokens.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::metadata;
use crate::workload::Workload;

pub(super) fn build(workload: &Workload) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(workload),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

//! The identity of the broker pods. It has no permissions, and no token is mounted.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::metadata;
use crate::channel::Channel;

pub(super) fn build(channel: &Channel) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(channel),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

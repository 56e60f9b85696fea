//! The configuration file of the brokers. Brokers reload most changes without a restart.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::metadata;
use crate::{broker_config::CONFIG_FILE, channel::Channel};

pub(super) fn build(channel: &Channel) -> ConfigMap {
    let text = serde_saphyr::to_string(&channel.broker).unwrap_or_default();
    ConfigMap {
        metadata: metadata(channel),
        data: Some(BTreeMap::from([(CONFIG_FILE.to_owned(), text)])),
        ..ConfigMap::default()
    }
}

//! The configuration file of the brokers. Brokers reload most changes without a restart.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::ObjectMeta;

use super::metadata;
use crate::{broker_config::CONFIG_FILE, pool_files, workload::Workload};

/// A file with channels of a pool.
pub(crate) fn channel_file(workload: &Workload, name: &str, shard: char, text: &str) -> ConfigMap {
    let data = BTreeMap::from([(pool_files::file_name(shard), text.to_owned())]);
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..metadata(workload) },
        data: Some(data),
        ..ConfigMap::default()
    }
}

pub(super) fn build(workload: &Workload) -> ConfigMap {
    let text = serde_saphyr::to_string(&workload.config).unwrap_or_default();
    ConfigMap {
        metadata: metadata(workload),
        data: Some(BTreeMap::from([(CONFIG_FILE.to_owned(), text)])),
        ..ConfigMap::default()
    }
}

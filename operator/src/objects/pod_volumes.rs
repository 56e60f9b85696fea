//! The volumes of the brokers' pods, and where they are mounted.
//!
//! The Secrets of a channel are optional: a missing one must not keep brokers from starting, because they serve everybody whose
//! credentials need no key of it. The kubelet adds it to running pods when it appears. Brokers read changed files again, so only a
//! Secret that the spec adds or removes changes the pod template.

use std::collections::BTreeMap;

use eventcast_crds::channel::{access::SecretKey, exposure::TlsSpec};
use k8s_openapi::api::core::v1::{
    ConfigMapProjection, ConfigMapVolumeSource, DownwardAPIProjection, DownwardAPIVolumeFile,
    DownwardAPIVolumeSource, KeyToPath, ObjectFieldSelector, ProjectedVolumeSource,
    SecretProjection, SecretVolumeSource, ServiceAccountTokenProjection, Volume, VolumeMount,
    VolumeProjection,
};

use crate::{
    broker_config::{CLIENT_CA_FILE, ORDERS_FILE, key_path},
    pool_files,
    settings::{
        API_KEYS_FOLDER, CHANNELS_FOLDER, CONFIG_FOLDER, Credentials, KEYS_FOLDER, NATS_FOLDER,
        ORDERS_FOLDER, TLS_FOLDER,
    },
    workload::Workload,
};

/// Where Kubernetes clients look for the credentials of their pod.
const SERVICE_ACCOUNT_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Life of the token for the API server, as Kubernetes sets it. The kubelet renews it at 80 %.
const TOKEN_SECONDS: i64 = 3607;

/// The volumes, each with its mount.
pub(super) fn build(workload: &Workload, credentials: &Credentials) -> Vec<(Volume, VolumeMount)> {
    let mut volumes = vec![(config(workload), CONFIG_FOLDER), (orders(), ORDERS_FOLDER)];
    if workload.is_pool() {
        volumes.push((channels(workload), CHANNELS_FOLDER));
    }
    if !credentials.is_empty() {
        volumes.push((secret("nats", workload.object_name(), None), NATS_FOLDER));
    }
    let access = &workload.access;
    let keys = issuer_keys(workload);
    if !keys.is_empty() {
        volumes.push((projected("keys", keys), KEYS_FOLDER));
    }
    if let Some(keys) = &access.api_keys {
        volumes.push((secret("api-keys", keys.secret_name.clone(), Some(true)), API_KEYS_FOLDER));
    }
    if let Some(tls) = &workload.exposure.tls {
        volumes.push((certificate(tls), TLS_FOLDER));
    }
    if access.kubernetes.is_some() {
        volumes.push((api_server(), SERVICE_ACCOUNT_FOLDER));
    }
    let mounted = |(volume, path): (Volume, &str)| {
        let mount = VolumeMount {
            name: volume.name.clone(),
            mount_path: path.into(),
            read_only: Some(true),
            ..VolumeMount::default()
        };
        (volume, mount)
    };
    volumes.into_iter().map(mounted).collect()
}

fn config(workload: &Workload) -> Volume {
    let source =
        ConfigMapVolumeSource { name: workload.object_name(), ..ConfigMapVolumeSource::default() };
    Volume { name: "config".into(), config_map: Some(source), ..Volume::default() }
}

/// The files with the channels of a pool. Optional, so that a missing one does not keep brokers from starting.
fn channels(workload: &Workload) -> Volume {
    let pool = workload.object_name();
    let source = |shard| VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: pool_files::config_map_name(&pool, shard),
            optional: Some(true),
            ..ConfigMapProjection::default()
        }),
        ..VolumeProjection::default()
    };
    projected("channels", pool_files::SHARDS.chars().map(source).collect())
}

/// The orders of the operator: an annotation of the pod, as a file. The kubelet updates it soon after the annotation changes.
fn orders() -> Volume {
    let annotation = format!("metadata.annotations['{}']", eventcast_crds::orders::ANNOTATION);
    let source = DownwardAPIVolumeSource {
        items: Some(vec![metadata_file(ORDERS_FILE, annotation)]),
        ..DownwardAPIVolumeSource::default()
    };
    Volume { name: "orders".into(), downward_api: Some(source), ..Volume::default() }
}

fn metadata_file(path: &str, field_path: String) -> DownwardAPIVolumeFile {
    let field = ObjectFieldSelector { api_version: Some("v1".into()), field_path };
    DownwardAPIVolumeFile {
        path: path.into(),
        field_ref: Some(field),
        ..DownwardAPIVolumeFile::default()
    }
}

fn secret(name: &str, secret_name: String, optional: Option<bool>) -> Volume {
    let source = SecretVolumeSource {
        secret_name: Some(secret_name),
        optional,
        ..SecretVolumeSource::default()
    };
    Volume { name: name.into(), secret: Some(source), ..Volume::default() }
}

fn projected(name: &str, sources: Vec<VolumeProjection>) -> Volume {
    let source =
        ProjectedVolumeSource { sources: Some(sources), ..ProjectedVolumeSource::default() };
    Volume { name: name.into(), projected: Some(source), ..Volume::default() }
}

fn item(key: &str, path: String) -> KeyToPath {
    KeyToPath { key: key.into(), path, ..KeyToPath::default() }
}

fn optional_secret(name: &str, items: Vec<KeyToPath>) -> VolumeProjection {
    VolumeProjection {
        secret: Some(SecretProjection {
            name: name.into(),
            items: Some(items),
            optional: Some(true),
        }),
        ..VolumeProjection::default()
    }
}

/// One source for each Secret, with the keys that token issuers name. Two issuers may name the same one: the API server rejects a
/// path that is there twice.
fn issuer_keys(workload: &Workload) -> Vec<VolumeProjection> {
    let tokens = workload.access.tokens.iter();
    let mut secrets: BTreeMap<&str, Vec<&SecretKey>> = BTreeMap::new();
    for secret in tokens.flat_map(|token| token.key_secret.iter().chain(&token.ca_secret)) {
        let keys = secrets.entry(&secret.name).or_default();
        if !keys.contains(&secret) {
            keys.push(secret);
        }
    }
    let source = |(name, keys): (&str, Vec<&SecretKey>)| {
        let items = keys.into_iter().map(|secret| item(&secret.key, key_path(secret)));
        optional_secret(name, items.collect())
    };
    secrets.into_iter().map(source).collect()
}

/// Of the Secret of the certificate only the certificate and its key: some issuers add a certificate authority or a keystore.
fn certificate(tls: &TlsSpec) -> Volume {
    let items = ["tls.crt", "tls.key"].map(|key| item(key, key.into()));
    let mut sources = vec![optional_secret(&tls.secret_name, items.to_vec())];
    sources.extend(tls.client_ca_secret.as_ref().map(|secret| {
        optional_secret(&secret.name, vec![item(&secret.key, CLIENT_CA_FILE.into())])
    }));
    projected("tls", sources)
}

/// What Kubernetes mounts with `automountServiceAccountToken`. Only brokers that ask the API server about tokens need it.
fn api_server() -> Volume {
    let token = VolumeProjection {
        service_account_token: Some(ServiceAccountTokenProjection {
            expiration_seconds: Some(TOKEN_SECONDS),
            path: "token".into(),
            ..ServiceAccountTokenProjection::default()
        }),
        ..VolumeProjection::default()
    };
    let authorities = VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: "kube-root-ca.crt".into(),
            items: Some(vec![item("ca.crt", "ca.crt".into())]),
            ..ConfigMapProjection::default()
        }),
        ..VolumeProjection::default()
    };
    let namespace = DownwardAPIProjection {
        items: Some(vec![metadata_file("namespace", "metadata.namespace".into())]),
    };
    let namespace =
        VolumeProjection { downward_api: Some(namespace), ..VolumeProjection::default() };
    projected("api-server", vec![token, authorities, namespace])
}

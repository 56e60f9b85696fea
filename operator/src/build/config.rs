//! What the broker reads: its configuration and its credentials, by the types that it reads them with. Pure.

use std::path::Path;

use eventcast_crds::{
    channel::{
        EventChannelSpec,
        exposure::{Exposure, ServiceKind},
    },
    config::{
        Access, BrokerConfig, ChannelConfig, Limits, Nats, ProxyProtocol, Query, Retention,
        Shutdown, TokenIssuer,
    },
};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::budget;
use crate::{
    channel::Channel,
    settings::{Credentials, KEYS_FOLDER, NATS_FOLDER, Settings},
};

/// The key of the ConfigMap, and with it the name of the file.
pub const FILE: &str = "broker.yaml";

/// Time for load balancers to notice that a broker is not ready any more.
const DELAY_SECONDS: u64 = 5;
/// What a broker has left after its last stream was closed: for answers under way.
const LEEWAY_SECONDS: u64 = 8;

/// The channel, as the stream is made from it.
#[must_use]
pub fn channel(namespace: &str, name: &str, spec: &EventChannelSpec) -> ChannelConfig {
    let access = &spec.access;
    let tokens = access.tokens.iter().enumerate().map(|(i, token)| TokenIssuer {
        issuer: token.issuer.clone(),
        audience: token.audience.clone(),
        jwks_url: token.jwks_url.clone(),
        key_file: token.key_secret.as_ref().map(|_| Path::new(KEYS_FOLDER).join(key_file(i))),
    });
    ChannelConfig {
        namespace: namespace.into(),
        name: name.into(),
        stream: spec.stream.name.clone(),
        subject_prefix: spec.stream.subject_prefix.clone(),
        retention: spec.retention.clone(),
        delivery: spec.delivery.clone(),
        publishing: spec.publishing.clone(),
        access: Access {
            anonymous: access.anonymous.clone(),
            tokens: tokens.collect(),
            allowed_origins: access.allowed_origins.clone(),
            allowed_headers: access.allowed_headers.clone(),
            allow_credentials: access.allow_credentials,
        },
    }
}

/// The file with the keys of the `i`th issuer.
pub(super) fn key_file(i: usize) -> String {
    format!("{i}.jwks")
}

/// The broker's configuration. Retention stays out: the stream is the operator's, and a change of it is no news to a broker.
#[must_use]
pub fn broker(
    channel: &ChannelConfig,
    spec: &EventChannelSpec,
    settings: &Settings,
) -> BrokerConfig {
    let drain = spec.brokers.drain_seconds;
    let budget = budget::of(&spec.brokers).unwrap_or_default();
    BrokerConfig {
        page: spec.exposure.page,
        nats: Nats { create_streams: false, ..settings.nats.mounted_at(Path::new(NATS_FOLDER)) },
        memory: budget.memory,
        limits: Limits {
            subscribers_per_address: spec.limits.subscribers_per_address,
            idle_seconds: spec.limits.idle_seconds,
            head_bytes: spec.limits.head_bytes,
            trusted_proxies: trusted_proxies(&spec.exposure, settings),
            proxy_protocol: if spec.exposure.proxy_protocol {
                ProxyProtocol::Required
            } else {
                ProxyProtocol::Off
            },
            body_bytes: budget.body_bytes,
            body_bytes_per_address: budget.body_bytes / 4,
            ..Limits::default()
        },
        query: Query { answer_bytes: budget.answer_bytes, ..Query::default() },
        shutdown: Shutdown {
            delay_seconds: DELAY_SECONDS,
            drain_seconds: drain,
            grace_seconds: DELAY_SECONDS + drain + LEEWAY_SECONDS,
        },
        channels: vec![ChannelConfig { retention: Retention::default(), ..channel.clone() }],
        ..BrokerConfig::default()
    }
}

/// The proxies whose word about the client's address is believed: those that were named, else those of the operator where nobody
/// from outside can reach a broker but through a proxy that writes `X-Forwarded-For`. With a node port or a load balancer clients
/// may arrive with the address of a node, which is a private one.
fn trusted_proxies(exposure: &Exposure, settings: &Settings) -> Vec<IpNet> {
    match &exposure.trusted_proxies {
        Some(named) => named.iter().filter_map(|network| network.parse().ok()).collect(),
        None => {
            let proxied = exposure.ingress.is_some() || exposure.gateway.is_some();
            let only = exposure.service.kind == ServiceKind::ClusterIP;
            if proxied && only { settings.trusted_proxies.clone() } else { Vec::new() }
        }
    }
}

/// The ConfigMap. Brokers take most changes of it over without a restart.
pub(super) fn map(channel: &Channel) -> Value {
    let text = serde_saphyr::to_string(&channel.broker).unwrap_or_default();
    json!({"data": {FILE: text}})
}

/// The Secret with the credentials for NATS: those of the operator, which shares its account with the brokers.
pub(super) fn secret(credentials: &Credentials) -> Option<Value> {
    (!credentials.is_empty()).then(|| json!({"type": "Opaque", "data": credentials}))
}

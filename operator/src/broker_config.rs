//! Translates a channel's spec into the configuration of its brokers. Pure.

use std::path::Path;

use eventcast_crds::{
    channel::{
        EventChannelSpec,
        access::{AccessSpec, SecretKey, TokenSpec},
        brokers::{self, Autoscaling, BalancingMode, Brokers},
        exposure::{Exposure, ServiceKind, TlsSpec, TrafficPolicy},
    },
    config::{
        Access, ApiKeys, Balancing, BrokerConfig, ChannelConfig, Limits, Memory, Nats,
        ProxyProtocol, Query, Retention, Shutdown, Tls, TokenIssuer,
    },
};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::PodTemplateSpec;

use crate::{
    resources,
    settings::{
        API_KEYS_FOLDER, CHANNELS_FOLDER, KEYS_FOLDER, NATS_FOLDER, ORDERS_FOLDER, Settings,
        TLS_FOLDER,
    },
    workload::BrokersSpec,
};

/// Name of the configuration file, which is also its key in the ConfigMap.
pub const CONFIG_FILE: &str = "broker.yaml";

/// Name of the file with the certificate authorities of clients, in the folder of the certificate.
pub const CLIENT_CA_FILE: &str = "client-ca.crt";

/// Name of the file with the orders of the operator, in its folder.
pub const ORDERS_FILE: &str = "order.json";

/// Streams that one broker, and all brokers together, close in a second at a shutdown, if the channel does not say how long it takes.
const DRAINED_PER_SECOND: (i64, i64) = (150, 5000);
/// The shortest and the longest of these times, in seconds.
const DRAIN_SECONDS: (i64, i64) = (15, 600);

/// Old events that a broker of a pool keeps in memory, of all channels together.
const POOL_PAGE_BYTES: u64 = 512 << 20;

/// Time for load balancers to notice that a broker is no longer ready.
const SHUTDOWN_DELAY_SECONDS: u64 = 5;
/// Time for requests in progress after the last stream was closed.
const LAST_RESPONSES_SECONDS: u64 = 8;

/// The channel, with the retention from which the stream is created.
#[must_use]
pub fn channel_config(namespace: &str, name: &str, spec: &EventChannelSpec) -> ChannelConfig {
    ChannelConfig {
        namespace: namespace.into(),
        name: name.into(),
        stream: spec.stream.name.clone(),
        subject_prefix: spec.stream.subject_prefix.clone(),
        retention: spec.retention.clone(),
        delivery: spec.delivery.clone(),
        publishing: spec.publishing.clone(),
        access: access(&spec.access),
        // Depends on the address of the load balancer.
        probe: None,
        generation: None,
        leaving: false,
    }
}

fn access(spec: &AccessSpec) -> Access {
    let api_keys = spec.api_keys.as_ref();
    Access {
        anonymous: spec.anonymous.clone(),
        anonymous_topics: spec.anonymous_topics.clone(),
        tokens: spec.tokens.iter().map(token_issuer).collect(),
        kubernetes: spec.kubernetes.clone(),
        api_keys: api_keys.map(|_| ApiKeys { folder: API_KEYS_FOLDER.into() }),
        certificates: spec.certificates.clone(),
        cookie: spec.cookie.clone(),
        tickets: spec.tickets.clone(),
        quotas: spec.quotas.clone(),
        allowed_origins: spec.allowed_origins.clone(),
        allowed_headers: spec.allowed_headers.clone(),
        allow_credentials: spec.allow_credentials,
    }
}

fn token_issuer(spec: &TokenSpec) -> TokenIssuer {
    let file = |secret: &SecretKey| Path::new(KEYS_FOLDER).join(key_path(secret));
    TokenIssuer {
        issuer: spec.issuer.clone(),
        audience: spec.audience.clone(),
        jwks_url: spec.jwks_url.clone(),
        key_file: spec.key_secret.as_ref().map(file),
        jwks: spec.jwks.clone(),
        ca_file: spec.ca_secret.as_ref().map(file),
        algorithms: spec.algorithms.clone(),
        token_type: spec.token_type.clone(),
        subject_claim: spec.subject_claim.clone(),
        leeway_seconds: spec.leeway_seconds,
        required_claims: spec.required_claims.clone(),
        subscribe: spec.subscribe.clone(),
        publish: spec.publish.clone(),
        manage: spec.manage.clone(),
        grants_claim: spec.grants_claim.clone(),
        quota: spec.quota.clone(),
    }
}

/// Path of a key of a Secret below [`KEYS_FOLDER`]. It names the Secret and not the place of the issuer in the spec: after a change of
/// the spec, running brokers read the new configuration before the new files, and must not take the keys of one issuer for another's.
#[must_use]
pub fn key_path(secret: &SecretKey) -> String {
    format!("{}/{}", secret.name, secret.key)
}

fn tls(spec: &TlsSpec) -> Tls {
    let folder = Path::new(TLS_FOLDER);
    Tls {
        certificate_file: folder.join("tls.crt"),
        key_file: folder.join("tls.key"),
        client_ca_file: spec.client_ca_secret.as_ref().map(|_| folder.join(CLIENT_CA_FILE)),
        min_version: spec.min_version,
        alpn: spec.alpn.clone(),
        plaintext: spec.plaintext,
        ..Tls::default()
    }
}

/// The configuration file of the brokers of a channel. It leaves out the retention: the operator manages the stream, so that a change of the
/// retention need not reach the brokers.
#[must_use]
pub fn of_channel(
    channel: &ChannelConfig,
    spec: BrokersSpec<'_>,
    pod_template: Option<&PodTemplateSpec>,
    settings: &Settings,
) -> BrokerConfig {
    let channel = ChannelConfig { retention: Retention::default(), ..channel.clone() };
    BrokerConfig { channels: vec![channel], ..broker_config(spec, pod_template, settings) }
}

/// The configuration file of the brokers of a pool, whose channels are in files of their own.
#[must_use]
pub fn of_pool(
    spec: BrokersSpec<'_>,
    lists_channels: bool,
    pod_template: Option<&PodTemplateSpec>,
    settings: &Settings,
) -> BrokerConfig {
    let config = broker_config(spec, pod_template, settings);
    // Shared by all channels: brokers reduce them to their part of the memory limit. One channel gets a quarter of the pages at most.
    let page_bytes = POOL_PAGE_BYTES;
    let memory = Memory {
        all_tail_bytes: Memory::default().all_tail_bytes,
        page_bytes,
        channel_page_bytes: page_bytes / 4,
        ..config.memory
    };
    BrokerConfig {
        channels_folder: Some(CHANNELS_FOLDER.into()),
        channel_list: lists_channels,
        memory,
        ..config
    }
}

/// `pod_template` may change the memory limit, from which the budgets follow.
fn broker_config(
    spec: BrokersSpec<'_>,
    pod_template: Option<&PodTemplateSpec>,
    settings: &Settings,
) -> BrokerConfig {
    let drain_seconds = drain_seconds(spec.brokers);
    // `checked_template` reports an invalid memory limit.
    let budget = resources::memory_budget(spec.brokers, pod_template).unwrap_or_default();
    let proxy_protocol =
        if spec.exposure.proxy_protocol { ProxyProtocol::Required } else { ProxyProtocol::Off };
    BrokerConfig {
        page: spec.exposure.page,
        log: settings.brokers.log.log(),
        telemetry: settings.brokers.telemetry.clone(),
        tls: spec.exposure.tls.as_ref().map(tls),
        nats: Nats { create_streams: false, ..settings.nats.mounted_at(Path::new(NATS_FOLDER)) },
        memory: budget.memory,
        limits: Limits {
            subscribers_per_address: spec.limits.subscribers_per_address,
            idle_seconds: spec.limits.idle_seconds,
            head_bytes: spec.limits.head_bytes,
            trusted_proxies: trusted_proxies(spec.exposure, settings),
            proxy_protocol,
            body_bytes: budget.body_bytes,
            body_bytes_per_address: budget.body_bytes / 4,
            ..settings.brokers.limits.limits()
        },
        query: Query { answer_bytes: budget.answer_bytes, ..settings.brokers.query.query() },
        shutdown: Shutdown {
            delay_seconds: SHUTDOWN_DELAY_SECONDS,
            drain_seconds,
            grace_seconds: SHUTDOWN_DELAY_SECONDS + drain_seconds + LAST_RESPONSES_SECONDS,
        },
        balancing: balancing(&spec.brokers.balancing),
        ..BrokerConfig::default()
    }
}

/// How long a broker closes its streams at a shutdown. The more there are, the longer: their clients all come back.
fn drain_seconds(brokers: &Brokers) -> u64 {
    let of_size = |autoscaling: &Autoscaling| {
        let streams = i64::from(autoscaling.subscribers_per_broker.unwrap_or(0));
        let all = streams * i64::from(autoscaling.max_replicas);
        (streams / DRAINED_PER_SECOND.0).max(all / DRAINED_PER_SECOND.1)
    };
    let seconds = brokers.autoscaling.as_ref().map_or(0, of_size);
    let seconds = seconds.clamp(DRAIN_SECONDS.0, DRAIN_SECONDS.1);
    brokers.drain_seconds.unwrap_or_else(|| seconds.unsigned_abs())
}

fn balancing(spec: &brokers::Balancing) -> Balancing {
    let file = Path::new(ORDERS_FOLDER).join(ORDERS_FILE);
    Balancing {
        orders_file: (spec.mode == BalancingMode::Shed).then_some(file),
        shed_per_second: spec.shed_per_second,
        ..Balancing::default()
    }
}

/// The proxies whose `X-Forwarded-For` the brokers trust: those of the channel. If it names none, those of the operator, but only
/// if no external client has the private address of a node. With a node port or a load balancer, clients have it unless the traffic
/// stays on the node that received it.
fn trusted_proxies(exposure: &Exposure, settings: &Settings) -> Vec<IpNet> {
    match &exposure.trusted_proxies {
        Some(networks) => networks.iter().filter_map(|network| network.parse().ok()).collect(),
        None => {
            let has_proxy = exposure.ingress.is_some() || exposure.gateway.is_some();
            let keeps_addresses = exposure.service.kind == ServiceKind::ClusterIP
                || exposure.service.external_traffic_policy == Some(TrafficPolicy::Local);
            if has_proxy && keeps_addresses { settings.trusted_proxies.clone() } else { Vec::new() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::fixture::channel;

    #[test]
    fn proxies_are_trusted_by_default_if_all_clients_come_through_them() {
        let trusted = |exposure: &str| {
            let (channel, _) = channel(&format!("spec: {{exposure: {{{exposure}}}}}"));
            let proxies = channel.workload.config.limits.trusted_proxies;
            proxies.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let default = ["10.0.0.0/8"];
        let none: [&str; 0] = [];
        assert_eq!(trusted("ingress: {host: a.example}"), default);
        assert_eq!(trusted("gateway: {parentRefs: [{name: g}]}"), default);
        assert_eq!(trusted(""), none, "every pod of the cluster is a client");
        for kind in ["LoadBalancer", "NodePort"] {
            let open = format!("ingress: {{host: a.example}}, service: {{type: {kind}}}");
            assert_eq!(trusted(&open), none, "{kind}: clients may have the address of a node");
            let with = |policy: &str| {
                let service = format!("{{type: {kind}, externalTrafficPolicy: {policy}}}");
                trusted(&format!("ingress: {{host: a.example}}, service: {service}"))
            };
            assert_eq!(with("Local"), default, "{kind}: clients keep their addresses");
            assert_eq!(with("Cluster"), none);
        }
        assert_eq!(trusted("ingress: {host: a.example}, trustedProxies: []"), none);
        assert_eq!(trusted("trustedProxies: [192.168.0.0/16]"), ["192.168.0.0/16"]);
    }

    #[test]
    fn large_brokers_drain_for_longer() {
        let drain = |brokers: &str| {
            let (channel, _) = channel(&format!("spec: {{brokers: {{{brokers}}}}}"));
            channel.workload.config.shutdown.drain_seconds
        };
        let scaled = |max: i32, subscribers: i32| {
            drain(&format!(
                "autoscaling: {{minReplicas: 1, maxReplicas: {max}, subscribersPerBroker: {subscribers}}}"
            ))
        };
        assert_eq!(drain(""), 15);
        assert_eq!(drain("drainSeconds: 3"), 3);
        assert_eq!(scaled(4, 1000), 15);
        assert_eq!(scaled(4, 30_000), 200, "150 a second");
        assert_eq!(scaled(100, 10_000), 200, "5,000 a second of all");
        assert_eq!(scaled(500, 1_000_000), 600);
    }

    #[test]
    fn limits_of_the_channel_reach_the_broker() {
        let (limited, _) = channel("spec: {limits: {subscribersPerAddress: 7}}");
        assert_eq!(limited.workload.config.limits.subscribers_per_address, 7);
        let (default, _) = channel("spec: {}");
        assert_eq!(default.workload.config.limits, Limits::default());
    }
}

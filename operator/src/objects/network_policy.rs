//! The connections that the broker pods may accept and open.

use std::collections::BTreeSet;

use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{metadata, pod_selector};
use crate::{settings::Settings, workload::Workload};

/// 5353: the resolvers of OpenShift listen there, and network plugins judge connections by the port behind the Service.
const DNS_PORTS: [u16; 2] = [53, 5353];
const NATS_PORT: u16 = 4222;
/// Where Ingress controllers and Gateways listen in their pods. Most network plugins judge a connection to a load balancer by the port of the pod
/// behind it.
const PROXY_PORTS: [u16; 7] = [80, 443, 8000, 8080, 8443, 10_080, 10_443];
/// Of the Service `kubernetes`, and of the API servers behind it: some network plugins look at the one, some at the other.
const API_SERVER_PORTS: [u16; 2] = [443, 6443];

/// Ingress to the ports of the broker; egress to DNS, NATS, the keys of token issuers, the collector of traces, the API server if it verifies tokens, and the proxies in front
/// if it probes the delivery. Egress is limited by port only, because NATS and the issuers may be outside the cluster. The settings of all channels add rules.
///
/// `None` if the operator creates no NetworkPolicies.
pub(super) fn build(workload: &Workload, settings: &Settings) -> Option<NetworkPolicy> {
    if !settings.network_policies {
        return None;
    }
    let mut ports: BTreeSet<u16> =
        settings.nats.servers.iter().map(|server| port_of(server, NATS_PORT)).collect();
    ports.extend(workload.connects_to.iter().map(|url| port_of(url, default_port(url))));
    if workload.access.kubernetes.is_some() {
        ports.extend(API_SERVER_PORTS);
    }
    if workload.probes {
        ports.extend(PROXY_PORTS);
    }
    let collector = settings.brokers.telemetry.otlp.endpoint.as_deref();
    ports.extend(collector.map(|url| port_of(url, default_port(url))));
    let exposure = &workload.exposure;
    let public =
        [exposure.serves_plaintext().then_some("http"), exposure.tls.as_ref().map(|_| "https")];
    let named = |name: &str| port("TCP", IntOrString::String(name.into()));
    let numbered = |protocol, number: u16| port(protocol, IntOrString::Int(i32::from(number)));
    let dns = DNS_PORTS.iter().flat_map(|n| [numbered("UDP", *n), numbered("TCP", *n)]).collect();
    let servers = ports.into_iter().map(|number| numbered("TCP", number)).collect();
    let egress = |ports| NetworkPolicyEgressRule {
        ports: Some(ports),
        ..NetworkPolicyEgressRule::default()
    };
    let extra = &settings.brokers.network_policy;
    let clients = public.into_iter().flatten().map(named).collect();
    let ingress = ingress(clients, named("admin"), &extra.metrics_from);
    let own_egress = [egress(dns), egress(servers)];
    Some(NetworkPolicy {
        metadata: metadata(workload),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(pod_selector(workload)),
            policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
            ingress: Some(ingress.into_iter().chain(extra.extra_ingress.clone()).collect()),
            egress: Some(own_egress.into_iter().chain(extra.extra_egress.clone()).collect()),
        }),
    })
}

/// Connections to the ports for clients from everywhere, and to the admin port from `metrics_from`, or from everywhere if that is empty.
fn ingress(
    clients: Vec<NetworkPolicyPort>,
    admin: NetworkPolicyPort,
    metrics_from: &[NetworkPolicyPeer],
) -> Vec<NetworkPolicyIngressRule> {
    let rule = |ports, from: &[NetworkPolicyPeer]| NetworkPolicyIngressRule {
        ports: Some(ports),
        from: (!from.is_empty()).then(|| from.to_vec()),
    };
    if metrics_from.is_empty() {
        return vec![rule(clients.into_iter().chain([admin]).collect(), &[])];
    }
    vec![rule(clients, &[]), rule(vec![admin], metrics_from)]
}

fn port(protocol: &str, port: IntOrString) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.into()),
        port: Some(port),
        ..NetworkPolicyPort::default()
    }
}

fn default_port(url: &str) -> u16 {
    if url.starts_with("http://") { 80 } else { 443 }
}

/// The port of a URL or of `host:port`.
fn port_of(address: &str, default: u16) -> u16 {
    let authority = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    port.and_then(|port| port.parse().ok()).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::port_of;

    #[test]
    fn ports_are_parsed_from_addresses() {
        for (address, expected) in [
            ("nats://nats.eventcast:4222", 4222),
            ("nats:4333", 4333),
            ("tls://nats.example.com", 4222),
            ("nats://[::1]:4222", 4222),
            ("https://issuer.example/keys:1", 4222),
            ("https://issuer.example:8443?keys", 8443),
        ] {
            assert_eq!(port_of(address, 4222), expected, "{address}");
        }
    }
}

//! What others are told about the pods: networks, drains of nodes, autoscalers, scrapers. Pure.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{channel::Channel, names, settings::Settings};

/// Ports of the pods, and nothing else; out to NATS, names and the keys of issuers. An address of NATS outside the cluster is as
/// good as one inside, so ports are all that can be said.
pub(super) fn network(channel: &Channel, settings: &Settings) -> Option<Value> {
    if !settings.network_policies {
        return None;
    }
    let tcp = |port: u16| json!({"protocol": "TCP", "port": port});
    let mut out: BTreeSet<u16> = settings.nats.servers.iter().map(|s| port(s, 4222)).collect();
    let issuers = channel.spec.access.tokens.iter().filter_map(|t| t.jwks_url.as_deref());
    out.extend(issuers.map(|url| port(url, if url.starts_with("http://") { 80 } else { 443 })));
    Some(json!({
        "spec": {
            "podSelector": {"matchLabels": names::selector(&channel.name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": "http"}, {"protocol": "TCP", "port": "admin"}]}],
            "egress": [
                {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
                {"ports": out.into_iter().map(tcp).collect::<Vec<_>>()},
            ],
        },
    }))
}

/// The port of a URL or of `host:port`.
fn port(address: &str, default: u16) -> u16 {
    let authority = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    let after = authority.rsplit_once(':').map(|(_, port)| port);
    after.and_then(|port| port.parse().ok()).unwrap_or(default)
}

/// One broker at a time leaves a node that is drained. One that is not ready holds up nobody.
pub(super) fn disruption(channel: &Channel) -> Option<Value> {
    (channel.max_brokers() > 1).then(|| {
        json!({
            "spec": {
                "selector": {"matchLabels": names::selector(&channel.name)},
                "maxUnavailable": 1,
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
            },
        })
    })
}

/// Up in half a minute, for newcomers; down one broker in two minutes after five quiet ones, since each that goes moves its
/// subscribers.
pub(super) fn autoscaler(channel: &Channel) -> Option<Value> {
    let wanted = channel.spec.brokers.autoscaling.as_ref()?;
    let cpu = wanted.cpu_percent.map(|percent| {
        // of the broker alone: a sidecar that requests no processor would leave nothing to count
        json!({"type": "ContainerResource", "containerResource": {
            "name": "cpu", "container": names::BROKER_CONTAINER, "target": {"type": "Utilization", "averageUtilization": percent}}})
    });
    let subscribers = wanted.subscribers_per_broker.map(|count| {
        json!({"type": "Pods", "pods": {
            "metric": {"name": "eventcast_subscribers"},
            "target": {"type": "AverageValue", "averageValue": count.to_string()}}})
    });
    let metrics: Vec<_> = cpu.into_iter().chain(subscribers).collect();
    Some(json!({
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": channel.object_name()},
            "minReplicas": wanted.min_replicas,
            "maxReplicas": wanted.max_replicas,
            "metrics": metrics,
            "behavior": {
                "scaleUp": {"policies": [{"type": "Percent", "value": 100, "periodSeconds": 30}]},
                "scaleDown": {
                    "stabilizationWindowSeconds": 300,
                    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 120}],
                },
            },
        },
    }))
}

/// A PodMonitor, not a ServiceMonitor: every pod is a target of its own, and the admin port stays off the Service.
pub(super) fn monitor(channel: &Channel, settings: &Settings) -> Option<Value> {
    settings.pod_monitors.then(|| {
        json!({
            "spec": {
                "selector": {"matchLabels": names::selector(&channel.name)},
                "podMetricsEndpoints": [{"port": "admin", "path": "/metrics", "interval": "15s"}],
            },
        })
    })
}

#[cfg(test)]
mod tests {
    use super::port;

    #[test]
    fn ports_are_read_from_addresses() {
        for (address, expected) in [
            ("nats://nats.eventcast:4222", 4222),
            ("nats:4333", 4333),
            ("tls://nats.example.com", 4222),
            ("nats://[::1]:4222", 4222),
            ("https://issuer.example/keys:1", 4222),
        ] {
            assert_eq!(port(address, 4222), expected, "{address}");
        }
    }
}

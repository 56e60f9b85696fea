//! How clients reach the brokers: Service, Ingress, HTTPRoute. Pure.

use std::{collections::BTreeMap, net::Ipv6Addr};

use serde_json::{Value, json};

use crate::{channel::Channel, names};

/// What event streams need of the Ingress controllers that people use: no buffer, and no end to a quiet stream. Those of others mean
/// nothing to a controller.
const INGRESS_ANNOTATIONS: [(&str, &str); 7] = [
    ("nginx.ingress.kubernetes.io/proxy-buffering", "off"),
    ("nginx.ingress.kubernetes.io/proxy-http-version", "1.1"),
    ("nginx.ingress.kubernetes.io/proxy-read-timeout", "3600"),
    ("nginx.ingress.kubernetes.io/proxy-send-timeout", "3600"),
    ("haproxy.org/timeout-client", "1h"),
    ("haproxy.org/timeout-server", "1h"),
    ("haproxy-ingress.github.io/timeout-server", "1h"),
];

pub(super) fn service(channel: &Channel) -> Value {
    let service = &channel.spec.exposure.service;
    let mut body = json!({
        "spec": {
            "type": service.kind.as_str(),
            "selector": names::selector(&channel.name),
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"}],
        },
    });
    if !service.annotations.is_empty() {
        body["metadata"]["annotations"] = json!(service.annotations);
    }
    body
}

pub(super) fn ingress(channel: &Channel) -> Option<Value> {
    let ingress = channel.spec.exposure.ingress.as_ref()?;
    let ours = INGRESS_ANNOTATIONS.map(|(k, v)| (k.to_owned(), v.to_owned()));
    let mut annotations = BTreeMap::from(ours);
    annotations.extend(ingress.annotations.clone());
    let mut spec = json!({
        "rules": [{
            "host": ingress.host,
            "http": {"paths": [{
                "path": channel.path(),
                "pathType": "Prefix",
                "backend": {"service": {"name": channel.object_name(), "port": {"name": "http"}}},
            }]},
        }],
    });
    if let Some(class) = &ingress.class_name {
        spec["ingressClassName"] = json!(class);
    }
    if let Some(secret) = &ingress.tls_secret_name {
        spec["tls"] = json!([{"hosts": [ingress.host], "secretName": secret}]);
    }
    Some(json!({"metadata": {"annotations": annotations}, "spec": spec}))
}

/// `0s` is no timeout (GEP-1742); what a Gateway has of its own would end every stream.
pub(super) fn route(channel: &Channel) -> Option<Value> {
    let gateway = channel.spec.exposure.gateway.as_ref()?;
    let mut spec = json!({
        "parentRefs": gateway.parent_refs,
        "rules": [{
            "matches": [{"path": {"type": "PathPrefix", "value": channel.path()}}],
            "timeouts": {"request": "0s", "backendRequest": "0s"},
            "backendRefs": [{"name": channel.object_name(), "port": 80}],
        }],
    });
    if !gateway.hostnames.is_empty() {
        spec["hostnames"] = json!(gateway.hostnames);
    }
    Some(json!({"spec": spec}))
}

/// Where clients find the channel: outside if there is a way in, else inside the cluster. A host name with a wildcard stands for
/// many, so no URL can be made of it. `balancer` is the address that a load balancer gave the Service.
#[must_use]
pub fn url(channel: &Channel, cluster_domain: &str, balancer: Option<&str>) -> String {
    let exposure = &channel.spec.exposure;
    let scheme = |tls| if tls { "https" } else { "http" };
    let ingress = exposure.ingress.as_ref().filter(|ingress| !is_wildcard(&ingress.host));
    let gateway = exposure.gateway.as_ref().and_then(|gateway| {
        let host = gateway.hostnames.iter().find(|host| !is_wildcard(host))?;
        Some((gateway, host))
    });
    let base = if let Some(ingress) = ingress {
        format!("{}://{}", scheme(ingress.tls_secret_name.is_some()), ingress.host)
    } else if let Some((gateway, host)) = gateway {
        format!("{}://{host}", scheme(gateway.tls))
    } else if let Some(address) = balancer {
        match address.parse::<Ipv6Addr>() {
            Ok(address) => format!("http://[{address}]"),
            Err(_) => format!("http://{address}"),
        }
    } else {
        format!("http://{}.{}.svc.{cluster_domain}", channel.object_name(), channel.namespace)
    };
    format!("{base}{}/events", channel.path())
}

/// The host names of Ingress and HTTPRoute that stand for many.
#[must_use]
pub fn wildcards(channel: &Channel) -> Vec<&str> {
    let exposure = &channel.spec.exposure;
    let ingress = exposure.ingress.iter().map(|ingress| &*ingress.host);
    let gateway = exposure.gateway.iter().flat_map(|gateway| &gateway.hostnames);
    ingress.chain(gateway.map(|host| &**host)).filter(|host| is_wildcard(host)).collect()
}

fn is_wildcard(host: &str) -> bool {
    host.starts_with("*.")
}

//! The Ingress for the path of the channel.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule,
    IngressServiceBackend, IngressSpec, IngressTLS, ServiceBackendPort,
};

use super::metadata_with;
use crate::workload::Workload;

/// Settings that event streams need with common Ingress controllers: no response buffering, long idle timeouts, and new streams to the broker that
/// has the fewest. A controller ignores the annotations of the others.
const STREAM_ANNOTATIONS: [(&str, &str); 8] = [
    ("nginx.ingress.kubernetes.io/proxy-buffering", "off"),
    ("nginx.ingress.kubernetes.io/proxy-http-version", "1.1"),
    ("nginx.ingress.kubernetes.io/proxy-read-timeout", "3600"),
    ("nginx.ingress.kubernetes.io/proxy-send-timeout", "3600"),
    ("haproxy.org/timeout-server", "1h"),
    ("haproxy-ingress.github.io/timeout-server", "1h"),
    ("haproxy.org/load-balance", "leastconn"),
    ("haproxy-ingress.github.io/balance-algorithm", "leastconn"),
];

/// Largest request body that nginx forwards, in bytes; its default of 1 MiB would reject batches.
const BODY_SIZE_ANNOTATION: &str = "nginx.ingress.kubernetes.io/proxy-body-size";

/// `None` if the channel has no `exposure.ingress`.
pub(super) fn build(workload: &Workload) -> Option<Ingress> {
    let ingress = workload.exposure.ingress.as_ref()?;
    let defaults = STREAM_ANNOTATIONS.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut annotations = BTreeMap::from(defaults);
    annotations.insert(BODY_SIZE_ANNOTATION.into(), workload.largest_body.to_string());
    annotations.extend(ingress.annotations.clone());
    let path = HTTPIngressPath {
        path: Some(workload.path.clone()),
        path_type: "Prefix".into(),
        backend: IngressBackend {
            service: Some(IngressServiceBackend {
                name: workload.object_name(),
                port: Some(ServiceBackendPort {
                    name: Some("http".into()),
                    ..ServiceBackendPort::default()
                }),
            }),
            ..IngressBackend::default()
        },
    };
    let tls = ingress.tls_secret_name.clone().map(|secret| IngressTLS {
        hosts: Some(vec![ingress.host.clone()]),
        secret_name: Some(secret),
    });
    Some(Ingress {
        metadata: metadata_with(workload, &ingress.labels, &annotations),
        spec: Some(IngressSpec {
            ingress_class_name: ingress.class_name.clone(),
            rules: Some(vec![IngressRule {
                host: Some(ingress.host.clone()),
                http: Some(HTTPIngressRuleValue { paths: vec![path] }),
            }]),
            tls: tls.map(|tls| vec![tls]),
            ..IngressSpec::default()
        }),
        ..Ingress::default()
    })
}

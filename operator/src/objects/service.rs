//! The Service in front of the brokers.

use eventcast_crds::channel::exposure::Exposure;
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::metadata_with;
use crate::{channel::Channel, names};

/// Ports of the Service. A port has the name of the container's port.
const HTTP: (&str, i32) = ("http", 80);
const HTTPS: (&str, i32) = ("https", 443);

pub(super) fn build(channel: &Channel) -> Service {
    let service = &channel.spec.exposure.service;
    let ranges = &service.load_balancer_source_ranges;
    let families = service.ip_families.iter().map(|family| family.as_str().to_owned());
    Service {
        metadata: metadata_with(channel, &service.labels, &service.annotations),
        spec: Some(ServiceSpec {
            type_: Some(service.kind.as_str().into()),
            selector: Some(names::selector(&channel.name)),
            ports: Some(ports(&channel.spec.exposure)),
            external_traffic_policy: service.external_traffic_policy.map(|p| p.as_str().into()),
            load_balancer_class: service.load_balancer_class.clone(),
            load_balancer_source_ranges: (!ranges.is_empty()).then(|| ranges.clone()),
            ip_family_policy: service.ip_family_policy.map(|policy| policy.as_str().into()),
            ip_families: (!service.ip_families.is_empty()).then(|| families.collect()),
            traffic_distribution: service.traffic_distribution.map(|d| d.as_str().into()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn ports(exposure: &Exposure) -> Vec<ServicePort> {
    let http = exposure.serves_plaintext().then_some(HTTP);
    let https = exposure.tls.as_ref().map(|_| HTTPS);
    let port = |(name, port): (&str, i32)| ServicePort {
        name: Some(name.into()),
        port,
        target_port: Some(IntOrString::String(name.into())),
        protocol: Some("TCP".into()),
        app_protocol: Some(name.into()),
        ..ServicePort::default()
    };
    http.into_iter().chain(https).map(port).collect()
}

//! The Service in front of the brokers.

use eventcast_crds::channel::exposure::Exposure;
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Backend, Inputs, metadata_with};
use crate::{owner::OwnerKey, workload::Workload};

/// Ports of the Service. A port has the name of the container's port.
const HTTP: (&str, i32) = ("http", 80);
const HTTPS: (&str, i32) = ("https", 443);

/// For a channel that a pool serves: it has the pods of the pool, or is another name of the pool's Service if that is in another namespace.
pub(super) fn build(workload: &Workload, inputs: Inputs<'_>) -> Service {
    let (selector, exposure) = match inputs.backend {
        Backend::Own => (workload.owner.key.selector(), &workload.exposure),
        Backend::Pool { key, exposure } if key.namespace == workload.namespace() => {
            (key.selector(), &**exposure)
        }
        Backend::Pool { key, exposure } => {
            let domain = &inputs.settings.cluster_domain;
            return external_name(workload, exposure, service_host(key, domain));
        }
    };
    let service = &workload.exposure.service;
    let ranges = &service.load_balancer_source_ranges;
    let families = service.ip_families.iter().map(|family| family.as_str().to_owned());
    Service {
        metadata: metadata_with(workload, &service.labels, &service.annotations),
        spec: Some(ServiceSpec {
            type_: Some(service.kind.as_str().into()),
            selector: Some(selector),
            ports: Some(ports(exposure)),
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

/// Host name of the Service of `key` inside the cluster.
pub(crate) fn service_host(key: &OwnerKey, cluster_domain: &str) -> String {
    format!("{}.{}.svc.{cluster_domain}", key.object_name(), key.namespace)
}

fn external_name(workload: &Workload, exposure: &Exposure, host: String) -> Service {
    let service = &workload.exposure.service;
    Service {
        metadata: metadata_with(workload, &service.labels, &service.annotations),
        spec: Some(ServiceSpec {
            type_: Some("ExternalName".into()),
            external_name: Some(host),
            ports: Some(ports(exposure)),
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

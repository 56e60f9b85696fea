//! The Service in front of the brokers.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::core::ObjectMeta;

use super::metadata;
use crate::{channel::Channel, names};

pub(super) fn build(channel: &Channel) -> Service {
    let service = &channel.spec.exposure.service;
    let annotations = (!service.annotations.is_empty()).then(|| service.annotations.clone());
    Service {
        metadata: ObjectMeta { annotations, ..metadata(channel) },
        spec: Some(ServiceSpec {
            type_: Some(service.kind.as_str().into()),
            selector: Some(names::selector(&channel.name)),
            ports: Some(vec![ServicePort {
                name: Some("http".into()),
                port: 80,
                target_port: Some(IntOrString::String("http".into())),
                protocol: Some("TCP".into()),
                app_protocol: Some("http".into()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

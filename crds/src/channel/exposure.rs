//! How clients reach the brokers of a channel.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Alpn, Tls, TlsVersion};

mod probe;
mod service;

pub use probe::ProbeSpec;

pub use service::{
    IpFamily, IpFamilyPolicy, ServiceKind, ServiceSpec, TrafficDistribution, TrafficPolicy,
};

/// How clients reach the brokers: through a Service, and from outside the cluster through an Ingress, a Gateway or both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Exposure {
    /// The Service in front of the brokers.
    pub service: ServiceSpec,
    /// Creates an Ingress for the path of the channel, with the timeouts and without the buffering that event streams need.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressSpec>,
    /// Creates an HTTPRoute (Gateway API) for the path of the channel, without timeouts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewaySpec>,
    /// Serves TLS on port 8443 of the Service, instead of plain HTTP or besides it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// Serves a demo page at / of the Service, for kubectl port-forward. Ingress and Gateway forward only the path of the channel.
    pub page: bool,
    /// Networks of the proxies whose X-Forwarded-For determines the client's address, such as 10.0.0.0/8; [] trusts no proxy. If not set:
    /// the proxies of the operator (its --trusted-proxies, by default private networks) if the channel has an Ingress or an HTTPRoute and no
    /// client from outside has the address of a node, that is with a Service of type ClusterIP or externalTrafficPolicy Local; otherwise none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)))]
    pub trusted_proxies: Option<Vec<String>>,
    /// Whether the load balancer starts every connection with a PROXY protocol header (version 1 or 2). Brokers close connections without
    /// the header, and connections from outside trustedProxies.
    pub proxy_protocol: bool,
    /// Checks from time to time that events reach clients through status.url.
    pub probe: ProbeSpec,
}

impl Exposure {
    /// Whether brokers serve plain HTTP.
    #[must_use]
    pub fn serves_plaintext(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| tls.plaintext)
    }
}

/// TLS of the brokers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsSpec {
    /// Secret of type kubernetes.io/tls in the same namespace. Brokers read it again when it changes.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// Secret in the same namespace with the certificate authorities of clients (PEM). Clients may then present a certificate of theirs,
    /// for access.certificates. Brokers read it again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_secret: Option<ClientCaSecret>,
    /// Lowest version of TLS.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// Protocols that are offered to clients. Browsers choose h2 if it is there.
    #[serde(default = "default_alpn")]
    #[schemars(length(min = 1, max = 2))]
    pub alpn: Vec<Alpn>,
    /// Whether port 80 of the Service serves plain HTTP as well. Ingress and Gateway need it.
    #[serde(default)]
    pub plaintext: bool,
}

/// The certificate authorities of clients: a key of a Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientCaSecret {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the Secret.
    #[serde(default = "default_ca_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn default_ca_key() -> String {
    "ca.crt".into()
}

fn default_alpn() -> Vec<Alpn> {
    Tls::default().alpn
}

/// An Ingress for the path of the channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressSpec {
    /// Host name that clients use.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// IngressClass. If not set, the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
    /// Secret with the TLS certificate of the host. If not set, the channel is served over plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub tls_secret_name: Option<String>,
    /// Labels of the Ingress.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Ingress. They override those of the operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An HTTPRoute for the path of the channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    /// Gateways that the HTTPRoute attaches to.
    #[schemars(length(min = 1, max = 8))]
    pub parent_refs: Vec<ParentRef>,
    /// Host names that clients use; status.url shows the first one. If not set, those of the Gateway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub hostnames: Vec<String>,
    /// Whether clients reach the Gateway by HTTPS: determines the scheme of status.url.
    #[serde(default)]
    pub tls: bool,
    /// Labels of the HTTPRoute.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the HTTPRoute, for example for ExternalDNS.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Whether the HTTPRoute disables the timeouts of requests (Disabled), which would end streams, or does not mention timeouts (Unset), for
    /// Gateways that reject them. Then allow requests of an hour in the policy of the Gateway.
    #[serde(default)]
    pub timeouts: RouteTimeouts,
}

/// What the HTTPRoute says about timeouts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RouteTimeouts {
    /// There are none.
    #[default]
    Disabled,
    /// Nothing.
    Unset,
}

/// A reference to a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// Name of the Gateway.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the Gateway. If not set, the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Listener of the Gateway. If not set, all listeners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
}

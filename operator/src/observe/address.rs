//! Where clients reach brokers. Pure.

use std::net::Ipv6Addr;

use eventcast_crds::channel::exposure::Exposure;

use crate::{objects::service_host, workload::Workload};

/// For clients outside of the cluster: by the Ingress, else the HTTPRoute, else the load balancer. A wildcard host name is
/// skipped, because it is no host that a client can open. `load_balancer` is the host name or address of the Service's load balancer.
fn public(workload: &Workload, load_balancer: Option<&str>) -> Option<String> {
    let exposure = &workload.exposure;
    let scheme = |tls| if tls { "https" } else { "http" };
    let ingress = exposure.ingress.as_ref().filter(|ingress| !is_wildcard(&ingress.host));
    if let Some(ingress) = ingress {
        return Some(format!("{}://{}", scheme(ingress.tls_secret_name.is_some()), ingress.host));
    }
    let gateway = exposure.gateway.as_ref().and_then(|gateway| {
        let host = gateway.hostnames.iter().find(|host| !is_wildcard(host))?;
        Some((gateway, host))
    });
    if let Some((gateway, host)) = gateway {
        return Some(format!("{}://{host}", scheme(gateway.tls)));
    }
    let address = load_balancer?;
    let direct = scheme(exposure.tls.is_some());
    Some(match address.parse::<Ipv6Addr>() {
        Ok(address) => format!("{direct}://[{address}]"),
        Err(_) => format!("{direct}://{address}"),
    })
}

/// URLs of brokers, without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// For clients outside of the cluster.
    pub public: Option<String>,
    /// Inside the cluster.
    pub inside: String,
    /// Inside the cluster, but without TLS where the brokers serve that: whoever sends there may not know their certificate authority.
    pub inside_plain: String,
}

impl Addresses {
    /// The addresses of the brokers with the listeners of `exposure`, behind the Service of `workload`.
    #[must_use]
    pub fn new(
        workload: &Workload,
        exposure: &Exposure,
        cluster_domain: &str,
        load_balancer: Option<&str>,
    ) -> Self {
        let host = service_host(&workload.owner.key, cluster_domain);
        let inside = |tls| format!("{}://{host}", if tls { "https" } else { "http" });
        Self {
            public: public(workload, load_balancer),
            inside: inside(exposure.tls.is_some()),
            inside_plain: inside(!exposure.serves_plaintext()),
        }
    }

    /// For clients outside of the cluster if there is one, else inside.
    #[must_use]
    pub fn url(&self) -> &str {
        self.public.as_deref().unwrap_or(&self.inside)
    }
}

/// The wildcard host names of Ingress and HTTPRoute.
#[must_use]
pub fn wildcard_hosts(workload: &Workload) -> Vec<&str> {
    let exposure = &workload.exposure;
    let ingress = exposure.ingress.iter().map(|ingress| &*ingress.host);
    let gateway = exposure.gateway.iter().flat_map(|gateway| &gateway.hostnames);
    ingress.chain(gateway.map(|host| &**host)).filter(|host| is_wildcard(host)).collect()
}

fn is_wildcard(host: &str) -> bool {
    host.starts_with("*.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{Channel, fixture::channel};

    #[test]
    fn the_internal_url_needs_no_certificate_authority_if_there_is_a_way_without() {
        for (spec, scheme) in [
            ("", "http"),
            ("ingress: {host: a.example}", "http"),
            ("tls: {secretName: t, plaintext: true}", "http"),
            ("tls: {secretName: t}", "https"),
        ] {
            let (channel, _) = channel(&format!("spec: {{exposure: {{{spec}}}}}"));
            let expected = format!("{scheme}://orders-broker.shop.svc.k8s.example");
            let Channel { workload, .. } = channel;
            let addresses = Addresses::new(&workload, &workload.exposure, "k8s.example", None);
            assert_eq!(addresses.inside_plain, expected);
        }
    }

    #[test]
    fn the_url_is_that_of_the_outermost_proxy() {
        let domain = "cluster.local";
        for (spec, load_balancer, expected) in [
            ("", None, "http://orders-broker.shop.svc.cluster.local"),
            ("", Some("1.2.3.4"), "http://1.2.3.4"),
            (
                "gateway: {parentRefs: [{name: g}], hostnames: [b.example], tls: true}",
                None,
                "https://b.example",
            ),
            ("ingress: {host: a.example}", None, "http://a.example"),
            ("ingress: {host: a.example, tlsSecretName: t}", Some("x"), "https://a.example"),
            ("", Some("2001:db8::7"), "http://[2001:db8::7]"),
            ("", Some("lb.example"), "http://lb.example"),
            ("tls: {secretName: t}", None, "https://orders-broker.shop.svc.cluster.local"),
            ("tls: {secretName: t, plaintext: true}", Some("1.2.3.4"), "https://1.2.3.4"),
            (
                "tls: {secretName: t, plaintext: true}, ingress: {host: a.example}",
                None,
                "http://a.example",
            ),
            // no client can open a wildcard host name
            ("ingress: {host: '*.example'}", Some("x"), "http://x"),
            (
                "gateway: {parentRefs: [{name: g}], hostnames: ['*.example', b.example]}",
                None,
                "http://b.example",
            ),
            (
                "gateway: {parentRefs: [{name: g}], hostnames: ['*.example']}",
                None,
                "http://orders-broker.shop.svc.cluster.local",
            ),
        ] {
            let (channel, _) = channel(&format!("spec: {{exposure: {{{spec}}}}}"));
            let Channel { workload, .. } = channel;
            let addresses = Addresses::new(&workload, &workload.exposure, domain, load_balancer);
            assert_eq!(addresses.url(), expected);
        }
    }
}

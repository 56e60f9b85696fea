//! Where clients reach a channel. Pure.

use std::net::Ipv6Addr;

use crate::channel::Channel;

/// URL of the channel: the one for clients outside of the cluster, else that of its Service inside the cluster.
///
/// `load_balancer` is the host name or address of the Service's load balancer.
#[must_use]
pub fn url(channel: &Channel, cluster_domain: &str, load_balancer: Option<&str>) -> String {
    public_url(channel, load_balancer).unwrap_or_else(|| {
        let is_tls = channel.spec.exposure.tls.is_some();
        format!("{}{}/events", inside(channel, cluster_domain, is_tls), channel.path())
    })
}

/// URL of the channel for clients outside of the cluster: by its Ingress, else its HTTPRoute, else its load balancer. A wildcard host name is
/// skipped, because it is no host that a client can open.
#[must_use]
pub fn public_url(channel: &Channel, load_balancer: Option<&str>) -> Option<String> {
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
    } else {
        let address = load_balancer?;
        let direct = scheme(exposure.tls.is_some());
        match address.parse::<Ipv6Addr>() {
            Ok(address) => format!("{direct}://[{address}]"),
            Err(_) => format!("{direct}://{address}"),
        }
    };
    Some(format!("{base}{}/events", channel.path()))
}

/// URL of the channel inside the cluster, without TLS where the brokers serve that: whoever sends there may not know their certificate
/// authority.
#[must_use]
pub fn internal_url(channel: &Channel, cluster_domain: &str) -> String {
    let is_tls = !channel.spec.exposure.serves_plaintext();
    format!("{}{}/events", inside(channel, cluster_domain, is_tls), channel.path())
}

fn inside(channel: &Channel, cluster_domain: &str, is_tls: bool) -> String {
    let scheme = if is_tls { "https" } else { "http" };
    format!("{scheme}://{}.{}.svc.{cluster_domain}", channel.object_name(), channel.namespace)
}

/// The wildcard host names of Ingress and HTTPRoute.
#[must_use]
pub fn wildcard_hosts(channel: &Channel) -> Vec<&str> {
    let exposure = &channel.spec.exposure;
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
    use crate::channel::fixture::channel;

    #[test]
    fn the_internal_url_needs_no_certificate_authority_if_there_is_a_way_without() {
        for (spec, scheme) in [
            ("", "http"),
            ("ingress: {host: a.example}", "http"),
            ("tls: {secretName: t, plaintext: true}", "http"),
            ("tls: {secretName: t}", "https"),
        ] {
            let (channel, _) = channel(&format!("spec: {{exposure: {{{spec}}}}}"));
            let expected = "://orders-broker.shop.svc.k8s.example/channels/shop/orders/events";
            assert_eq!(internal_url(&channel, "k8s.example"), format!("{scheme}{expected}"));
        }
    }

    #[test]
    fn the_url_is_that_of_the_outermost_proxy() {
        let domain = "cluster.local";
        for (spec, load_balancer, expected) in [
            ("", None, "http://orders-broker.shop.svc.cluster.local/channels/shop/orders/events"),
            ("", Some("1.2.3.4"), "http://1.2.3.4/channels/shop/orders/events"),
            (
                "gateway: {parentRefs: [{name: g}], hostnames: [b.example], tls: true}",
                None,
                "https://b.example/channels/shop/orders/events",
            ),
            ("ingress: {host: a.example}", None, "http://a.example/channels/shop/orders/events"),
            (
                "ingress: {host: a.example, tlsSecretName: t}",
                Some("x"),
                "https://a.example/channels/shop/orders/events",
            ),
            ("", Some("2001:db8::7"), "http://[2001:db8::7]/channels/shop/orders/events"),
            ("", Some("lb.example"), "http://lb.example/channels/shop/orders/events"),
            (
                "tls: {secretName: t}",
                None,
                "https://orders-broker.shop.svc.cluster.local/channels/shop/orders/events",
            ),
            (
                "tls: {secretName: t, plaintext: true}",
                Some("1.2.3.4"),
                "https://1.2.3.4/channels/shop/orders/events",
            ),
            (
                "tls: {secretName: t, plaintext: true}, ingress: {host: a.example}",
                None,
                "http://a.example/channels/shop/orders/events",
            ),
            // no client can open a wildcard host name
            ("ingress: {host: '*.example'}", Some("x"), "http://x/channels/shop/orders/events"),
            (
                "gateway: {parentRefs: [{name: g}], hostnames: ['*.example', b.example]}",
                None,
                "http://b.example/channels/shop/orders/events",
            ),
            (
                "gateway: {parentRefs: [{name: g}], hostnames: ['*.example']}",
                None,
                "http://orders-broker.shop.svc.cluster.local/channels/shop/orders/events",
            ),
        ] {
            let (channel, _) = channel(&format!("spec: {{exposure: {{{spec}}}}}"));
            assert_eq!(url(&channel, domain, load_balancer), expected);
        }
    }
}

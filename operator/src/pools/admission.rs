//! Which channels a pool serves. Pure.
//!
//! Both sides must agree: a channel names the pool, and the pool says from which namespaces it accepts channels, and how many. Those that it serves keep their
//! place; the oldest of the others come next.

use std::{cmp::Reverse, collections::HashMap};

use eventcast_crds::channel::{EventChannelSpec, exposure::Exposure};
use jiff::Timestamp;

use crate::{owner::ChannelKey, pool_views::Refusal, status::reasons};

/// What a pool must know of a channel that names it.
#[derive(Clone, Debug)]
pub(super) struct Candidate<'a> {
    /// The channel.
    pub(super) key: &'a ChannelKey,
    /// Its spec.
    pub(super) spec: &'a EventChannelSpec,
    /// When it was created.
    pub(super) created: Option<Timestamp>,
    /// Whether the pool serves it already.
    pub(super) is_served: bool,
}

/// The refusals among `candidates`. `accepts` says whether the pool accepts channels of a namespace.
#[must_use]
pub(super) fn refusals(
    pool: &str,
    exposure: &Exposure,
    max: u32,
    accepts: impl Fn(&str) -> bool,
    candidates: &[Candidate<'_>],
) -> HashMap<ChannelKey, Refusal> {
    let mut refused = HashMap::new();
    let mut suitable = Vec::new();
    for candidate in candidates {
        match unsuitable(pool, exposure, &accepts, candidate) {
            Some(refusal) => {
                refused.insert(candidate.key.clone(), refusal);
            }
            None => suitable.push(candidate),
        }
    }
    suitable
        .sort_by_key(|candidate| (Reverse(candidate.is_served), candidate.created, candidate.key));
    let full = || Refusal {
        reason: reasons::POOL_FULL,
        message: format!(
            "BrokerPool {pool} serves {max} channels already: raise its channels.max, or choose another pool"
        ),
    };
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    refused.extend(suitable.into_iter().skip(max).map(|candidate| (candidate.key.clone(), full())));
    refused
}

fn unsuitable(
    pool: &str,
    exposure: &Exposure,
    accepts: impl Fn(&str) -> bool,
    candidate: &Candidate<'_>,
) -> Option<Refusal> {
    let namespace = &candidate.key.0;
    if !accepts(namespace) {
        let message = format!(
            "BrokerPool {pool} accepts no channels of namespace {namespace}: see its channels.namespaces"
        );
        return Some(Refusal { reason: reasons::NOT_ALLOWED_BY_POOL, message });
    }
    let is_elsewhere = pool.split_once('/').is_some_and(|(of_pool, _)| of_pool != namespace);
    let own = &candidate.spec.exposure;
    if is_elsewhere && (own.ingress.is_some() || own.gateway.is_some()) {
        let message = format!(
            "exposure.ingress and exposure.gateway need a Service with endpoints, and the brokers of BrokerPool {pool} are in another namespace: remove them, and expose the pool"
        );
        return Some(Refusal { reason: reasons::NOT_IN_POOL, message });
    }
    let is_plain = exposure.serves_plaintext();
    if !is_plain && (own.ingress.is_some() || own.gateway.is_some()) {
        let message = format!(
            "exposure.ingress and exposure.gateway reach the brokers by plain HTTP: set exposure.tls.plaintext of BrokerPool {pool} to true, or remove them"
        );
        return Some(Refusal { reason: reasons::NOT_IN_POOL, message });
    }
    let access = &candidate.spec.access;
    let secret = if access.tokens.iter().any(|token| token.key_secret.is_some()) {
        "access.tokens.keySecret needs a Secret: use jwksUrl or jwks"
    } else if access.tokens.iter().any(|token| token.ca_secret.is_some()) {
        "access.tokens.caSecret needs a Secret: use a certificate that the system trusts, or jwks"
    } else if access.api_keys.is_some() {
        "access.apiKeys needs a Secret: use tokens"
    } else if access.kubernetes.is_some() {
        "access.kubernetes needs the identity of the channel's own brokers: use tokens"
    } else {
        let has_authorities =
            exposure.tls.as_ref().is_some_and(|tls| tls.client_ca_secret.is_some());
        let needs_authorities = !access.certificates.is_empty();
        return (needs_authorities && !has_authorities).then(|| Refusal {
            reason: reasons::NOT_IN_POOL,
            message: format!(
                "access.certificates needs the certificate authorities of clients: set exposure.tls.clientCaSecret of BrokerPool {pool}"
            ),
        });
    };
    let message = format!("{secret}, or give the channel brokers of its own (remove brokers.pool)");
    Some(Refusal { reason: reasons::SECRET_NOT_IN_POOL, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(yaml: &str) -> EventChannelSpec {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn exposure(yaml: &str) -> Exposure {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn reason(exposure: &Exposure, namespace: &str, yaml: &str) -> Option<&'static str> {
        let (key, spec) = ((namespace.to_owned(), "a".to_owned()), spec(yaml));
        let candidate = Candidate { key: &key, spec: &spec, created: None, is_served: false };
        let accepts = |namespace: &str| namespace != "stranger";
        let refused = refusals("infra/shared", exposure, 10, accepts, &[candidate]);
        refused.get(&key).map(|refusal| refusal.reason)
    }

    #[test]
    fn channels_that_a_pool_cannot_serve_are_refused() {
        let plain = exposure("{}");
        let token =
            |more: &str| format!("access: {{tokens: [{{issuer: i, audience: a, {more}}}]}}");
        for (namespace, yaml, expected) in [
            ("shop", "{}", None),
            ("stranger", "{}", Some("NotAllowedByPool")),
            ("infra", "exposure: {ingress: {host: a.example}}", None),
            ("shop", "exposure: {ingress: {host: a.example}}", Some("NotInPool")),
            ("shop", "exposure: {gateway: {parentRefs: [{name: g}]}}", Some("NotInPool")),
            ("shop", &token("jwksUrl: 'https://i.example'"), None),
            ("shop", &token("keySecret: {name: k, key: k}"), Some("SecretNotInPool")),
            (
                "shop",
                &token("jwksUrl: 'https://i.example', caSecret: {name: k, key: k}"),
                Some("SecretNotInPool"),
            ),
            ("shop", "access: {apiKeys: {secretName: k}}", Some("SecretNotInPool")),
            ("shop", "access: {kubernetes: {}}", Some("SecretNotInPool")),
            ("shop", "access: {certificates: [{names: [a]}]}", Some("NotInPool")),
        ] {
            assert_eq!(reason(&plain, namespace, yaml), expected, "{namespace} {yaml}");
        }
        let tls = exposure("tls: {secretName: t, clientCaSecret: {name: c, key: c}}");
        assert_eq!(reason(&tls, "shop", "access: {certificates: [{names: [a]}]}"), None);
        let exposed = "exposure: {ingress: {host: a.example}}";
        assert_eq!(reason(&tls, "infra", exposed), Some("NotInPool"), "by plain HTTP");
    }

    #[test]
    fn those_that_are_served_stay_and_then_the_oldest_come() {
        let keys: Vec<_> = (0..4).map(|i| ("shop".to_owned(), format!("c{i}"))).collect();
        let spec = spec("{}");
        let at = |second| Timestamp::from_second(second).ok();
        let ages = [(at(4), true), (at(1), false), (at(2), false), (at(3), false)];
        let candidates: Vec<_> = keys
            .iter()
            .zip(ages)
            .map(|(key, (created, is_served))| Candidate { key, spec: &spec, created, is_served })
            .collect();
        let refused = refusals("shop/p", &exposure("{}"), 2, |_| true, &candidates);
        let mut names: Vec<_> = refused.keys().map(|key| &*key.1).collect();
        names.sort_unstable();
        assert_eq!(names, ["c2", "c3"]);
        assert!(refused.values().all(|refusal| refusal.reason == "PoolFull"));
        assert!(refusals("shop/p", &exposure("{}"), 4, |_| true, &candidates).is_empty());
    }
}

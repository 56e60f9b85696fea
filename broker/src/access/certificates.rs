//! Client certificates: TLS has verified them, and the rules of the channel say what their names may do.

use std::sync::Arc;

use eventcast_crds::config::CertificateRule;
use serde_json::json;

use super::{
    credential::{Denied, Invalid},
    grant::{AuthMethod, Grant},
    rules,
    template::Claims,
};
use crate::{identity::Identity, tls::ClientCertificate};

/// The issuer of these identities.
const ISSUER: &str = "certificates";

/// The grant of the client with `certificate`: that of the first of `rules` for its name. Without a rule it may do nothing, not even what
/// anonymous clients may.
///
/// # Errors
/// The certificate has no usable name, or its authority is no longer accepted. The caller checks whether it has expired.
pub(super) fn verify(
    rules: &[CertificateRule],
    certificate: &ClientCertificate,
) -> Result<Arc<Grant>, Denied> {
    let Some(name) = &certificate.name else {
        let detail = "The certificate does not say who the client is: it must have one URI name, or else a DNS name, as its subject \
                      alternative name, of at most 1024 bytes. The common name does not count.";
        return Err(Invalid::new("name", detail).into());
    };
    if !certificate.is_trusted() {
        let detail = "The authority of the certificate is not accepted any more. Get a new certificate, and connect again with it.";
        return Err(Invalid::new("authority", detail).of(name).into());
    }
    let (not_before, not_after) = (certificate.not_before, certificate.not_after);
    Ok(Arc::new(Grant {
        issued_at: Some(not_before),
        expires: Some(not_after),
        ..grant(rules, name)
    }))
}

fn grant(rules: &[CertificateRule], name: &str) -> Grant {
    let rule = rules.iter().find(|rule| rule.covers(name));
    let claims: Claims = [("name".to_owned(), json!(name))].into_iter().collect();
    Grant {
        auth_method: AuthMethod::Certificate,
        identity: Some(Identity { issuer: ISSUER.into(), subject: name.into() }),
        subscribe: rules::subscribe(rule.and_then(|r| r.subscribe.as_ref()), None, &claims),
        publish: rules::publish(rule.and_then(|r| r.publish.as_ref()), None, &claims),
        manage: rule.is_some_and(|rule| rule.manage),
        issued_at: None,
        expires: None,
        quota: rule.and_then(|rule| rule.quota.as_deref()).map(Arc::from),
        ticket: None,
    }
}

#[cfg(test)]
mod tests {
    use eventcast_wire::grants::Topics;

    use super::*;

    fn topics(grant: &Grant) -> Option<Vec<&str>> {
        grant.subscribe.as_ref().map(|topics| Topics::describe(topics).0)
    }

    #[test]
    fn the_first_rule_for_a_name_counts_and_no_rule_grants_nothing() {
        let rules: Vec<CertificateRule> = serde_json::from_value(json!([
            {"names": ["admin.example.com"], "manage": true, "quota": "few"},
            {"names": ["*.example.com"], "subscribe": {"topics": ["device.{name}"]},
             "publish": {"topics": ["device.{name}"], "source": "/devices/{name}"}},
        ]))
        .unwrap();
        let admin = grant(&rules, "admin.example.com");
        assert!(admin.manage && admin.subscribe.is_none(), "{admin:?}");
        assert_eq!(admin.quota.as_deref(), Some("few"));
        let device = grant(&rules, "m-7.example.com");
        assert_eq!(topics(&device).unwrap(), ["device.m-7%2Eexample%2Ecom"]);
        let publish = device.publish.unwrap();
        assert_eq!(publish.source.as_deref(), Some("/devices/m-7.example.com"));
        assert!(publish.check(Some("device.other"), "x").is_err() && !device.manage);
        let nobody = grant(&rules, "spiffe://example.com/x");
        assert!(nobody.subscribe.is_none() && nobody.publish.is_none() && !nobody.manage);
        assert_eq!(nobody.auth_method, AuthMethod::Certificate);
    }

    /// Names come from certificates, and a careless authority may sign any.
    #[test]
    fn a_name_is_one_segment_and_no_wildcard() {
        let rule = json!([{"subscribe": {"topics": ["device.{name}"]}}]);
        let rules: Vec<CertificateRule> = serde_json::from_value(rule).unwrap();
        for (name, wanted) in [
            (">", "device.%3E"),
            ("*", "device.%2A"),
            ("*.example.com", "device.*%2Eexample%2Ecom"),
            ("spiffe://a.b/x", "device.spiffe://a%2Eb/x"),
            ("%2E", "device.%252E"),
        ] {
            assert_eq!(topics(&grant(&rules, name)).unwrap(), [wanted], "{name}");
        }
        assert!(
            topics(&grant(&rules, &"x".repeat(201))).unwrap().is_empty(),
            "too long for a topic"
        );
    }
}

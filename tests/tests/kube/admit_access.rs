//! Valid and invalid objects for the rules of access control and TLS.

use serde_json::{Value, json};

use crate::admit::Proof;

pub(crate) fn tables() -> Vec<Proof> {
    let spec = |good: Value, bad: Value| (("a", good), ("a", bad));
    let of = |message, (good, bad)| (message, good, bad);
    vec![
        of(
            "Manage always needs a credential",
            spec(
                json!({"access": {"anonymous": ["Subscribe", "Publish"]}}),
                json!({"access": {"anonymous": ["Manage"]}}),
            ),
        ),
        of(
            "access.anonymousTopics must be",
            spec(
                json!({"access": {"anonymousTopics": ["public", "a.*", "b.>", ">"]}}),
                json!({"access": {"anonymousTopics": ["a..b"]}}),
            ),
        ),
        of(
            "access.anonymousTopics must be",
            spec(
                json!({"access": {"anonymousTopics": ["a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p"]}}),
                json!({"access": {"anonymousTopics": ["a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q"]}}),
            ),
        ),
        of(
            "access.anonymousTopics must be",
            spec(
                json!({"access": {"anonymousTopics": ["日本.ü"]}}),
                json!({"access": {"anonymousTopics": ["a.>.b"]}}),
            ),
        ),
        of(
            "access.tokens.jwksUrl must be",
            spec(
                issuer(&json!({"jwksUrl": "https://i.example:8443/keys?x=1"})),
                issuer(&json!({"jwksUrl": "http://i.example/keys"})),
            ),
        ),
        of(
            "access.tokens.jwksUrl must be",
            spec(
                issuer(&json!({"jwksUrl": "http://localhost:5556/keys"})),
                issuer(&json!({"jwksUrl": "https://user:p@i.example/keys"})),
            ),
        ),
        of(
            "access.tokens.jwksUrl must be",
            spec(
                issuer(&json!({"jwksUrl": "http://[::1]/keys"})),
                issuer(&json!({"jwksUrl": "https:///keys"})),
            ),
        ),
        of(
            "access.tokens.jwksUrl must be",
            spec(
                issuer(&json!({"jwksUrl": "https://[2001:db8::7]:1/keys"})),
                issuer(&json!({"jwksUrl": "https://i.example/{iss}"})),
            ),
        ),
        of(
            "access.tokens.jwksUrl must be",
            spec(
                issuer(&json!({"jwksUrl": "https://i"})),
                issuer(&json!({"jwksUrl": "https://i.example/#a"})),
            ),
        ),
        of(
            "set exactly one of jwksUrl, keySecret and jwks",
            spec(
                issuer(
                    &json!({"jwksUrl": null, "jwks": {"keys": [{"kty": "RSA", "n": "n", "e": "AQAB"}]}}),
                ),
                issuer(&json!({"jwks": {"keys": [{"kty": "RSA", "n": "n", "e": "AQAB"}]}})),
            ),
        ),
        of(
            "access.tokens.jwks must have public keys alone",
            spec(
                issuer(
                    &json!({"jwksUrl": null, "jwks": {"keys": [{"kty": "EC", "crv": "P-256", "x": "x", "y": "y"}]}}),
                ),
                issuer(
                    &json!({"jwksUrl": null, "jwks": {"keys": [{"kty": "EC", "crv": "P-256", "x": "x", "y": "y", "d": "d"}]}}),
                ),
            ),
        ),
        of(
            "remove it, or set jwksUrl",
            spec(
                issuer(&json!({"caSecret": {"name": "s", "key": "ca.crt"}})),
                issuer(
                    &json!({"jwksUrl": null, "keySecret": {"name": "s", "key": "k"}, "caSecret": {"name": "s", "key": "ca.crt"}}),
                ),
            ),
        ),
        of(
            "the key of keySecret and caSecret must be",
            spec(
                issuer(&json!({"jwksUrl": null, "keySecret": {"name": "s", "key": ".jwks"}})),
                issuer(&json!({"jwksUrl": null, "keySecret": {"name": "s", "key": "a/b"}})),
            ),
        ),
        of(
            "the key of keySecret and caSecret must be",
            spec(
                issuer(&json!({"jwksUrl": null, "keySecret": {"name": "s", "key": "jwks.json"}})),
                issuer(&json!({"jwksUrl": null, "keySecret": {"name": "s", "key": "..data"}})),
            ),
        ),
        of(
            "the key of keySecret and caSecret must be",
            spec(
                issuer(&json!({"jwksUrl": null, "keySecret": {"name": "s", "key": "a..b_-"}})),
                issuer(&json!({"jwksUrl": null, "keySecret": {"name": "s", "key": ".."}})),
            ),
        ),
        of(
            "the same issuer and audience",
            spec(
                json!({"access": {"tokens": [token(&json!({})), token(&json!({"audience": "b"}))]}}),
                json!({"access": {"tokens": [token(&json!({})), token(&json!({"quota": null}))]}}),
            ),
        ),
        of(
            "a claim in braces is a whole segment",
            spec(
                issuer(
                    &json!({"subscribe": {"topics": ["user.{sub}", "{realm_access.roles}.>", "a.*"]}}),
                ),
                issuer(&json!({"subscribe": {"topics": ["user{sub}"]}})),
            ),
        ),
        of(
            "a claim in braces is a whole segment",
            spec(
                issuer(&json!({"publish": {"topics": ["team.{groups}.>"]}})),
                issuer(&json!({"publish": {"topics": ["user.{}"]}})),
            ),
        ),
        of(
            "a claim in braces is a whole segment",
            spec(
                issuer(&json!({"subscribe": {"topics": []}})),
                issuer(&json!({"subscribe": {"topics": ["{sub}x"]}})),
            ),
        ),
        of(
            "a claim in braces is a whole segment",
            spec(
                issuer(&json!({"publish": {"topics": []}})),
                issuer(&json!({"publish": {"topics": [">.{sub}"]}})),
            ),
        ),
        of(
            "access.tokens.publish.types must be",
            spec(
                issuer(&json!({"publish": {"topics": [], "types": ["order.*"]}})),
                issuer(&json!({"publish": {"topics": [], "types": ["order."]}})),
            ),
        ),
        of(
            "must have at least one claim",
            spec(
                issuer(&json!({"manage": {"requiredClaims": {"role": "admin"}}})),
                issuer(&json!({"manage": {"requiredClaims": {}}})),
            ),
        ),
        of(
            "must be the name of one of access.quotas",
            spec(
                json!({"access": {"quotas": [{"name": "users"}], "tokens": [token(&json!({"quota": "users"}))]}}),
                issuer(&json!({"quota": "users"})),
            ),
        ),
        of(
            "access.kubernetes.quota must be",
            spec(
                json!({"access": {"quotas": [{"name": "pods"}], "kubernetes": {"quota": "pods"}}}),
                json!({"access": {"quotas": [{"name": "pods"}], "kubernetes": {"quota": "users"}}}),
            ),
        ),
        of(
            "set exposure.tls.clientCaSecret",
            spec(certificate(&json!({})), json!({"access": {"certificates": [{}]}})),
        ),
        of(
            "set exposure.tls.clientCaSecret",
            spec(
                json!({"exposure": {"tls": {"secretName": "s", "clientCaSecret": {"name": "c"}}}}),
                json!({"access": {"certificates": [{}]}, "exposure": {"tls": {"secretName": "s"}}}),
            ),
        ),
        of(
            "access.certificates.names must be",
            spec(
                certificate(
                    &json!({"names": ["*.a.example", "spiffe://*/ns/*/sa/Orders", "urn:uuid:7"]}),
                ),
                certificate(&json!({"names": ["A.example"]})),
            ),
        ),
        of(
            "access.certificates.names must be",
            spec(
                certificate(&json!({"names": ["*"]})),
                certificate(&json!({"names": ["a*.example"]})),
            ),
        ),
        of(
            "access.certificates.names must be",
            spec(
                certificate(&json!({"names": ["spiffe://a.example/*"]})),
                certificate(&json!({"names": ["spiffe://a.example/x*"]})),
            ),
        ),
        of(
            "patterns in which {name} is a whole segment",
            spec(
                certificate(
                    &json!({"subscribe": {"topics": ["device.{name}.>"]}, "publish": {"topics": []}}),
                ),
                certificate(&json!({"subscribe": {"topics": ["device.{sub}"]}})),
            ),
        ),
        of(
            "patterns in which {name} is a whole segment",
            spec(
                certificate(&json!({"publish": {"topics": ["{name}", "order.*"]}})),
                certificate(&json!({"publish": {"topics": ["x{name}"]}})),
            ),
        ),
        of(
            "access.certificates.publish.types must be",
            spec(
                certificate(&json!({"publish": {"topics": [], "types": ["order.*"]}})),
                certificate(&json!({"publish": {"topics": [], "types": ["order."]}})),
            ),
        ),
        of(
            "access.certificates.manage needs names",
            spec(
                certificate(&json!({"names": ["a.example"], "manage": true})),
                certificate(&json!({"manage": true})),
            ),
        ),
        of(
            "access.certificates.quota must be",
            spec(
                certificate(&json!({"quota": "services"})),
                certificate(&json!({"quota": "users"})),
            ),
        ),
        of(
            "exposure.tls.clientCaSecret.key must be",
            spec(
                json!({"exposure": {"tls": {"secretName": "s", "clientCaSecret": {"name": "c", "key": "ca.pem"}}}}),
                json!({"exposure": {"tls": {"secretName": "s", "clientCaSecret": {"name": "c", "key": "a/b"}}}}),
            ),
        ),
        of(
            "access.quotas must have different names",
            spec(
                json!({"access": {"quotas": [{"name": "a"}, {"name": "b"}]}}),
                json!({"access": {"quotas": [{"name": "a"}, {"name": "a"}]}}),
            ),
        ),
        of(
            "from 30 to 3600, or 0",
            spec(
                json!({"access": {"tickets": {"maxSeconds": 0}}}),
                json!({"access": {"tickets": {"maxSeconds": 29}}}),
            ),
        ),
        of(
            "must be the name of a cookie",
            spec(
                json!({"access": {"cookie": {"name": "__Secure-a.b"}}}),
                json!({"access": {"cookie": {"name": "a=b"}}}),
            ),
        ),
        of(
            "set exposure.tls.plaintext to true",
            spec(
                json!({"exposure": {"tls": {"secretName": "s", "plaintext": true}, "ingress": {"host": "a.example"}}}),
                json!({"exposure": {"tls": {"secretName": "s"}, "ingress": {"host": "a.example"}}}),
            ),
        ),
        of(
            "set exposure.tls.plaintext to true",
            spec(
                json!({"exposure": {"tls": {"secretName": "s"}}}),
                json!({"exposure": {"tls": {"secretName": "s"}, "gateway": {"parentRefs": [{"name": "g"}]}}}),
            ),
        ),
    ]
}

/// An issuer of tokens with `more` fields; null removes one.
fn token(more: &Value) -> Value {
    let mut token = json!({"issuer": "i", "audience": "a", "jwksUrl": "https://i/keys"});
    for (key, value) in more.as_object().into_iter().flatten() {
        token[key] = value.clone();
    }
    token.as_object_mut().into_iter().for_each(|fields| fields.retain(|_, value| !value.is_null()));
    token
}

/// A channel with one issuer.
fn issuer(more: &Value) -> Value {
    json!({"access": {"tokens": [token(more)]}})
}

/// A channel with one rule for client certificates, and a class of quotas.
fn certificate(rule: &Value) -> Value {
    json!({
        "access": {"certificates": [rule], "quotas": [{"name": "services"}]},
        "exposure": {"tls": {"secretName": "s", "clientCaSecret": {"name": "c"}}},
    })
}

//! Access control of a channel. Keys of token issuers in Secrets here are in files in the broker's configuration.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::config::{
    Action, Algorithm, CertificateRule, Cookie, JwkSet, KubernetesAccess, ManageRule, PublishRule,
    Quota, SubscribeRule, Tickets, TokenIssuer,
};

/// Who may subscribe, publish and manage, and from which web pages. Without any field nobody may do anything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessSpec {
    /// Actions that need no credential: Subscribe (includes history and statistics), Publish, both or none.
    #[schemars(length(max = 2))]
    pub anonymous: Vec<Action>,
    /// Patterns of the topics that are open without a credential; all if empty. Events without a topic may be read, but not published,
    /// if there are any.
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub anonymous_topics: Vec<String>,
    /// Issuers of JSON Web Tokens, and what their tokens grant.
    #[schemars(length(max = 8))]
    pub tokens: Vec<TokenSpec>,
    /// Accepts tokens of Kubernetes service accounts. What they may do is decided by roles on the verbs subscribe, publish and manage of
    /// this EventChannel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesAccess>,
    /// Accepts API keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_keys: Option<ApiKeysSpec>,
    /// Accepts client certificates, and says what their names may do: the first rule whose names match counts. Needs
    /// exposure.tls.clientCaSecret.
    #[schemars(length(max = 8))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateRule>,
    /// The cookie that a token or a ticket may come in. It counts only where the URL has credentials=cookie.
    #[serde(skip_serializing_if = "is_default")]
    pub cookie: Cookie,
    /// Tickets: short-lived credentials for EventSource, which cannot send headers.
    #[serde(skip_serializing_if = "is_default")]
    pub tickets: Tickets,
    /// Limits for each subject, by class. Token issuers, kubernetes, certificates and the entries of API keys name the class of their
    /// subjects.
    #[schemars(length(max = 16))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quotas: Vec<Quota>,
    /// Origins of web pages that may use the channel (CORS): one origin (https://app.example.com), all subdomains of a domain
    /// (https://*.example.com), or all origins (*).
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub allowed_origins: Vec<String>,
    /// Request headers that these pages may send, besides those of the broker's API and of tracing.
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)))]
    pub allowed_headers: Vec<String>,
    /// Whether these pages may send cookies and other credentials.
    pub allow_credentials: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// An issuer of JSON Web Tokens (RFC 7519), and what its tokens grant. Exactly one of `jwksUrl`, `keySecret` and
/// `jwks` must be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenSpec {
    /// Required value of the claim `iss`.
    #[schemars(length(min = 1, max = 512))]
    pub issuer: String,
    /// Required value in the claim `aud`.
    #[schemars(length(min = 1, max = 512))]
    pub audience: String,
    /// URL of the issuer's JWK set (RFC 7517), with https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub jwks_url: Option<String>,
    /// Secret in the channel's namespace with the issuer's keys: a JWK set (RFC 7517) or public keys in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_secret: Option<SecretKey>,
    /// The issuer's public keys: a JWK set (RFC 7517).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "jwk_set")]
    pub jwks: Option<JwkSet>,
    /// Secret in the channel's namespace with the certificate authorities of jwksUrl (PEM). If not set: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretKey>,
    /// Allowed signature algorithms. If empty: those that fit the keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 12))]
    pub algorithms: Vec<Algorithm>,
    /// Required value of the header typ. If not set: none, JWT or at+jwt.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub token_type: Option<String>,
    /// The claim that names the subject.
    #[serde(default = "default_subject_claim")]
    #[schemars(length(min = 1, max = 128))]
    pub subject_claim: String,
    /// Seconds by which the clocks of issuer and broker may differ.
    #[serde(default = "default_leeway")]
    #[schemars(range(max = 120))]
    pub leeway_seconds: u64,
    /// Claims that a token must have, with these values. A claim that is a list must contain the value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 16))]
    pub required_claims: BTreeMap<String, String>,
    /// What subjects of this issuer may read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<SubscribeRule>,
    /// What subjects of this issuer may publish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<PublishRule>,
    /// Which subjects of this issuer may manage the channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manage: Option<ManageRule>,
    /// A claim whose value grants more than the rules: {"subscribe": [...], "publish": [...], "broadcast": true, "types": [...], "manage": true}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub grants_claim: Option<String>,
    /// The class in quotas of the subjects of this issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub quota: Option<String>,
}

fn default_subject_claim() -> String {
    TokenIssuer::default().subject_claim
}

fn default_leeway() -> u64 {
    TokenIssuer::default().leeway_seconds
}

/// Keys have many members, of which only these matter here.
fn jwk_set(_: &mut SchemaGenerator) -> Schema {
    let never = "A part of a private key: must be absent.";
    json_schema!({
        "type": "object",
        "nullable": true,
        "required": ["keys"],
        "properties": {"keys": {
            "description": "Public keys of the kinds RSA, EC and OKP. Keys that sign are refused, because an EventChannel is no secret.",
            "type": "array",
            "minItems": 1,
            "maxItems": 16,
            "items": {
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": true,
                "required": ["kty"],
                "properties": {
                    "kty": {"description": "Kind of the key.", "type": "string", "enum": ["RSA", "EC", "OKP"]},
                    "d": {"description": never, "type": "string"},
                    "k": {"description": never, "type": "string"},
                },
            },
        }},
    })
}

/// API keys, in a Secret in the channel's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeysSpec {
    /// Name of the Secret. It has one entry for each key, as `eventcast-broker key` prints it.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}

/// A key of a Secret in the channel's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

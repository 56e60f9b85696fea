//! Who may come: the tokens' keys are Secrets here and files in the broker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Access, Action};

/// Who may come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessSpec {
    /// What needs no token: Subscribe (all reading), Publish, both, or nothing.
    #[schemars(length(max = 2))]
    pub anonymous: Vec<Action>,
    /// Issuers whose tokens are good for what is not anonymous. Not verified yet: until then what is not anonymous is answered 401.
    #[schemars(length(max = 8))]
    pub tokens: Vec<TokenSpec>,
    /// Origins whose pages may read and publish: exactly (https://app.example.com), all subdomains of a domain (https://*.example.com), or *.
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub allowed_origins: Vec<String>,
    /// Names of request headers that those pages may send besides the broker's own and those of tracing.
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)))]
    pub allowed_headers: Vec<String>,
    /// Let those pages send cookies and other credentials.
    pub allow_credentials: bool,
}

impl Default for AccessSpec {
    fn default() -> Self {
        let Access { anonymous, tokens: _, allowed_origins, allowed_headers, allow_credentials } =
            Access::default();
        Self { anonymous, tokens: Vec::new(), allowed_origins, allowed_headers, allow_credentials }
    }
}

/// An issuer of tokens (RFC 7519). Exactly one of `jwksUrl` and `keySecret`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenSpec {
    /// What the claim `iss` must say.
    #[schemars(length(min = 1, max = 512))]
    pub issuer: String,
    /// What the claim `aud` must contain.
    #[schemars(length(min = 1, max = 512))]
    pub audience: String,
    /// Where the issuer publishes its keys (RFC 7517).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub jwks_url: Option<String>,
    /// The issuer's keys, as a JWK set (RFC 7517), in a Secret of the channel's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_secret: Option<SecretKey>,
}

/// A key of a Secret in the channel's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

//! Access control of a channel. The keys of token issuers are in Secrets here and in files in the broker's configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Access, Action};

/// Who may subscribe and publish, and from which web pages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessSpec {
    /// Actions that need no token: Subscribe (includes history and statistics), Publish, both or none.
    #[schemars(length(max = 2))]
    pub anonymous: Vec<Action>,
    /// Issuers of tokens for all other actions. Tokens are not verified yet: until then, these actions are answered with 401.
    #[schemars(length(max = 8))]
    pub tokens: Vec<TokenSpec>,
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

impl Default for AccessSpec {
    fn default() -> Self {
        let Access { anonymous, tokens: _, allowed_origins, allowed_headers, allow_credentials } =
            Access::default();
        Self { anonymous, tokens: Vec::new(), allowed_origins, allowed_headers, allow_credentials }
    }
}

/// An issuer of JSON Web Tokens (RFC 7519). Exactly one of `jwksUrl` and `keySecret` must be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenSpec {
    /// Required value of the claim `iss`.
    #[schemars(length(min = 1, max = 512))]
    pub issuer: String,
    /// Required value in the claim `aud`.
    #[schemars(length(min = 1, max = 512))]
    pub audience: String,
    /// URL of the issuer's JWK set (RFC 7517).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub jwks_url: Option<String>,
    /// Secret in the channel's namespace with the issuer's JWK set (RFC 7517).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_secret: Option<SecretKey>,
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

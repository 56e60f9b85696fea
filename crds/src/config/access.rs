//! Access control of a channel: who may do what, with which credentials, and from which web pages.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CertificateRule, JwkSet};

/// An action on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// Reading: subscriptions, history, statistics and the description of the channel.
    Subscribe,
    /// Publishing and erasing events.
    Publish,
    /// Listing and disconnecting subscribers, and issuing tickets for others.
    Manage,
}

/// Who may subscribe, publish and manage, and from which web pages. Without any key nobody may do anything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Access {
    /// Actions that need no credential: `Subscribe`, `Publish`, both or none.
    pub anonymous: Vec<Action>,
    /// Patterns of the topics that are open without a credential; all if empty. Events without a topic may be read, but not published, if
    /// there are any.
    pub anonymous_topics: Vec<String>,
    /// Issuers of JSON Web Tokens, and what their tokens grant.
    pub tokens: Vec<TokenIssuer>,
    /// Accepts tokens of Kubernetes service accounts, and asks the API server what they may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesAccess>,
    /// Accepts API keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_keys: Option<ApiKeys>,
    /// Accepts client certificates, and says what their names may do: the first rule whose `names` match counts. Needs
    /// `tls.clientCaFile`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateRule>,
    /// The cookie that a token or a ticket may come in.
    pub cookie: Cookie,
    /// Tickets: short-lived credentials for `EventSource`, which cannot send headers.
    pub tickets: Tickets,
    /// Limits for each subject, by class. Token issuers, `kubernetes`, `certificates` and the entries of API keys name the class of their
    /// subjects.
    pub quotas: Vec<Quota>,
    /// Origins of web pages that may use the channel (CORS): one origin (`https://app.example.com`), all subdomains of a domain
    /// (`https://*.example.com`, which does not include `https://example.com`), or all origins (`*`).
    pub allowed_origins: Vec<String>,
    /// Request headers that these pages may send, besides those of the broker's API and of tracing.
    pub allowed_headers: Vec<String>,
    /// Whether these pages may send cookies and other credentials.
    pub allow_credentials: bool,
}

impl Access {
    /// Whether any credential can be accepted, besides none.
    #[must_use]
    pub fn accepts_credentials(&self) -> bool {
        !self.tokens.is_empty()
            || self.kubernetes.is_some()
            || self.api_keys.is_some()
            || !self.certificates.is_empty()
    }

    /// Access for everyone to read and publish.
    #[must_use]
    pub fn open() -> Self {
        Self { anonymous: vec![Action::Subscribe, Action::Publish], ..Self::default() }
    }
}

/// A signature algorithm of JSON Web Tokens (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names of the standard")]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// An issuer of JSON Web Tokens (RFC 7519), and what its tokens grant. Exactly one of `jwksUrl`, `keyFile` and `jwks`
/// must be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenIssuer {
    /// Required value of the claim `iss`.
    pub issuer: String,
    /// Required value in the claim `aud`.
    pub audience: String,
    /// URL of the issuer's JWK set (RFC 7517). `https`; `http` only on loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// File with the issuer's keys: a JWK set (RFC 7517) or public keys in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The issuer's public keys: a JWK set (RFC 7517).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<JwkSet>,
    /// File with the certificate authorities of `jwksUrl`; those of the system if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Allowed signature algorithms; those that fit the keys if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub algorithms: Vec<Algorithm>,
    /// Required value of the header `typ`. If not set: none, `JWT` or `at+jwt`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub token_type: Option<String>,
    /// The claim that names the subject.
    #[serde(default = "default_subject_claim")]
    pub subject_claim: String,
    /// Seconds by which the clocks of issuer and broker may differ: 0 to 120.
    #[serde(default = "default_leeway")]
    pub leeway_seconds: u64,
    /// Claims that a token must have, with these values. A claim that is a list must contain the value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
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
    /// A claim whose value grants more than the rules: `{"subscribe": [...], "publish": [...], "broadcast": true, "types": [...], "manage": true}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants_claim: Option<String>,
    /// The class in `quotas` of the subjects of this issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<String>,
}

fn default_subject_claim() -> String {
    "sub".into()
}

const fn default_leeway() -> u64 {
    30
}

const fn default_broadcast() -> bool {
    true
}

impl Default for TokenIssuer {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: String::new(),
            jwks_url: None,
            key_file: None,
            jwks: None,
            ca_file: None,
            algorithms: Vec::new(),
            token_type: None,
            subject_claim: default_subject_claim(),
            leeway_seconds: default_leeway(),
            required_claims: BTreeMap::new(),
            subscribe: None,
            publish: None,
            manage: None,
            grants_claim: None,
            quota: None,
        }
    }
}

/// What may be read. A topic may contain claims of the token as whole segments: `user.{sub}`, `team.{groups}.>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscribeRule {
    /// Patterns of the topics that may be read.
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub topics: Vec<String>,
    /// Whether events without a topic may be read.
    #[serde(default = "default_broadcast")]
    pub broadcast: bool,
}

/// What may be published. A topic may contain claims of the token as whole segments: `user.{sub}`, `team.{groups}.>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublishRule {
    /// Patterns of the topics that may be published to.
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub topics: Vec<String>,
    /// Patterns of the event types that may be published; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub types: Vec<String>,
    /// Whether events without a topic may be published. They reach all subscribers.
    #[serde(default)]
    pub broadcast: bool,
    /// The source of every event, instead of what the publisher says. May contain claims: `/users/{sub}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub source: Option<String>,
}

/// Who may manage the channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManageRule {
    /// Claims that a token must have besides those of the issuer, at least one.
    #[schemars(length(min = 1, max = 16))]
    pub required_claims: BTreeMap<String, String>,
}

/// Tokens of Kubernetes service accounts: the API server verifies them (TokenReview), and decides by its roles on the verbs `subscribe`,
/// `publish` and `manage` of the EventChannel (LocalSubjectAccessReview).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KubernetesAccess {
    /// Audience that the tokens must be issued for.
    #[schemars(length(min = 1, max = 512))]
    pub audience: String,
    /// The class in `quotas` of the service accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub quota: Option<String>,
}

impl Default for KubernetesAccess {
    fn default() -> Self {
        Self { audience: "eventcast".into(), quota: None }
    }
}

/// API keys of publishers and backends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeys {
    /// Folder with one file for each key, as `eventcast-broker key` prints it.
    pub folder: PathBuf,
}

/// The cookie that a token or a ticket may come in. It counts only where the URL has `credentials=cookie`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Cookie {
    /// Name of the cookie. The prefix `__Host-` keeps other hosts from setting it.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
}

impl Default for Cookie {
    fn default() -> Self {
        Self { name: "__Host-eventcast".into() }
    }
}

/// Limits of tickets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Tickets {
    /// Maximum life of a ticket in seconds, 30 to 3600; 0: no tickets. Renewals extend it to a day at most.
    #[schemars(range(max = 3600))]
    pub max_seconds: u64,
}

impl Default for Tickets {
    fn default() -> Self {
        Self { max_seconds: 3600 }
    }
}

/// Limits for each subject of a class, over all brokers of the channel. 0: no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// Name of the class.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Open streams.
    #[serde(default)]
    #[schemars(range(max = 1_000_000))]
    pub streams: u32,
    /// New streams in a minute.
    #[serde(default)]
    #[schemars(range(max = 1_000_000))]
    pub connects_per_minute: u32,
    /// Published events in a second.
    #[serde(default)]
    #[schemars(range(max = 1_000_000))]
    pub publishes_per_second: u32,
}

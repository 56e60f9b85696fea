//! Credentials for tests: tokens of any shape ([`SigningKey`]), and an identity provider whose key set does what a test wants
//! ([`KeyServer`]).

mod api_keys;
mod key_server;
mod provider;
mod signing;
mod token_broker;

pub use api_keys::make_key;
pub use key_server::{KeyServer, Reply};
pub use provider::OidcProvider;
pub use signing::{SigningKey, jwk_set, unsigned};
pub use token_broker::{TokenBroker, replace_file, start_with};

use anyhow::Result;
use eventcast_crds::config::{Access, PublishRule, SubscribeRule, TokenIssuer};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{http::Version, wire::RawResponse};

/// `issuer` of [`issuer`].
pub const ISSUER: &str = "https://login.example.com/";
/// `audience` of [`issuer`].
pub const AUDIENCE: &str = "notifications";

/// Seconds since 1970.
#[must_use]
pub fn now() -> i64 {
    Timestamp::now().as_second()
}

/// An issuer whose subjects read and publish `user.{sub}`, without its keys.
#[must_use]
pub fn issuer() -> TokenIssuer {
    TokenIssuer {
        issuer: ISSUER.into(),
        audience: AUDIENCE.into(),
        subscribe: Some(SubscribeRule { topics: vec!["user.{sub}".into()], broadcast: true }),
        publish: Some(PublishRule { topics: vec!["user.{sub}".into()], ..PublishRule::default() }),
        ..TokenIssuer::default()
    }
}

/// Access for the tokens of `issuers` alone.
#[must_use]
pub fn only(issuers: Vec<TokenIssuer>) -> Access {
    Access { tokens: issuers, ..Access::default() }
}

/// The claims of a good token for `subject`.
#[must_use]
pub fn claims(subject: &str) -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now(), "exp": now() + 600})
}

/// The claims of a good token for `ann`, with `changes`; `null` removes a claim.
#[must_use]
pub fn claims_with(changes: &Value) -> Value {
    let mut claims = claims("ann");
    for (name, value) in changes.as_object().into_iter().flatten() {
        if value.is_null() {
            claims.as_object_mut().map(|claims| claims.remove(name));
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// What a broker says to a credential: the status, and the check that failed or the subject.
///
/// # Errors
/// When there is no answer that can be read.
pub async fn judge(
    address: &str,
    version: Version,
    headers: &[(&str, &str)],
) -> Result<(u16, String)> {
    // Another client each time: clients that were refused often are not answered.
    let client = format!("10.{}.{}.{}", fastrand::u8(..), fastrand::u8(..), fastrand::u8(..));
    let headers = [headers, &[("X-Forwarded-For", &*client)]].concat();
    let target = "/channels/default/demo/access";
    let mut response = RawResponse::request(version, address, "GET", target, &headers, b"").await?;
    let body = response.json().await?;
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    Ok((response.head.status, text("check").or_else(|| text("subject")).unwrap_or_default()))
}

/// What a broker says to a token in `Authorization: Bearer`; see [`judge`].
///
/// # Errors
/// When there is no answer that can be read.
pub async fn judge_token(address: &str, version: Version, token: &str) -> Result<(u16, String)> {
    judge(address, version, &[("Authorization", &format!("Bearer {token}"))]).await
}

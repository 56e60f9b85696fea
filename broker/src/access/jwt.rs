//! JSON Web Tokens (RFC 7519): from the text of a token to the grant of its subject.
//!
//! The crate `jsonwebtoken` verifies the signature and the times, issuer and audience. What it does not check is checked here: `crit`, the
//! type, an issuer that is a list, names that occur twice, `iat`, and the claims that the channel requires.

pub(super) mod claims;
pub(super) mod crypto;
mod header;

use std::ops::Range;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use eventcast_crds::config::TokenIssuer;
use jsonwebtoken::{Algorithm, Validation, errors::ErrorKind};
use serde_json::Value;

use self::{claims::UniqueNames, header::Header};
use super::{
    credential::Invalid,
    grant::Grant,
    keys::{KeySet, NoKey},
    rules,
    template::Claims,
};

/// Bytes of a token.
const MAX_TOKEN_BYTES: usize = 8 << 10;

/// Ends of tokens that are written in milliseconds, from the year 2001 to 5138. As seconds they are tens of thousands of years ahead.
const MILLISECONDS: Range<i64> = 1_000_000_000_000..100_000_000_000_000;

/// A token whose parts could be read. Nothing in it is verified.
pub(super) struct Unverified<'a> {
    text: &'a str,
    header: Header,
    claims: Claims,
}

impl<'a> Unverified<'a> {
    /// Reads the parts of a token.
    ///
    /// # Errors
    /// It is not a JWT, or one that is never accepted.
    pub(super) fn parse(text: &'a str) -> Result<Self, Invalid> {
        let (header, claims) = read(text)?;
        Ok(Self { text, header: Header::parse(&header)?, claims })
    }

    /// The issuer that the token names: it only chooses whose keys and rules are used.
    pub(super) fn issuer(&self) -> Result<&str, Invalid> {
        self.claims.get("iss").and_then(Value::as_str).ok_or_else(|| {
            let detail =
                "The token must have an issuer: the claim iss, as one text. Let the issuer add it.";
            Invalid::new("issuer", detail)
        })
    }

    /// Whether the token names `audience`.
    pub(super) fn names_audience(&self, audience: &str) -> bool {
        claims::names_audience(&self.claims, audience)
    }

    /// Verifies the token with the keys of `issuer`, at `now` in seconds since 1970.
    ///
    /// # Errors
    /// No key fits, or a check failed.
    pub(super) fn verify(
        &self,
        issuer: &TokenIssuer,
        keys: &KeySet,
        now: i64,
    ) -> Result<Grant, Refusal> {
        self.header.check_type(issuer.token_type.as_deref())?;
        let algorithm = self.header.algorithm;
        let allowed = &issuer.algorithms;
        if !allowed.is_empty() && !allowed.iter().any(|a| jwt_algorithm(*a) == algorithm) {
            let detail = "The token's signature algorithm is not one of the issuer's algorithms in the channel.";
            return Err(Invalid::new("algorithm", detail).into());
        }
        let candidates = keys.find(self.header.key_id.as_deref(), algorithm)?;
        let validation = validation(issuer, algorithm);
        let mut outcome = Err(unsigned());
        for key in candidates {
            outcome =
                jsonwebtoken::decode::<UniqueNames>(self.text, key.verifying_key(), &validation)
                    .map_err(|error| refusal(error.into_kind()));
            // Keys without a name are tried in turn.
            if !outcome.as_ref().is_err_and(|invalid| invalid.check == "signature") {
                break;
            }
        }
        let UniqueNames(claims) = outcome?.claims;
        Ok(grant(issuer, &claims, now)?)
    }
}

/// The header and the claims of a token. Nothing in them is verified.
///
/// # Errors
/// It is not a JWT.
pub(super) fn read(text: &str) -> Result<(Vec<u8>, Claims), Invalid> {
    if text.len() > MAX_TOKEN_BYTES {
        let detail = "The token is longer than 8 KiB. Let the issuer put fewer claims into it.";
        return Err(Invalid::new("too-large", detail));
    }
    let parts: Vec<_> = text.split('.').collect();
    let [header, payload, signature] = parts[..] else { return Err(malformed()) };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
    let (header, payload) = (decode(header)?, decode(payload)?);
    decode(signature)?;
    let UniqueNames(claims) = serde_json::from_slice(&payload).map_err(|_| malformed())?;
    Ok((header, claims))
}

/// Why a token has no grant.
pub(super) enum Refusal {
    Invalid(Invalid),
    /// The issuer's keys have none with its name: newer ones may have it.
    UnknownKey(Invalid),
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<NoKey> for Refusal {
    fn from(no_key: NoKey) -> Self {
        match no_key {
            NoKey::Unknown => Self::UnknownKey(Invalid::new(
                "unknown-key",
                "The issuer's keys have none with the kid of the token. The issuer must publish a key before it signs with it: get a new \
                 token, and compare the kid with the key set.",
            )),
            NoKey::Ambiguous => Self::UnknownKey(Invalid::new(
                "unknown-key",
                "The token has no kid, and not exactly one of the issuer's keys fits its algorithm. Let the issuer add kid.",
            )),
            NoKey::OtherAlgorithm => Self::Invalid(Invalid::new(
                "algorithm",
                "No key that the token may mean is for its algorithm. Let the issuer sign with the algorithm of its key.",
            )),
        }
    }
}

/// The grant of a token whose signature is good.
fn grant(issuer: &TokenIssuer, claims: &Claims, now: i64) -> Result<Grant, Invalid> {
    let leeway = i64::try_from(issuer.leeway_seconds).unwrap_or(0);
    if !claims.get("iss").is_some_and(Value::is_string) {
        return Err(refusal(ErrorKind::InvalidIssuer));
    }
    let issued_at = claims::seconds(claims, "iat");
    if claims.contains_key("iat") && issued_at.is_none() {
        return Err(refusal(ErrorKind::InvalidClaimFormat("iat".into())));
    }
    if issued_at.is_some_and(|at| at > now.saturating_add(leeway)) {
        let detail =
            "The token was issued in the future (iat). Set the clocks of issuer and broker.";
        return Err(Invalid::new("not-yet-valid", detail));
    }
    let expires = claims::seconds(claims, "exp").ok_or_else(|| missing("exp"))?;
    if MILLISECONDS.contains(&expires) {
        let detail = "The token's end (exp) is in milliseconds, so that the token would last for thousands of years. Let the issuer write \
                      it in seconds since 1970.";
        return Err(Invalid::new("expired", detail));
    }
    let expires = expires.saturating_add(leeway);
    // The crate accepts the last second; a stream that began then would end at once, and its client would never be refused.
    if expires <= now {
        return Err(refusal(ErrorKind::ExpiredSignature));
    }
    let subject = claims::subject(issuer, claims)?;
    claims::require(issuer, claims).map_err(|invalid| invalid.of(&subject))?;
    let mut grant = rules::grant(issuer, &subject, claims);
    grant.issued_at = issued_at;
    grant.expires = Some(expires);
    Ok(grant)
}

fn validation(issuer: &TokenIssuer, algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = issuer.leeway_seconds;
    validation.validate_nbf = true;
    validation.set_issuer(&[&issuer.issuer]);
    validation.set_audience(&[&issuer.audience]);
    // The subject may be another claim.
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation
}

/// The text is not a token.
fn malformed() -> Invalid {
    let detail = "The credential is not a token that can be read. Send a signed JSON Web Token: three parts of base64url without padding, \
                  each name once in its JSON.";
    Invalid::new("form", detail)
}

fn unsigned() -> Invalid {
    let detail = "The signature does not fit the issuer's key. Get a new token. If all are refused, compare the channel's keys with the \
                  issuer's.";
    Invalid::new("signature", detail)
}

fn missing(claim: &str) -> Invalid {
    let (check, wanted) = match claim {
        "exp" => ("expired", "an end: the claim exp, in seconds since 1970"),
        "aud" => ("audience", "an audience: the claim aud"),
        "iss" => ("issuer", "an issuer: the claim iss, as one text"),
        _ => ("claim", "its required claims"),
    };
    Invalid::new(check, format!("The token must have {wanted}. Let the issuer add it."))
}

/// What a failed check of the crate `jsonwebtoken` means.
fn refusal(kind: ErrorKind) -> Invalid {
    match kind {
        ErrorKind::InvalidSignature => unsigned(),
        ErrorKind::ExpiredSignature => {
            Invalid::new("expired", "The token has expired (exp). Get a new one.")
        }
        ErrorKind::ImmatureSignature => {
            let detail =
                "The token is not valid yet (nbf). Set the clocks of issuer and broker, or wait.";
            Invalid::new("not-yet-valid", detail)
        }
        ErrorKind::InvalidIssuer => {
            let detail = "The token is from another issuer (iss). It must be the text of the channel's configuration, letter by letter.";
            Invalid::new("issuer", detail)
        }
        ErrorKind::InvalidAudience => {
            let detail = "The token is for another audience (aud). Ask the issuer for a token with the audience of the channel's \
                          configuration.";
            Invalid::new("audience", detail)
        }
        ErrorKind::MissingRequiredClaim(claim) => missing(&claim),
        ErrorKind::InvalidClaimFormat(claim) => {
            let detail = format!("The claim {claim} must be a number of seconds since 1970.");
            Invalid::new(if claim == "exp" { "expired" } else { "claim" }, detail)
        }
        ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidAlgorithmName
        | ErrorKind::UnsupportedAlgorithm => {
            let detail = "The token's signature algorithm does not fit the issuer's key.";
            Invalid::new("algorithm", detail)
        }
        _ => malformed(),
    }
}

fn jwt_algorithm(algorithm: eventcast_crds::config::Algorithm) -> Algorithm {
    use eventcast_crds::config::Algorithm as Configured;
    match algorithm {
        Configured::HS256 => Algorithm::HS256,
        Configured::HS384 => Algorithm::HS384,
        Configured::HS512 => Algorithm::HS512,
        Configured::RS256 => Algorithm::RS256,
        Configured::RS384 => Algorithm::RS384,
        Configured::RS512 => Algorithm::RS512,
        Configured::PS256 => Algorithm::PS256,
        Configured::PS384 => Algorithm::PS384,
        Configured::PS512 => Algorithm::PS512,
        Configured::ES256 => Algorithm::ES256,
        Configured::ES384 => Algorithm::ES384,
        Configured::EdDSA => Algorithm::EdDSA,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_ends_at_the_second_at_which_its_grant_does() {
        let issuer = TokenIssuer { leeway_seconds: 30, ..TokenIssuer::default() };
        let of = |exp: Value, now| {
            let claims = json!({"iss": "i", "sub": "s", "iat": 990, "exp": exp});
            grant(&issuer, claims.as_object().unwrap(), now).map_err(|invalid| invalid.check)
        };
        let good = of(json!(1000), 1029).unwrap();
        assert_eq!((good.expires, good.issued_at), (Some(1030), Some(990)));
        assert_eq!(of(json!(1000), 1030).err(), Some("expired"));
        assert_eq!(of(json!(1000), 959).err(), Some("not-yet-valid"), "issued in the future");
        assert_eq!(of(json!(u64::MAX), 1000).unwrap().expires, Some(i64::MAX));
    }
}

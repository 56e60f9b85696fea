//! The header of a token, and which token types are accepted.
//!
//! Only `alg`, `kid`, `typ` and `crit` are read. Keys and URLs of keys in a header (`jwk`, `jku`, `x5c`, `x5u`) are written by the
//! unverified author of the token, and are never used.

use serde_json::Value;

use super::claims::UniqueNames;
use crate::access::{credential::Invalid, template::Claims};

/// Token types that are accepted if the issuer requires none.
const USUAL_TYPES: [&str; 2] = ["JWT", "at+jwt"];

/// The parameters of a header that are used.
pub(super) struct Header {
    pub(super) algorithm: jsonwebtoken::Algorithm,
    pub(super) key_id: Option<String>,
    token_type: Option<String>,
}

impl Header {
    /// Reads a header, as JSON.
    pub(super) fn parse(json: &[u8]) -> Result<Self, Invalid> {
        let UniqueNames(header) = serde_json::from_slice(json).map_err(|_| super::malformed())?;
        if header.contains_key("crit") {
            let detail = "The token's header has crit: it asks for an extension, and none is supported. Let the issuer leave it out.";
            return Err(Invalid::new("critical", detail));
        }
        let algorithm = text(&header, "alg")?.and_then(|name| name.parse().ok());
        let algorithm = algorithm.ok_or_else(|| {
            let detail = "The token's signature algorithm is not supported. Use RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or \
                 EdDSA, or HS256, HS384, HS512 with a secret in a key file.";
            Invalid::new("algorithm", detail)
        })?;
        Ok(Self { algorithm, key_id: text(&header, "kid")?, token_type: text(&header, "typ")? })
    }

    /// Checks the type of the token. This does not detect an ID token that is used as an access token, because it has no type: its audience
    /// gives it away.
    pub(super) fn check_type(&self, required: Option<&str>) -> Result<(), Invalid> {
        let found = self.token_type.as_deref();
        let accepted = match (required, found) {
            (Some(required), found) => found == Some(required),
            (None, None) => true,
            (None, Some(found)) => {
                let short = match found.split_at_checked("application/".len()) {
                    Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
                    _ => found,
                };
                USUAL_TYPES.iter().any(|usual| short.eq_ignore_ascii_case(usual))
            }
        };
        if accepted {
            return Ok(());
        }
        let wanted = required.unwrap_or("JWT or at+jwt, or be left out");
        let detail = format!(
            "The typ of the token's header must be {wanted}. Send an access token, or set type of the issuer in the channel."
        );
        Err(Invalid::new("type", detail))
    }
}

fn text(header: &Claims, name: &str) -> Result<Option<String>, Invalid> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(super::malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, required: Option<&str>) -> Option<&'static str> {
        let checked = Header::parse(json.as_bytes()).and_then(|header| header.check_type(required));
        checked.err().map(|invalid| invalid.check)
    }

    #[test]
    fn access_tokens_are_accepted_and_other_kinds_are_not() {
        for good in [
            r#"{"alg":"RS256"}"#,
            r#"{"alg":"RS256","typ":"JWT"}"#,
            r#"{"alg":"RS256","typ":"jwt"}"#,
            r#"{"alg":"RS256","typ":"at+jwt"}"#,
            r#"{"alg":"RS256","typ":"application/at+JWT"}"#,
            r#"{"alg":"RS256","jwk":7,"jku":"http://127.0.0.1/","x5u":[],"x5c":{}}"#,
        ] {
            assert_eq!(check(good, None), None, "{good}");
        }
        for (bad, why) in [
            (r#"{"alg":"RS256","typ":"logout+jwt"}"#, "type"),
            (r#"{"alg":"RS256","typ":"id_token"}"#, "type"),
            (r#"{"alg":"RS256","typ":""}"#, "type"),
            (r#"{"alg":"RS256","typ":"application/x/JWT"}"#, "type"),
            (r#"{"alg":"RS256","typ":"application/é"}"#, "type"),
            (r#"{"alg":"RS256","typ":null}"#, "form"),
            (r#"{"alg":"RS256","typ":["JWT"]}"#, "form"),
            (r#"{"alg":"RS256","alg":"none"}"#, "form"),
            (r#"{"alg":"RS256","kid":1}"#, "form"),
            (r#"{"alg":"none"}"#, "algorithm"),
            (r#"{"alg":"nOnE"}"#, "algorithm"),
            (r#"{"alg":"rs256"}"#, "algorithm"),
            (r#"{"alg":"ES512"}"#, "algorithm"),
            (r#"{"alg":"Ed25519"}"#, "algorithm"),
            (r#"{"typ":"JWT"}"#, "algorithm"),
            (r#"{"alg":"RS256","crit":["exp"]}"#, "critical"),
            (r#"{"alg":"RS256","crit":[]}"#, "critical"),
            (r#"{"alg":"RS256","crit":null}"#, "critical"),
            ("[]", "form"),
            ("", "form"),
        ] {
            assert_eq!(check(bad, None), Some(why), "{bad}");
        }
        assert_eq!(check(r#"{"alg":"RS256","typ":"x+jwt"}"#, Some("x+jwt")), None);
        assert_eq!(check(r#"{"alg":"RS256","typ":"JWT"}"#, Some("x+jwt")), Some("type"));
        assert_eq!(check(r#"{"alg":"RS256"}"#, Some("x+jwt")), Some("type"));
    }
}

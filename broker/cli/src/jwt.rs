//! The parts of a JSON Web Token, for people. Nothing is verified here: the broker does that. Pure.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// A token whose parts can be read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Jwt {
    pub(crate) header: Map<String, Value>,
    pub(crate) claims: Map<String, Value>,
}

impl Jwt {
    /// # Errors
    /// It is no JWT. The message says which part cannot be read.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('.').collect();
        let [header, claims, _signature] = parts[..] else {
            return Err(format!(
                "a JWT has three parts, separated by dots; this has {}",
                parts.len()
            ));
        };
        Ok(Self { header: part(header, "header")?, claims: part(claims, "claims")? })
    }

    /// Seconds until a time in the claims; negative after it.
    pub(crate) fn seconds_until(&self, claim: &str, now: i64) -> Option<i64> {
        let at = self.claims.get(claim)?;
        #[expect(clippy::cast_possible_truncation, reason = "a time that far away is only shown")]
        let at = at.as_i64().or_else(|| at.as_f64().map(|at| at as i64))?;
        Some(at.saturating_sub(now))
    }
}

fn part(text: &str, name: &str) -> Result<Map<String, Value>, String> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| format!("its {name}: {error}"))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("its {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", part(header), part(claims))
    }

    #[test]
    fn a_token_is_taken_apart() {
        let jwt = Jwt::parse(&token(&json!({"alg": "ES256"}), &json!({"exp": 110, "nbf": 90.5})))
            .unwrap();
        assert_eq!(jwt.header["alg"], "ES256");
        assert_eq!(jwt.seconds_until("exp", 100), Some(10));
        assert_eq!(jwt.seconds_until("nbf", 100), Some(-10));
        assert_eq!(jwt.seconds_until("iat", 100), None);
    }

    #[test]
    fn what_is_no_token_is_reported() {
        assert_eq!(
            Jwt::parse("evk_x").unwrap_err(),
            "a JWT has three parts, separated by dots; this has 1"
        );
        assert!(Jwt::parse("a.b.c").unwrap_err().starts_with("its header: "));
    }
}

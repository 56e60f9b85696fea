//! JSON objects of tokens, and the claims that are checked after the signature.

use std::fmt;

use eventcast_crds::config::TokenIssuer;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::access::{
    credential::Invalid,
    rules,
    template::{self, Claims},
};

/// Bytes of a subject.
const MAX_SUBJECT_BYTES: usize = 1024;

/// A JSON object in which no name occurs twice. Parsers differ in which of the two they take, so what one program checks would not be what
/// another uses.
pub(super) struct UniqueNames(pub(super) Claims);

impl<'de> Deserialize<'de> for UniqueNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Claims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
                let mut claims = Map::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if claims.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name occurs twice"));
                    }
                }
                Ok(claims)
            }
        }
        deserializer.deserialize_map(Object).map(UniqueNames)
    }
}

/// Whether a token names `audience`.
pub(in crate::access) fn names_audience(claims: &Claims, audience: &str) -> bool {
    match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(list)) => list.iter().any(|one| one.as_str() == Some(audience)),
        _ => false,
    }
}

/// Seconds since 1970 of a claim (NumericDate of RFC 7519), or the nearest that can be counted.
pub(in crate::access) fn seconds(claims: &Claims, name: &str) -> Option<i64> {
    let value = claims.get(name)?;
    if let Some(whole) = value.as_i64() {
        return Some(whole);
    }
    // Beyond the range of i64 the conversion saturates, which means "never" here.
    #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
    value.as_f64().map(|seconds| seconds as i64)
}

/// The subject of a token whose signature is good.
pub(super) fn subject(issuer: &TokenIssuer, claims: &Claims) -> Result<String, Invalid> {
    let name = &issuer.subject_claim;
    let mut values = template::values(name, claims);
    let subject = if values.len() == 1 { values.pop() } else { None };
    subject.filter(|subject| (1..=MAX_SUBJECT_BYTES).contains(&subject.len())).ok_or_else(|| {
        let detail = format!(
            "The token must name its subject in the claim {name}, as a text of 1 to {MAX_SUBJECT_BYTES} bytes. subjectClaim of the \
             issuer chooses another claim."
        );
        Invalid::new("claim", detail)
    })
}

/// Checks the claims that every token of the issuer must have.
pub(super) fn require(issuer: &TokenIssuer, claims: &Claims) -> Result<(), Invalid> {
    let missing = issuer.required_claims.iter().find(|(name, value)| {
        let one = std::iter::once(((*name).clone(), (*value).clone())).collect();
        !rules::has_claims(&one, claims)
    });
    missing.map_or(Ok(()), |(name, _)| {
        let detail = format!(
            "The channel requires a value of the claim {name} that the token does not have (requiredClaims of its issuer)."
        );
        Err(Invalid::new("claim", detail))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_that_occurs_twice_is_refused() {
        let parse = |text: &str| serde_json::from_str::<UniqueNames>(text).map(|map| map.0);
        assert_eq!(parse(r#"{"a":1,"b":[2]}"#).unwrap().len(), 2);
        for bad in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, "[]", "1", r#"{"a":1e400}"#] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_saturate() {
        let of =
            |value: Value| seconds(&json!({"exp": value}).as_object().cloned().unwrap(), "exp");
        assert_eq!(of(json!(5)), Some(5));
        assert_eq!(of(json!(5.9)), Some(5));
        assert_eq!(of(json!(u64::MAX)), Some(i64::MAX));
        assert_eq!(of(json!(1e300)), Some(i64::MAX));
        assert_eq!(of(json!(-1e300)), Some(i64::MIN));
        assert_eq!(of(json!("5")), None);
        assert_eq!(of(json!(null)), None);
    }
}

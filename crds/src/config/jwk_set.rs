//! Public keys of token issuers in the configuration itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The most keys of one issuer.
const MAX_KEYS: usize = 100;
/// Kinds of asymmetric keys (RFC 7518, RFC 8037).
const KINDS: [&str; 3] = ["RSA", "EC", "OKP"];
/// Members of a JWK that only whoever signs may know.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A JWK set (RFC 7517) with public keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JwkSet {
    /// Public keys of the kinds RSA, EC and OKP. Keys that sign are refused, because the configuration is no secret.
    #[schemars(with = "Vec<Map<String, Value>>")]
    pub keys: Vec<Map<String, Value>>,
}

impl JwkSet {
    /// What is wrong: paths below the set, with a message each.
    pub(super) fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if !(1..=MAX_KEYS).contains(&self.keys.len()) {
            problems.push(("keys".to_owned(), format!("must have 1 to {MAX_KEYS} keys")));
        }
        for (i, key) in self.keys.iter().enumerate() {
            let path = format!("keys[{i}]");
            let kind = key.get("kty").and_then(Value::as_str).unwrap_or_default();
            if kind == "oct" {
                let message = "a symmetric key signs too, and the configuration is no secret: put it into a file";
                problems.push((path, message.to_owned()));
            } else if let Some(private) = PRIVATE.iter().find(|name| key.contains_key(**name)) {
                let message = format!(
                    "has {private}, a part of a private key, and the configuration is no secret: leave only the public key, and replace \
                     the key if others could read it"
                );
                problems.push((path, message));
            } else if !KINDS.contains(&kind) {
                problems.push((format!("{path}.kty"), "must be RSA, EC or OKP".to_owned()));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(keys: &Value) -> Vec<String> {
        let set: JwkSet = serde_json::from_value(json!({ "keys": keys })).unwrap();
        set.problems().into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn only_public_keys_are_valid() {
        let good = json!({"kty": "OKP", "crv": "Ed25519", "x": "x", "kid": "a"});
        assert_eq!(paths(&json!([good, {"kty": "RSA", "n": "n", "e": "AQAB"}])), [""; 0]);
        assert_eq!(paths(&json!([])), ["keys"]);
        assert_eq!(paths(&json!([good, {"kty": "oct", "k": "secret"}])), ["keys[1]"]);
        for private in PRIVATE {
            let key = json!({"kty": "RSA", private: "x"});
            assert_eq!(paths(&json!([key])), ["keys[0]"], "{private}");
        }
        assert_eq!(paths(&json!([{}, {"kty": "AKP"}])), ["keys[0].kty", "keys[1].kty"]);
    }
}

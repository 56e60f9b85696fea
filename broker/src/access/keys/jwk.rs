//! JWK sets (RFC 7517). Pure.

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

use super::{Key, KeyOrigin, MAX_KEYS};

/// Bits of an RSA modulus.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Bytes of a secret for HMAC.
const MIN_SECRET_BYTES: usize = 32;

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// The keys of a JWK set that can be used. Sets contain keys for other purposes and of kinds that are not supported: they are skipped.
pub(super) fn keys(content: &[u8], origin: KeyOrigin) -> Result<Vec<Key>, &'static str> {
    let set: Set = serde_json::from_slice(content)
        .map_err(|_| "it is not a JWK set: it must be JSON such as {\"keys\": [...]}")?;
    if set.keys.len() > MAX_KEYS {
        return Err("it has more than 100 keys");
    }
    Ok(set.keys.into_iter().filter_map(|jwk| key(jwk, origin)).collect())
}

fn key(jwk: Value, origin: KeyOrigin) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(jwk).ok()?;
    let common = &jwk.common;
    let for_signatures =
        common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature)
            && common
                .key_operations
                .as_ref()
                .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if !for_signatures || is_secret(&jwk) && origin == KeyOrigin::Url {
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    let mut algorithms = algorithms(&jwk.algorithm, &key)?;
    if let Some(only) = common.key_algorithm {
        let only = Algorithm::try_from(only).ok()?;
        algorithms.retain(|algorithm| *algorithm == only);
    }
    let id = common.key_id.clone();
    (!algorithms.is_empty()).then_some(Key { id, algorithms, key })
}

fn is_secret(jwk: &Jwk) -> bool {
    matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_))
}

/// The algorithms that fit a key; `None` if the key is not well made.
fn algorithms(parameters: &AlgorithmParameters, key: &DecodingKey) -> Option<Vec<Algorithm>> {
    use jsonwebtoken::DecodingKeyKind::{RsaModulusExponent, SecretOrDer};
    match (parameters, key.kind()) {
        (AlgorithmParameters::RSA(_), RsaModulusExponent { n, .. }) => {
            RSA_BITS.contains(&bits(n)).then(|| AlgorithmFamily::Rsa.algorithms().to_vec())
        }
        (AlgorithmParameters::OctetKey(_), SecretOrDer(secret)) => {
            (secret.len() >= MIN_SECRET_BYTES).then(|| AlgorithmFamily::Hmac.algorithms().to_vec())
        }
        (AlgorithmParameters::EllipticCurve(ec), SecretOrDer(point)) => match ec.curve {
            // 4, x, y
            EllipticCurve::P256 if point.len() == 65 => Some(vec![Algorithm::ES256]),
            EllipticCurve::P384 if point.len() == 97 => Some(vec![Algorithm::ES384]),
            _ => None,
        },
        (AlgorithmParameters::OctetKeyPair(okp), SecretOrDer(point)) => {
            (okp.curve == EllipticCurve::Ed25519 && point.len() == 32)
                .then(|| vec![Algorithm::EdDSA])
        }
        _ => None,
    }
}

/// Bits of an unsigned number, the most significant byte first.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let number = &number[zeros..];
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::{super::KeySet, *};
    use crate::access::keys::NoKey;

    fn parsed(keys: &Value, origin: KeyOrigin) -> Result<KeySet, &'static str> {
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes(), origin)
    }

    fn encoded(bytes: usize) -> String {
        URL_SAFE_NO_PAD.encode(vec![0xff; bytes])
    }

    fn rsa(bytes: usize, kid: &str) -> Value {
        json!({"kty": "RSA", "n": encoded(bytes), "e": "AQAB", "kid": kid})
    }

    #[test]
    fn keys_for_other_purposes_and_of_other_kinds_are_skipped() {
        let with = |name: &str, value: Value| {
            let mut key = rsa(256, "other");
            key[name] = value;
            key
        };
        let p521 = json!({"kty": "EC", "crv": "P-521", "x": encoded(66), "y": encoded(66)});
        let secp256k1 =
            json!({"kty": "EC", "crv": "secp256k1", "x": encoded(32), "y": encoded(32)});
        let short_point = json!({"kty": "EC", "crv": "P-256", "x": encoded(31), "y": encoded(32)});
        let x25519 = json!({"kty": "OKP", "crv": "X25519", "x": encoded(32)});
        for skipped in [
            with("use", json!("enc")),
            with("key_ops", json!(["sign"])),
            with("alg", json!("RSA-OAEP")),
            with("alg", json!("ES256")),
            with("alg", json!("Ed25519")),
            with("n", json!("***")),
            with("kid", json!(7)),
            rsa(255, "short"),
            rsa(1025, "long"),
            p521,
            secp256k1,
            short_point,
            x25519,
            json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "x"}),
            json!({"kty": "oct", "k": encoded(31)}),
            json!({}),
            json!("text"),
        ] {
            let set = parsed(&json!([skipped, rsa(256, "good")]), KeyOrigin::File).unwrap();
            assert_eq!(set.len(), 1, "{skipped}");
            assert!(parsed(&json!([skipped]), KeyOrigin::File).is_err(), "{skipped}");
        }
    }

    #[test]
    fn a_secret_counts_in_a_file_and_never_from_a_url() {
        let secret = json!([{"kty": "oct", "k": encoded(32)}]);
        assert!(parsed(&secret, KeyOrigin::Url).is_err());
        let set = parsed(&secret, KeyOrigin::File).unwrap();
        assert!(set.find(None, Algorithm::HS256).is_ok());
        assert!(set.find(None, Algorithm::RS256).is_err());
    }

    #[test]
    fn a_key_is_found_by_its_name_and_fits_its_algorithms() {
        let mut only = rsa(256, "a");
        only["alg"] = json!("RS256");
        let set = parsed(&json!([only, rsa(256, "b")]), KeyOrigin::Url).unwrap();
        assert!(set.find(Some("a"), Algorithm::RS256).is_ok());
        assert!(set.find(Some("b"), Algorithm::PS512).is_ok());
        let reason = |kid, algorithm| set.find(kid, algorithm).err();
        assert_eq!(reason(Some("a"), Algorithm::PS256), Some(NoKey::OtherAlgorithm));
        assert_eq!(reason(Some("b"), Algorithm::HS256), Some(NoKey::OtherAlgorithm));
        assert_eq!(reason(Some("c"), Algorithm::RS256), Some(NoKey::Unknown));
        assert_eq!(reason(Some(""), Algorithm::RS256), Some(NoKey::Unknown));
        assert_eq!(reason(None, Algorithm::RS256), Some(NoKey::Ambiguous));
        assert!(set.find(None, Algorithm::PS256).is_ok(), "one fits");
    }

    #[test]
    fn content_that_is_no_key_set_is_refused() {
        for bad in ["", "<html>", "[]", "{}", "{\"keys\": {}}", "{\"keys\": []}"] {
            assert!(KeySet::parse(bad.as_bytes(), KeyOrigin::Url).is_err(), "{bad}");
        }
        let many: Vec<_> = (0..101).map(|i| rsa(256, &i.to_string())).collect();
        assert!(parsed(&json!(many), KeyOrigin::Url).is_err());
        let pem = b"-----BEGIN PUBLIC KEY-----";
        assert!(KeySet::parse(pem, KeyOrigin::Url).is_err(), "a URL has JWK sets only");
    }
}

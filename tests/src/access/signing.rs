//! Keys that sign tokens, and their public halves as JWK and PEM.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use serde_json::{Value, json};

/// An RSA key of 2048 bits, made for these tests: ring makes none.
const RSA: &str = include_str!("rsa.pem");

/// A key that signs tokens.
#[derive(Debug)]
pub struct SigningKey {
    kid: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Es256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rs256(Box<RsaKeyPair>),
    Hs256(Vec<u8>),
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl SigningKey {
    /// A new P-256 key.
    ///
    /// # Panics
    /// Never: the system has random numbers.
    #[must_use]
    pub fn es256(kid: &str) -> Self {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("random numbers");
        let key = EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).expect("a new key");
        Self { kid: kid.into(), kind: Kind::Es256(key) }
    }

    /// A new Ed25519 key.
    ///
    /// # Panics
    /// Never: the system has random numbers.
    #[must_use]
    pub fn ed25519(kid: &str) -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("random numbers");
        let key = Ed25519KeyPair::from_pkcs8(key.as_ref()).expect("a new key");
        Self { kid: kid.into(), kind: Kind::Ed25519(key) }
    }

    /// The RSA key of the tests.
    ///
    /// # Panics
    /// Never: it is a constant.
    #[must_use]
    pub fn rs256(kid: &str) -> Self {
        let lines: String = RSA.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(lines).expect("PEM");
        let key = RsaKeyPair::from_pkcs8(&der).expect("an RSA key");
        Self { kid: kid.into(), kind: Kind::Rs256(Box::new(key)) }
    }

    /// A secret.
    #[must_use]
    pub fn hs256(kid: &str, secret: &[u8]) -> Self {
        Self { kid: kid.into(), kind: Kind::Hs256(secret.to_vec()) }
    }

    /// Its `alg`.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match &self.kind {
            Kind::Es256(_) => "ES256",
            Kind::Ed25519(_) => "EdDSA",
            Kind::Rs256(_) => "RS256",
            Kind::Hs256(_) => "HS256",
        }
    }

    /// What others know of it, as a JWK.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.kind {
            Kind::Es256(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)})
            }
            Kind::Ed25519(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key())})
            }
            Kind::Rs256(key) => {
                let parts = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(key.public_key());
                json!({"kty": "RSA", "n": encode(parts.n), "e": encode(parts.e)})
            }
            Kind::Hs256(secret) => json!({"kty": "oct", "k": encode(secret)}),
        };
        jwk["kid"] = json!(self.kid);
        jwk
    }

    /// What others know of it, as DER: a SubjectPublicKeyInfo, and PKCS #1 for RSA.
    #[must_use]
    pub fn public_der(&self) -> Vec<u8> {
        let info = |head: &[u8], key: &[u8]| [head, key].concat();
        match &self.kind {
            Kind::Es256(key) => info(
                b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00",
                key.public_key().as_ref(),
            ),
            Kind::Ed25519(key) => info(
                b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00",
                key.public_key().as_ref(),
            ),
            Kind::Rs256(key) => key.public_key().as_ref().to_vec(),
            Kind::Hs256(secret) => secret.clone(),
        }
    }

    /// [`public_der`](Self::public_der) in PEM.
    #[must_use]
    pub fn public_pem(&self) -> String {
        let label =
            if matches!(self.kind, Kind::Rs256(_)) { "RSA PUBLIC KEY" } else { "PUBLIC KEY" };
        let text = STANDARD.encode(self.public_der());
        let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
        let lines: Vec<_> = lines.collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    }

    /// A token with the usual header.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({}), claims)
    }

    /// A token whose header has `changes`; `null` leaves a name out.
    #[must_use]
    pub fn sign_with(&self, changes: &Value, claims: &Value) -> String {
        let mut header = json!({"alg": self.algorithm(), "typ": "JWT", "kid": self.kid});
        for (name, value) in changes.as_object().into_iter().flatten() {
            if value.is_null() {
                header.as_object_mut().map(|header| header.remove(name));
            } else {
                header[name] = value.clone();
            }
        }
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// A token of any two texts: JSON that no library would write.
    #[must_use]
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self.signature(message.as_bytes());
        format!("{message}.{}", encode(signature))
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.kind {
            Kind::Es256(key) => {
                key.sign(&random, message).map(|s| s.as_ref().to_vec()).unwrap_or_default()
            }
            Kind::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Kind::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                let signed = key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature);
                signed.map(|()| signature).unwrap_or_default()
            }
            Kind::Hs256(secret) => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
            }
        }
    }
}

/// A token without a signature.
#[must_use]
pub fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}.", encode(header.to_string()), encode(claims.to_string()))
}

/// A JWK set of what others know of `keys`.
#[must_use]
pub fn jwk_set(keys: &[&SigningKey]) -> Value {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()})
}

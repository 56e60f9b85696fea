//! The cryptography of the crate `jsonwebtoken`, over ring. Its own backends are not used: one has an advisory, the other brings a second
//! library in C.
//!
//! Without a provider that crate compiles and panics at the first token. So [`install`] runs at the start of the broker and verifies a
//! signature through the crate: a broker that cannot verify tokens does not start.

use std::panic::catch_unwind;

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind,
    crypto::{self, CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind, Result, new_error},
    signature::{self, Verifier},
};
use ring::{
    hmac,
    signature::{self as algorithms, RsaPublicKeyComponents, UnparsedPublicKey},
};

/// A token that is signed with HS256, and its key (RFC 7515, appendix A.1).
const KNOWN_MESSAGE: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const KNOWN_SIGNATURE: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const KNOWN_KEY: &str =
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ+EstJQLr/T+1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow==";

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: no_signer,
    verifier_factory: verifier,
    // Used for thumbprints and for keys made from private ones, which a verifier has no use for.
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: |_| Err(unsupported()),
        rsa_pub_components_from_public_key: |_| Err(unsupported()),
        ec_pub_components_from_private_key: |_, _| Err(unsupported()),
        ed_pub_components_from_private_key: |_, _| Err(unsupported()),
        compute_digest: |_, _| Err(unsupported()),
    },
};

/// Tokens cannot be verified in this process.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("tokens cannot be verified: the cryptography of jsonwebtoken is not that of this program")]
pub(crate) struct NoCrypto;

/// Installs the provider for this process, and checks that it is in use.
///
/// # Errors
/// Another provider is in use, or none.
pub(crate) fn install() -> std::result::Result<(), NoCrypto> {
    match PROVIDER.install_default() {
        // An error means that there is a provider; the check tells whether it is this one.
        Ok(()) | Err(_) => check(),
    }
}

/// Verifies a known signature, and a wrong one.
fn check() -> std::result::Result<(), NoCrypto> {
    let verify = |message: &str| {
        let key = DecodingKey::from_base64_secret(KNOWN_KEY)?;
        crypto::verify(KNOWN_SIGNATURE, message.as_bytes(), &key, Algorithm::HS256)
    };
    // Without a provider the crate panics.
    let good = catch_unwind(|| verify(KNOWN_MESSAGE)).map_err(|_| NoCrypto)?;
    let bad = catch_unwind(|| verify("x")).map_err(|_| NoCrypto)?;
    if good == Ok(true) && bad == Ok(false) { Ok(()) } else { Err(NoCrypto) }
}

fn unsupported() -> Error {
    new_error(ErrorKind::UnsupportedAlgorithm)
}

fn no_signer(_: &Algorithm, _: &jsonwebtoken::EncodingKey) -> Result<Box<dyn JwtSigner>> {
    Err(unsupported())
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    if key.family() != algorithm.family() {
        return Err(new_error(ErrorKind::InvalidAlgorithm));
    }
    Ok(Box::new(RingVerifier { algorithm: *algorithm, key: key.clone() }))
}

/// Verifies signatures of one algorithm with one key.
struct RingVerifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(
        &self,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> std::result::Result<(), signature::Error> {
        let verified = match self.algorithm {
            Algorithm::HS256 => self.hmac(hmac::HMAC_SHA256, message, signature),
            Algorithm::HS384 => self.hmac(hmac::HMAC_SHA384, message, signature),
            Algorithm::HS512 => self.hmac(hmac::HMAC_SHA512, message, signature),
            Algorithm::RS256 => {
                self.rsa(&algorithms::RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            Algorithm::RS384 => {
                self.rsa(&algorithms::RSA_PKCS1_2048_8192_SHA384, message, signature)
            }
            Algorithm::RS512 => {
                self.rsa(&algorithms::RSA_PKCS1_2048_8192_SHA512, message, signature)
            }
            Algorithm::PS256 => self.rsa(&algorithms::RSA_PSS_2048_8192_SHA256, message, signature),
            Algorithm::PS384 => self.rsa(&algorithms::RSA_PSS_2048_8192_SHA384, message, signature),
            Algorithm::PS512 => self.rsa(&algorithms::RSA_PSS_2048_8192_SHA512, message, signature),
            Algorithm::ES256 => {
                self.public(&algorithms::ECDSA_P256_SHA256_FIXED, message, signature)
            }
            Algorithm::ES384 => {
                self.public(&algorithms::ECDSA_P384_SHA384_FIXED, message, signature)
            }
            Algorithm::EdDSA => self.public(&algorithms::ED25519, message, signature),
            _ => None,
        };
        // The reason is not reported: it would help an attacker.
        verified.ok_or_else(signature::Error::new)
    }
}

impl RingVerifier {
    fn hmac(&self, algorithm: hmac::Algorithm, message: &[u8], signature: &[u8]) -> Option<()> {
        let secret = self.key.try_get_as_bytes().ok()?;
        hmac::verify(&hmac::Key::new(algorithm, secret), message, signature).ok()
    }

    fn public(
        &self,
        algorithm: &'static dyn algorithms::VerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Option<()> {
        let key = self.key.try_get_as_bytes().ok()?;
        UnparsedPublicKey::new(algorithm, key).verify(message, signature).ok()
    }

    fn rsa(
        &self,
        algorithm: &'static algorithms::RsaParameters,
        message: &[u8],
        signature: &[u8],
    ) -> Option<()> {
        match self.key.kind() {
            DecodingKeyKind::SecretOrDer(der) => {
                UnparsedPublicKey::new(algorithm, der).verify(message, signature).ok()
            }
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(algorithm, message, signature).ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_provider_is_found_before_the_first_token() {
        // The provider is one for each process, so this needs a process of its own.
        if std::env::var("NEXTEST_EXECUTION_MODE").as_deref() != Ok("process-per-test") {
            return;
        }
        assert_eq!(check(), Err(NoCrypto), "no provider is installed");
        assert_eq!(install(), Err(NoCrypto), "and jsonwebtoken keeps the one that it found");
    }

    #[test]
    fn the_provider_is_installed_once_and_checked_each_time() {
        assert_eq!(install(), Ok(()));
        assert_eq!(install(), Ok(()));
    }

    /// RFC 7515, appendices A.2 and A.3; RFC 8037, appendix A.4.
    #[test]
    fn signatures_of_the_standards_are_verified() {
        install().unwrap();
        let rs = DecodingKey::from_rsa_components(
            "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
            "AQAB",
        )
        .unwrap();
        let payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let rs_signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
        let es = DecodingKey::from_ec_components(
            "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        )
        .unwrap();
        let es_signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let ed =
            DecodingKey::from_ed_components("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let ed_signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        let rs_message = format!("eyJhbGciOiJSUzI1NiJ9.{payload}");
        let es_message = format!("eyJhbGciOiJFUzI1NiJ9.{payload}");
        let ed_message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".to_owned();
        for (key, message, signature, algorithm) in [
            (&rs, &rs_message, rs_signature, Algorithm::RS256),
            (&es, &es_message, es_signature, Algorithm::ES256),
            (&ed, &ed_message, ed_signature, Algorithm::EdDSA),
        ] {
            let verify =
                |message: &str| crypto::verify(signature, message.as_bytes(), key, algorithm);
            assert_eq!(verify(message), Ok(true), "{algorithm:?}");
            assert_eq!(verify(&format!("{message}x")), Ok(false), "{algorithm:?}");
        }
        let confused = crypto::verify(rs_signature, rs_message.as_bytes(), &es, Algorithm::RS256);
        assert!(confused.is_err(), "a key of another kind");
    }
}

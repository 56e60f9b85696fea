//! Public keys in PEM. Pure.

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};

use super::Key;

/// Keys that one file may have: each that fits is tried with every token.
const MAX_PEM_KEYS: usize = 8;
/// Bytes of the smallest RSA public key of 2048 bits (PKCS #1).
const MIN_RSA_BYTES: usize = 256 + 8;
/// The end of a block.
const END: &str = "-----END";

/// The keys of a PEM file with one or more public keys.
pub(super) fn keys(content: &[u8]) -> Result<Vec<Key>, &'static str> {
    let text = str::from_utf8(content).map_err(|_| "it is not text")?;
    if text.contains("PRIVATE KEY-----") {
        return Err(
            "it has a private key, which only the issuer may have: replace it by the public key",
        );
    }
    let mut keys = Vec::new();
    for block in blocks(text) {
        if keys.len() == MAX_PEM_KEYS {
            return Err("it has more than 8 keys: use a JWK set, in which keys have names");
        }
        keys.push(key(block.as_bytes()).ok_or(
            "it contains something other than public keys of RSA (2048 bits or more), P-256, P-384 or Ed25519",
        )?);
    }
    Ok(keys)
}

/// The blocks of the file, each to the end of its last line.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let begin = rest.find("-----BEGIN")?;
        let block = &rest[begin..];
        let end = block.find(END).map_or(block.len(), |end| {
            block[end..].find('\n').map_or(block.len(), |line| end + line)
        });
        rest = &block[end..];
        Some(&block[..end])
    })
}

fn key(pem: &[u8]) -> Option<Key> {
    // A certificate has other bit strings before its key.
    if !pem.starts_with(b"-----BEGIN PUBLIC KEY-----")
        && !pem.starts_with(b"-----BEGIN RSA PUBLIC KEY-----")
    {
        return None;
    }
    // In this order: the crate tells an elliptic curve from an Edwards curve by the identifier in the key.
    let ec = || DecodingKey::from_ec_pem(pem);
    let ed = || DecodingKey::from_ed_pem(pem);
    let key = ec().or_else(|_| ed()).or_else(|_| DecodingKey::from_rsa_pem(pem)).ok()?;
    let content = key.try_get_as_bytes().ok()?;
    let algorithms = match (key.family(), content.len()) {
        (AlgorithmFamily::Ec, 65) => vec![Algorithm::ES256],
        (AlgorithmFamily::Ec, 97) => vec![Algorithm::ES384],
        (AlgorithmFamily::Ed, 32) => vec![Algorithm::EdDSA],
        (AlgorithmFamily::Rsa, MIN_RSA_BYTES..) => AlgorithmFamily::Rsa.algorithms().to_vec(),
        _ => return None,
    };
    Some(Key { id: None, algorithms, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    const P256: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9\nq9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==\n-----END PUBLIC KEY-----\n";
    const ED25519: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----";

    #[test]
    fn keys_are_read_one_after_the_other() {
        let both = format!("# the old one\r\n{P256}\n\n{ED25519}");
        let found = keys(both.as_bytes()).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].algorithms, [Algorithm::ES256]);
        assert_eq!(found[1].algorithms, [Algorithm::EdDSA]);
        assert_eq!(keys(P256.repeat(8).as_bytes()).unwrap().len(), 8);
    }

    #[test]
    fn private_keys_certificates_and_rubbish_are_refused() {
        let many = P256.repeat(9);
        for bad in [
            "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----",
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            "-----BEGIN PUBLIC KEY-----\n***\n-----END PUBLIC KEY-----",
            "-----BEGIN PUBLIC KEY-----",
            &P256[..60],
            &format!("{P256}-----BEGIN X-----\n-----END X-----"),
            &many,
        ] {
            assert!(keys(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}

//! The text of an API key: `evk_<id>_<43 base62><6 base62>`. The last six characters are a checksum. It distinguishes mistyped keys and
//! keys that were not generated here, which might be weak, from keys that were removed. Pure, except for the random numbers of [`mint`].

use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest as _, Sha256};

use crate::access::credential::API_KEY_PREFIX;

/// Characters of the random part: 256 bits.
const SECRET_LENGTH: usize = 43;
/// Characters of the checksum.
const CHECKSUM_LENGTH: usize = 6;
/// The longest id.
const MAX_ID_BYTES: usize = 63;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A new API key.
pub(crate) struct Minted {
    /// The key, for its owner alone.
    pub(crate) key: String,
    /// SHA-256 of the key in hexadecimal digits, for the broker.
    pub(crate) sha256: String,
}

/// Makes an API key; `None` if `id` cannot be one, or the system has no random numbers.
pub(crate) fn mint(id: &str) -> Option<Minted> {
    if !is_id(id) {
        return None;
    }
    let random = SystemRandom::new();
    let mut secret = String::new();
    while secret.len() < SECRET_LENGTH {
        let mut bytes = [0; SECRET_LENGTH];
        random.fill(&mut bytes).ok()?;
        // 248 is 4 × 62: other bytes would make some characters more likely.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        let characters = fair.map(|byte| char::from(BASE62[usize::from(byte % 62)]));
        secret.extend(characters.take(SECRET_LENGTH - secret.len()));
    }
    let key = with_secret(id, &secret);
    let sha256 = hash(&key).iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Minted { key, sha256 })
}

/// The key with this random part.
pub(super) fn with_secret(id: &str, secret: &str) -> String {
    let body = format!("{API_KEY_PREFIX}{id}_{secret}");
    let checksum = checksum(&body);
    body + &checksum
}

/// The id in an API key; `None` if the text is not an API key.
pub(super) fn id_of(key: &str) -> Option<&str> {
    let (id, secret) = key.strip_prefix(API_KEY_PREFIX)?.rsplit_once('_')?;
    let is_secret = secret.len() == SECRET_LENGTH + CHECKSUM_LENGTH
        && secret.bytes().all(|b| b.is_ascii_alphanumeric());
    let (body, check) = key.split_at_checked(key.len().checked_sub(CHECKSUM_LENGTH)?)?;
    (is_secret && is_id(id) && checksum(body) == check).then_some(id)
}

/// Whether `id` can be the id of a key: the name of a file, and an entry of a Secret.
pub(super) fn is_id(id: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        && !id.starts_with('.')
}

/// What the broker stores of a key. Keys are random, so a slow hash would only cost time.
pub(super) fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

fn checksum(body: &str) -> String {
    let [a, b, c, d, ..] = hash(body);
    let mut rest = u32::from_be_bytes([a, b, c, d]);
    let mut text = [b'0'; CHECKSUM_LENGTH];
    for digit in text.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    text.iter().map(|byte| char::from(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_new_key_has_the_form_and_is_random() {
        let keys: HashSet<_> = (0..100).map(|_| mint("ci-1").unwrap().key).collect();
        assert_eq!(keys.len(), 100);
        for key in &keys {
            assert_eq!(id_of(key), Some("ci-1"));
            assert_eq!(key.len(), "evk_ci-1_".len() + SECRET_LENGTH + CHECKSUM_LENGTH);
        }
        let used: HashSet<_> =
            keys.iter().flat_map(|key| key[9..9 + SECRET_LENGTH].bytes()).collect();
        assert_eq!(used.len(), 62, "every character occurs among 4300");
    }

    #[test]
    fn a_changed_or_home_made_key_is_none() {
        let key = mint("ci").unwrap().key;
        for at in 0..key.len() {
            let mut bytes = key.clone().into_bytes();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(id_of(&changed), None, "{at}");
        }
        for bad in ["", "evk_", "evk_ci", "evk_ci_secret", "evk__", &key[..key.len() - 1]] {
            assert_eq!(id_of(bad), None, "{bad}");
        }
        for id in ["", "a_b", "a/b", "..", ".data", "ä", &"x".repeat(64)] {
            assert!(mint(id).is_none(), "{id}");
        }
    }
}

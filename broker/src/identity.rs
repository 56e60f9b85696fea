//! Who a client is, and random ids.

use std::{fmt, str::FromStr, sync::Arc};

use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Who a client is, once its credential was verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Text", into = "Text")]
pub(crate) struct Identity {
    /// Who issued it: the `iss` of a token, `api-keys`, `kubernetes`, or `certificates`.
    pub(crate) issuer: Arc<str>,
    /// The name of the client, unique within the issuer.
    pub(crate) subject: Arc<str>,
}

impl Identity {
    /// SHA-256 of both texts, with the length of the first, so that different identities have different digests.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update((self.issuer.len() as u64).to_be_bytes());
        hash.update(self.issuer.as_bytes());
        hash.update(self.subject.as_bytes());
        hash.finalize().into()
    }
}

/// The serialized form of an identity.
#[derive(Serialize, Deserialize)]
struct Text {
    iss: String,
    sub: String,
}

impl From<Text> for Identity {
    fn from(text: Text) -> Self {
        Self { issuer: text.iss.into(), subject: text.sub.into() }
    }
}

impl From<Identity> for Text {
    fn from(identity: Identity) -> Self {
        Self { iss: identity.issuer.to_string(), sub: identity.subject.to_string() }
    }
}

/// An id of 96 random bits: of a session, or of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct RandomId([u8; 12]);

impl RandomId {
    /// A new id. All zeros if the system has no random numbers, which it always has after boot.
    pub(crate) fn generate() -> Self {
        let mut bytes = [0; 12];
        if SystemRandom::new().fill(&mut bytes).is_err() {
            tracing::error!("the system gives no random numbers");
        }
        Self(bytes)
    }
}

impl fmt::Display for RandomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for RandomId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "must be 24 hexadecimal digits";
        if text.len() != 24
            || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            return Err(wrong);
        }
        let mut bytes = [0; 12];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| wrong)?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for RandomId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RandomId> for String {
    fn from(id: RandomId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = RandomId::generate();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_ne!(id, RandomId::generate());
        for bad in [
            "",
            "0",
            "g00000000000000000000000",
            "A00000000000000000000000",
            "é0000000000000000000000",
        ] {
            assert!(bad.parse::<RandomId>().is_err(), "{bad}");
        }
    }
}

//! The epoch: the name of one incarnation of a log. The creator of the stream chooses it at random and stores it in the stream's
//! metadata, so that cursors of a deleted stream are not valid for its successor. Pure.

use std::{fmt, str::FromStr};

/// The alphabet of cursors: digits and letters that are not easily confused (Crockford's Base32 in lower case).
pub const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The name of one incarnation of a log: 5 to 8 characters of the cursor alphabet.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch {
    bytes: [u8; 8],
    len: u8,
}

impl Epoch {
    /// The epoch as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }

    /// An epoch from the lower 40 bits of `random`.
    #[must_use]
    pub fn mint(random: u64) -> Self {
        let mut bytes = [0; 8];
        for (i, b) in bytes.iter_mut().enumerate() {
            *b = digit(random >> (5 * i));
        }
        Self { bytes, len: 8 }
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not an epoch: 5 to 8 characters of [`ALPHABET`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an epoch")]
pub struct InvalidEpoch;

impl FromStr for Epoch {
    type Err = InvalidEpoch;

    fn from_str(s: &str) -> Result<Self, InvalidEpoch> {
        let (mut bytes, len) = ([0; 8], s.len());
        if !(5..=8).contains(&len) || !s.bytes().all(|b| ALPHABET.contains(&b)) {
            return Err(InvalidEpoch);
        }
        bytes[..len].copy_from_slice(s.as_bytes());
        Ok(Self { bytes, len: u8::try_from(len).map_err(|_| InvalidEpoch)? })
    }
}

/// The character for the lowest five bits.
#[must_use]
pub fn digit(bits: u64) -> u8 {
    ALPHABET[usize::try_from(bits & 31).unwrap_or_default()]
}

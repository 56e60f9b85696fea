//! Cursors: the SSE `id:` of an event, `<epoch>-<sequence>-<check>`, such as `k7q2m8-1048576-3f9`.
//!
//! The epoch names the incarnation of the stream. The sequence is the stream sequence of JetStream. The check is a hash of the
//! event's message id: it differs if JetStream reuses a sequence after it lost its newest messages (docs/adr/0015). Pure.

use std::{fmt, hash::Hasher as _, str::FromStr};

pub use eventcast_crds::epoch::Epoch;
use eventcast_crds::epoch::{ALPHABET, digit};
use fnv::FnvHasher;

/// 15 bits of a hash that distinguish events with the same sequence. 0 is [`Check::ABSENT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Check(u16);

impl Check {
    /// The check of a cursor whose event was deleted when the cursor was minted.
    pub const ABSENT: Self = Self(0);

    /// The check of an event with the message id `id`. The publisher can compute it as soon as the log has acknowledged the event.
    #[must_use]
    pub fn of_id(id: &str) -> Self {
        // FNV-1a: the same on every replica and in every version.
        let mut hash = FnvHasher::default();
        hash.write(id.as_bytes());
        Self::of_hash(hash.finish())
    }

    /// The check of an event without a message id: a hash of the time when it was stored, in nanoseconds since 1970.
    #[must_use]
    pub fn of_time(nanos: i64) -> Self {
        Self::of_hash(nanos.cast_unsigned())
    }

    fn of_hash(hash: u64) -> Self {
        let mixed = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 49;
        Self(u16::try_from(mixed).unwrap_or(1).max(1))
    }
}

/// A position in a log: the client has received everything up to and including `sequence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The incarnation of the log.
    pub epoch: Epoch,
    /// The JetStream stream sequence.
    pub sequence: u64,
    /// The check of the event at `sequence`.
    pub check: Check,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = [10, 5, 0].map(|shift| char::from(digit(u64::from(self.check.0) >> shift)));
        write!(f, "{}-{}-{}{}{}", self.epoch.as_str(), self.sequence, c[0], c[1], c[2])
    }
}

/// The text is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct BadCursor;

impl FromStr for Cursor {
    type Err = BadCursor;

    /// Parses exactly what [`Display`](fmt::Display) writes.
    fn from_str(s: &str) -> Result<Self, BadCursor> {
        let mut parts = s.splitn(3, '-');
        let mut part = || parts.next().ok_or(BadCursor);
        let (epoch, digits, check) = (part()?.parse().map_err(|_| BadCursor)?, part()?, part()?);
        let canonical = digits.bytes().all(|b| b.is_ascii_digit())
            && (digits == "0" || !digits.starts_with('0'));
        if !canonical || check.len() != 3 {
            return Err(BadCursor);
        }
        let sequence = digits.parse().map_err(|_| BadCursor)?;
        let mut value = 0;
        for b in check.bytes() {
            let d = ALPHABET.iter().position(|a| *a == b).ok_or(BadCursor)?;
            value = value << 5 | u16::try_from(d).map_err(|_| BadCursor)?;
        }
        Ok(Self { epoch, sequence, check: Check(value) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_cursor_is_parsed_back_and_is_a_valid_sse_id(random: u64, sequence: u64, nanos: i64) {
            let cursor = Cursor { epoch: Epoch::mint(random), sequence, check: Check::of_time(nanos) };
            let text = cursor.to_string();
            prop_assert_eq!(text.parse(), Ok(cursor));
            prop_assert!(text.len() <= 64);
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        }

        #[test]
        fn nearly_valid_text_is_rejected_or_canonical(text in "[0-9a-z]{5,8}-[0-9]{1,20}-[0-9a-z]{3}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }

        #[test]
        fn any_text_is_rejected_or_canonical(text: String) {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }

    #[test]
    fn checks_distinguish_ids_and_are_never_absent() {
        let ids: Vec<_> = (0..2000).map(|i| Check::of_id(&format!("key:{i}"))).collect();
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert!(distinct.len() > 1900, "{}", distinct.len());
        assert!(!distinct.contains(&Check::ABSENT));
        assert!((0..100_000).all(|nanos| Check::of_time(nanos) != Check::ABSENT));
        assert_eq!(Check::of_id("order-7"), Check(28540), "the same in every version");
    }

    #[test]
    fn other_texts_are_rejected() {
        for text in [
            "",
            "-1",
            "0",
            "now",
            "$",
            "k7q2m",
            "k7q2m-1",
            "k7q2m-1-",
            "k7q2m--000",
            "k7q2m-01-000",
            "k7q2m-+1-000",
            "k7q2m-1-00",
            "k7q2m-1-0000",
            "k7q2m-1-00u",
            "K7Q2M-1-000",
            "k7q2-1-000",
            "k7q2mk7q2-1-000",
            "k7q2m-18446744073709551616-000",
            " k7q2m-1-000",
            "k7q2m-1-000\n",
            "k7q2m-1-000-1",
            "k7q2m-١-000",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(BadCursor), "{text:?}");
        }
    }
}

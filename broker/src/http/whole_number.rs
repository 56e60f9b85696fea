//! Whole numbers in JSON. `600` and `600.0` are the same number in JSON, and for clients that have only floating-point numbers, but serde
//! does not accept the latter as an integer. Pure.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};

/// The largest number up to which every integer can be represented as an `f64`.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// A whole number that is not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WholeNumber(pub(super) u64);

impl<'de> Deserialize<'de> for WholeNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeNumberVisitor)
    }
}

struct WholeNumberVisitor;

impl Visitor<'_> for WholeNumberVisitor {
    type Value = WholeNumber;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<WholeNumber, E> {
        Ok(WholeNumber(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<WholeNumber, E> {
        let wrong = |_| E::invalid_value(Unexpected::Signed(number), &self);
        u64::try_from(number).map(WholeNumber).map_err(wrong)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, and in a range in which it is exact"
    )]
    fn visit_f64<E: Error>(self, number: f64) -> Result<WholeNumber, E> {
        if number.fract() == 0.0 && (0.0..=MAX_EXACT).contains(&number) {
            return Ok(WholeNumber(number as u64));
        }
        Err(E::invalid_value(Unexpected::Float(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_whole_however_it_is_written() {
        let read = |text: &str| serde_json::from_str::<WholeNumber>(text).ok().map(|n| n.0);
        for text in ["600", "600.0", "6e2"] {
            assert_eq!(read(text), Some(600), "{text}");
        }
        assert_eq!(read("18446744073709551615"), Some(u64::MAX));
        for text in ["600.5", "-600", "-600.0", "1e300", "\"600\"", "null", "true", "[600]"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}

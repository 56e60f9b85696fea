//! Parses the validity period of a certificate (RFC 5280, section 4.1), which rustls does not expose. Pure.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// The field `version`, which certificates of version 1 do not have.
const VERSION: u8 = 0xa0;

/// `notBefore` and `notAfter` of a certificate in DER; `None` if they cannot be read.
pub(super) fn validity(certificate: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (certificate, _) = value(certificate, SEQUENCE)?;
    let (fields, _) = value(certificate, SEQUENCE)?;
    let fields = value(fields, VERSION).map_or(fields, |(_, rest)| rest);
    let (_serial, fields) = value(fields, INTEGER)?;
    let (_algorithm, fields) = value(fields, SEQUENCE)?;
    let (_issuer, fields) = value(fields, SEQUENCE)?;
    let (validity, _) = value(fields, SEQUENCE)?;
    let (not_before, validity) = time(validity)?;
    time(validity).map(|(not_after, _)| (not_before, not_after))
}

/// The time that `der` begins with, and what follows it.
fn time(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (text, rest, century) = if let Some((text, rest)) = value(der, UTC_TIME) {
        let text = str::from_utf8(text).ok()?;
        // Two digits of the year: 1950 to 2049 (section 4.1.2.5.1).
        (text, rest, if text.get(..2)?.parse::<u8>().ok()? < 50 { "20" } else { "19" })
    } else {
        let (text, rest) = value(der, GENERALIZED_TIME)?;
        (str::from_utf8(text).ok()?, rest, "")
    };
    let civil = DateTime::strptime("%Y%m%d%H%M%SZ", format!("{century}{text}")).ok()?;
    Some((civil.to_zoned(TimeZone::UTC).ok()?.timestamp(), rest))
}

/// The value of the element with `tag` that `der` begins with, and what follows it.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let [first, length, rest @ ..] = der else { return None };
    if *first != tag {
        return None;
    }
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |n, digit| n << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], &content].concat()
    }

    fn certificate(version: &[u8], not_after: &[u8]) -> Vec<u8> {
        let validity = element(SEQUENCE, &[&element(UTC_TIME, &[b"260101000000Z"]), not_after]);
        let fields = [
            version,
            &element(INTEGER, &[b"\x01"]),
            &element(SEQUENCE, &[b"algorithm"]),
            &element(SEQUENCE, &[b"issuer"]),
            &validity,
            &element(SEQUENCE, &[b"subject"]),
        ];
        element(SEQUENCE, &[&element(SEQUENCE, &fields), b"signature"])
    }

    #[test]
    fn the_validity_is_read() {
        let version = element(VERSION, &[b"\x02\x01\x02"]);
        for (tag, text, wanted) in [
            (UTC_TIME, "270228235959Z", Some("2027-02-28T23:59:59Z")),
            (UTC_TIME, "500101000000Z", Some("1950-01-01T00:00:00Z")),
            (GENERALIZED_TIME, "20610101000000Z", Some("2061-01-01T00:00:00Z")),
            (GENERALIZED_TIME, "20611301000000Z", None),
            (UTC_TIME, "2702", None),
        ] {
            let time = element(tag, &[text.as_bytes()]);
            for version in [&version[..], &[]] {
                let found = validity(&certificate(version, &time))
                    .map(|(from, to)| (from.to_string(), to.to_string()));
                let wanted = wanted.map(|to| ("2026-01-01T00:00:00Z".to_owned(), to.to_owned()));
                assert_eq!(found, wanted, "{text}");
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(cut in 0_usize..120, at in 0_usize..120, byte: u8) {
            let mut der = certificate(&[], &element(UTC_TIME, &[b"270228235959Z"]));
            let at = at % der.len();
            der[at] = byte;
            der.truncate(cut);
            validity(&der);
        }
    }
}

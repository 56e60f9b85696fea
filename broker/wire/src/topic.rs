//! Topics, the patterns that select them, and their encoding as tokens of NATS subjects.
//!
//! A topic has 1 to 16 segments, joined by dots. In a subject, a segment keeps `A-Z a-z 0-9 - _ ~ @ : = + ,`, and every other byte
//! becomes `%XX`. The encoding is reversible, and no topic leads to a subject outside the channel's prefix. Pure.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Characters that are percent-encoded in a token of a subject.
const ENCODED_CHARS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'~')
    .remove(b'@')
    .remove(b':')
    .remove(b'=')
    .remove(b'+')
    .remove(b',');

/// The maximum number of segments of a topic or a pattern.
const MAX_SEGMENTS: usize = 16;
/// The maximum length of a topic, encoded as tokens of a subject, in bytes.
pub const MAX_TOPIC_BYTES: usize = 255;
/// The maximum length of a topic or type pattern, in bytes.
pub const MAX_TOPIC_PATTERN_BYTES: usize = 256;

/// Why a text is not a valid topic or pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTopic {
    /// The text is empty, or nothing is between two dots.
    #[error("has an empty segment; segments are joined by single dots, as in user.42")]
    EmptySegment,
    /// There are more than 16 segments.
    #[error("has more than 16 segments")]
    TooManySegments,
    /// The encoded topic, or the pattern, is too long.
    #[error("is longer than 255 bytes")]
    TooLong,
    /// The text has a control character.
    #[error("has a control character")]
    Control,
    /// A topic has a wildcard.
    #[error("has a wildcard segment; * and > are for patterns only")]
    Wildcard,
    /// A pattern has `>` before its end.
    #[error("has > before its end; > matches the rest and must be the last segment")]
    RestInside,
}

fn segments(text: &str) -> Result<impl Iterator<Item = &str> + Clone, BadTopic> {
    if text.split('.').any(str::is_empty) {
        return Err(BadTopic::EmptySegment);
    }
    if text.chars().any(char::is_control) {
        return Err(BadTopic::Control);
    }
    if text.split('.').count() > MAX_SEGMENTS {
        return Err(BadTopic::TooManySegments);
    }
    Ok(text.split('.'))
}

/// Checks a topic: valid segments without wildcards.
///
/// # Errors
/// `text` breaks a rule.
pub(crate) fn check_literal(text: &str) -> Result<(), BadTopic> {
    if segments(text)?.any(|segment| segment == "*" || segment == ">") {
        return Err(BadTopic::Wildcard);
    }
    Ok(())
}

/// Encodes `topic` as the tokens of a NATS subject.
///
/// # Errors
/// `topic` breaks a rule of topics.
pub fn encode(topic: &str) -> Result<String, BadTopic> {
    check_literal(topic)?;
    encode_segments(topic)
}

/// Encodes `pattern` as the tokens of a NATS subject filter that selects the same topics.
///
/// # Errors
/// `pattern` breaks a rule of patterns.
pub fn encode_pattern(pattern: &str) -> Result<String, BadTopic> {
    Pattern::new(pattern)?;
    encode_segments(pattern)
}

fn encode_segments(text: &str) -> Result<String, BadTopic> {
    let mut out = String::with_capacity(text.len());
    for (i, segment) in segments(text)?.enumerate() {
        if i > 0 {
            out.push('.');
        }
        if segment == "*" || segment == ">" {
            out.push_str(segment);
            continue;
        }
        out.extend(utf8_percent_encode(segment, ENCODED_CHARS));
    }
    if out.len() > MAX_TOPIC_BYTES {
        return Err(BadTopic::TooLong);
    }
    Ok(out)
}

/// Decodes the tokens of a NATS subject. Accepts only what [`encode`] writes: if a topic had two spellings, a filter could miss one
/// of them.
#[must_use]
pub fn decode(tokens: &str) -> Option<String> {
    let topic = percent_decode_str(tokens).decode_utf8().ok()?.into_owned();
    (encode(&topic).as_deref() == Ok(tokens)).then_some(topic)
}

/// A pattern for topics or types: `*` matches one segment, a last `>` matches one or more.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    literal: bool,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Pattern {
    /// The pattern that selects nothing: no topic has a control character.
    pub(crate) fn nothing() -> Self {
        Self { text: "\0".into(), literal: true }
    }

    /// Parses a pattern.
    ///
    /// # Errors
    /// `text` is empty, too long, has an empty segment, a control character, or a `>` before its end.
    pub fn new(text: &str) -> Result<Self, BadTopic> {
        if text.len() > MAX_TOPIC_PATTERN_BYTES {
            return Err(BadTopic::TooLong);
        }
        let mut parts = segments(text)?.peekable();
        let mut literal = true;
        while let Some(part) = parts.next() {
            literal &= part != "*" && part != ">";
            if part == ">" && parts.peek().is_some() {
                return Err(BadTopic::RestInside);
            }
        }
        Ok(Self { text: text.into(), literal })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the pattern has no wildcard.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.literal
    }

    /// Whether the pattern matches `name`, a topic or a type.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        if self.literal {
            return *self.text == *name;
        }
        let mut names = name.split('.');
        for part in self.text.split('.') {
            match (part, names.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (part, Some(name)) if part == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_topic_is_decoded_from_its_subject(topic in "[^\\x00-\\x1f\\x7f-\\u{9f}]{1,40}") {
            if let Ok(subject) = encode(&topic) {
                prop_assert_eq!(decode(&subject), Some(topic));
                prop_assert!(subject.bytes().all(|b| b.is_ascii_graphic() && b != b'*' && b != b'>'));
                prop_assert!(!subject.split('.').any(str::is_empty));
            }
        }

        #[test]
        fn every_subject_is_canonical_or_rejected(tokens in "[a-zA-Z0-9%.*> $_-]{0,40}") {
            if let Some(topic) = decode(&tokens) {
                prop_assert_eq!(encode(&topic), Ok(tokens));
            }
        }

        #[test]
        fn a_topic_matches_itself_and_its_wildcards(topic in "[a-c]{1,2}(\\.[a-c]{1,2}){0,4}", at in 0usize..5) {
            prop_assert!(Pattern::new(&topic).unwrap().matches(&topic));
            let mut parts: Vec<_> = topic.split('.').collect();
            let i = at % parts.len();
            parts[i] = "*";
            prop_assert!(Pattern::new(&parts.join(".")).unwrap().matches(&topic));
            parts.truncate(i);
            parts.push(">");
            prop_assert!(Pattern::new(&parts.join(".")).unwrap().matches(&topic));
        }
    }

    #[test]
    fn patterns_select_whole_segments() {
        let matches = |p: &str, t: &str| Pattern::new(p).unwrap().matches(t);
        assert!(matches("orders.*.paid", "orders.eu.paid"));
        assert!(!matches("orders.*.paid", "orders.eu.de.paid"));
        assert!(!matches("orders.*", "orders"));
        assert!(!matches("orders.>", "orders"));
        assert!(matches(">", "orders"));
        assert!(!matches("user.4", "user.42"));
        assert!(!matches("user.42", "user.4"));
    }

    #[test]
    fn invalid_topics_and_patterns_are_distinguished() {
        assert_eq!(encode(""), Err(BadTopic::EmptySegment));
        assert_eq!(encode("a..b"), Err(BadTopic::EmptySegment));
        assert_eq!(encode("a.*"), Err(BadTopic::Wildcard));
        assert_eq!(encode("a.>"), Err(BadTopic::Wildcard));
        assert_eq!(encode("a\r\nb"), Err(BadTopic::Control));
        assert_eq!(encode(&["a"; 17].join(".")), Err(BadTopic::TooManySegments));
        assert_eq!(encode(&"é".repeat(60)), Err(BadTopic::TooLong));
        assert_eq!(Pattern::new(">.a"), Err(BadTopic::RestInside));
    }

    #[test]
    fn patterns_select_the_same_as_subjects() {
        assert_eq!(encode_pattern("user.*.$x.>").as_deref(), Ok("user.*.%24x.>"));
        assert_eq!(
            encode_pattern("a*.b>").as_deref(),
            Ok("a%2A.b%3E"),
            "no wildcards inside a segment"
        );
        assert_eq!(encode_pattern(">.a"), Err(BadTopic::RestInside));
        assert_eq!(encode_pattern(""), Err(BadTopic::EmptySegment));
    }

    #[test]
    fn characters_that_are_special_to_nats_are_encoded() {
        assert_eq!(encode("$JS.API.a b\u{a0}>").unwrap(), "%24JS.API.a%20b%C2%A0%3E");
        assert_eq!(decode("a%2Eb"), None, "a dot inside a segment would be two spellings of a.b");
        assert_eq!(decode("a%zz"), None);
        assert_eq!(decode("%41"), None, "A needs no encoding");
    }

    #[test]
    fn the_longest_topic_is_accepted_and_a_pattern_knows_its_wildcards() {
        assert!(encode(&"a".repeat(MAX_TOPIC_BYTES)).is_ok());
        assert_eq!(encode(&"a".repeat(MAX_TOPIC_BYTES + 1)), Err(BadTopic::TooLong));
        let is_literal = |text: &str| Pattern::new(text).unwrap().is_literal();
        assert!(is_literal("a.b*"));
        assert!(!is_literal("a.*") && !is_literal("a.>"));
    }
}

//! The event: what a publisher may send, and what the log gives back. Pure.

#[expect(clippy::disallowed_types, reason = "only a value here: this crate reads no clock")]
use std::time::Instant;

use bytes::Bytes;

use crate::{
    cursor::{Check, Cursor, Epoch},
    frame::Chunk,
    topic::{self, BadTopic},
};

/// Types that begin with this come from the broker.
pub const RESERVED: &str = "eventcast.";
/// The type of an event that names none (HTML, section 9.2.6).
pub const DEFAULT_TYPE: &str = "message";
/// Bytes of a type or an idempotency key at most.
pub const MAX_NAME_BYTES: usize = 128;
/// Bytes of a source or an id at most. Those of CloudEvents are URIs and whatever a sender makes of an id; both stand in headers of
/// the stored message, whose room is `HEADERS` in `eventcast_crds::stream`.
pub const MAX_SOURCE_BYTES: usize = 1024;

/// A rule of events that something breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEvent {
    /// Data over the channel's limit.
    #[error("is larger than this channel takes")]
    TooLarge,
    /// Data that is no text.
    #[error("is not valid UTF-8: encode binary data as text, base64 for example")]
    NotUtf8,
    /// U+0000, which Firefox drops from data.
    #[error("has a U+0000, which browsers do not deliver")]
    Nul,
    /// A type, source or id of the wrong length.
    #[error("must have 1 to {0} bytes")]
    Length(usize),
    /// Control characters, or space at either end.
    #[error("has a control character, or space at its beginning or end")]
    Control,
    /// `open` and `error` would be taken for what `EventSource` fires itself.
    #[error(
        "would be taken for the open or error event of EventSource itself: choose another name"
    )]
    BuiltIn,
    /// The broker's own types.
    #[error("begins with eventcast., which is the broker's own")]
    Reserved,
    /// A type that no pattern could ask for.
    #[error("{0}")]
    Type(BadTopic),
    /// A topic that breaks its rules.
    #[error(transparent)]
    Topic(#[from] BadTopic),
    /// A subject under the channel's prefix that is neither `all` nor a topic.
    #[error("is neither <prefix>.all nor <prefix>.t.<topic>")]
    Subject,
    /// A payload that says it is a CloudEvent and is none.
    #[error("is not a CloudEvent")]
    CloudEvent,
}

impl BadEvent {
    /// Label of the metric that counts skipped events; a closed set.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::TooLarge => "too-large",
            Self::NotUtf8 => "not-utf8",
            Self::Nul => "nul",
            Self::Length(_) | Self::Control | Self::BuiltIn | Self::Reserved | Self::Type(_) => {
                "name"
            }
            Self::Topic(_) | Self::Subject => "subject",
            Self::CloudEvent => "cloudevent",
        }
    }
}

/// Checks `data` and gives it as text.
///
/// # Errors
/// Too large, not UTF-8, or with a U+0000.
pub fn check_data(data: &[u8], max: usize) -> Result<&str, BadEvent> {
    if data.len() > max {
        return Err(BadEvent::TooLarge);
    }
    if data.contains(&0) {
        return Err(BadEvent::Nul);
    }
    std::str::from_utf8(data).map_err(|_| BadEvent::NotUtf8)
}

/// Checks an event type. It obeys the rules of topics, so that there is a pattern for every type: itself.
///
/// # Errors
/// See [`BadEvent`].
pub fn check_type(name: &str) -> Result<(), BadEvent> {
    check_name(name, MAX_NAME_BYTES)?;
    topic::check_literal(name).map_err(BadEvent::Type)?;
    match name {
        "open" | "error" => Err(BadEvent::BuiltIn),
        _ if name.starts_with(RESERVED) => Err(BadEvent::Reserved),
        _ => Ok(()),
    }
}

/// Checks a name, a source or an id: its length, at most `max` bytes, and its characters.
///
/// # Errors
/// See [`BadEvent`].
pub fn check_name(name: &str, max: usize) -> Result<(), BadEvent> {
    if !(1..=max).contains(&name.len()) {
        return Err(BadEvent::Length(max));
    }
    if name.trim() != name || name.chars().any(char::is_control) {
        return Err(BadEvent::Control);
    }
    Ok(())
}

/// An event that passed every rule and is on its way to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The data.
    pub data: Bytes,
    /// The event's type; `None` is [`DEFAULT_TYPE`].
    pub event_type: Option<String>,
    /// The topic as the tokens of a subject; `None` is everyone.
    pub topic: Option<String>,
    /// Who sent it.
    pub source: Option<String>,
    /// The publisher's own id: metadata, never the cursor.
    pub id: Option<String>,
    /// Idempotency key: the message id of JetStream's deduplication.
    pub key: String,
    /// Seconds to live.
    pub ttl: Option<u64>,
    /// The data is a structured CloudEvent.
    pub cloudevent: bool,
}

/// What lies at a sequence of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An event to deliver.
    Data,
    /// A message that breaks a rule; its frame tells the gap it leaves.
    Invalid,
    /// A marker of the server's own; nobody is told.
    Marker,
}

/// An event as the log holds it, framed for the wire once and shared by everyone.
#[derive(Debug)]
pub struct Event {
    /// JetStream's stream sequence.
    pub sequence: u64,
    /// When JetStream stored it, in nanoseconds since 1970.
    pub nanos: i64,
    /// What its cursor is checked by.
    pub check: Check,
    /// What it is.
    pub kind: Kind,
    /// Its topic; `None` is everyone.
    pub topic: Option<Box<str>>,
    /// Its type; `None` is [`DEFAULT_TYPE`].
    pub event_type: Option<Box<str>>,
    /// Who sent it.
    pub source: Option<Box<str>>,
    /// The publisher's own id.
    pub id: Option<Box<str>>,
    /// When its time to live is over, in nanoseconds since 1970.
    pub expires: Option<i64>,
    /// The bytes for the wire; none of a marker.
    pub chunk: Chunk,
    /// When it reached this broker by the tail; `None` in pages.
    pub received: Option<Instant>,
}

impl Event {
    /// What it costs in a ring or page, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        let len = |s: &Option<Box<str>>| s.as_ref().map_or(0, |s| s.len());
        let names = len(&self.topic) + len(&self.event_type) + len(&self.source) + len(&self.id);
        size_of::<Self>() + self.chunk.wire().len() + names
    }

    /// Whether its time to live is over at `now`, in nanoseconds since 1970.
    #[must_use]
    pub fn expired_at(&self, now: i64) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// The cursor of a client that has seen it.
    #[must_use]
    pub fn cursor(&self, epoch: Epoch) -> Cursor {
        Cursor { epoch, sequence: self.sequence, check: self.check }
    }

    /// Its type as a listener names it.
    #[must_use]
    pub fn type_name(&self) -> &str {
        self.event_type.as_deref().unwrap_or(DEFAULT_TYPE)
    }
}

/// Reads the topic from a subject, less the channel's prefix and its dot.
///
/// # Errors
/// The subject is not one of the channel's.
pub fn topic_of(subject: &str) -> Result<Option<String>, BadEvent> {
    match subject.strip_prefix("t.") {
        Some(tokens) => topic::decode(tokens).map(Some).ok_or(BadEvent::Subject),
        None if subject == "all" => Ok(None),
        None => Err(BadEvent::Subject),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::Pattern;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_type_that_may_be_published_can_be_asked_for_alone(name in "[a-b.*> é]{1,12}", other in "[a-b.*> é]{1,12}") {
            if check_type(&name).is_ok() {
                let pattern = Pattern::new(&name).unwrap();
                prop_assert!(pattern.is_literal() && pattern.matches(&name));
                prop_assert_eq!(pattern.matches(&other), name == other);
            }
        }
    }

    #[test]
    fn what_no_pattern_selects_is_no_type() {
        for bad in
            ["a..b", ".a", "a.", ".", "*", ">", "a.*", "a.*.b", ">.a", "a.>", &["a"; 17].join(".")]
        {
            assert!(matches!(check_type(bad), Err(BadEvent::Type(_))), "{bad}");
        }
        for good in [
            "order.paid",
            "a b.c",
            "größe.ü",
            "a*",
            "*a",
            "a>b",
            "com.example/x:y",
            &["a"; 16].join("."),
        ] {
            assert_eq!(check_type(good), Ok(()), "{good}");
        }
    }
}

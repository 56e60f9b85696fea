//! Events: the rules that publishers must obey, and the events that the log returns. Pure.

#[expect(clippy::disallowed_types, reason = "only stored here: this crate reads no clock")]
use std::time::Instant;

use bytes::Bytes;

use crate::{
    cursor::{Check, Cursor, Epoch},
    frame::Chunk,
    topic::{self, BadTopic},
    trace_context::TraceContext,
};

/// The prefix of types that only the broker may publish.
pub const RESERVED_PREFIX: &str = "eventcast.";
/// The type of an event without one (HTML, section 9.2.6).
pub const DEFAULT_TYPE: &str = "message";
/// The maximum length of a type or an idempotency key, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// The maximum length of a source or an id, in bytes. Both are stored in headers of the message, whose size is limited
/// (`eventcast_crds::stream`).
pub const MAX_SOURCE_BYTES: usize = 1024;

/// The rule that an event violates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEvent {
    /// The data exceeds the limit of the channel.
    #[error("is larger than this channel allows")]
    TooLarge,
    /// The data is not text.
    #[error("is not valid UTF-8; encode binary data as text, for example as base64")]
    NotUtf8,
    /// The data has a U+0000, which Firefox removes.
    #[error("contains U+0000, which browsers do not deliver")]
    Nul,
    /// The type, source or id is empty or too long.
    #[error("must have 1 to {0} bytes")]
    Length(usize),
    /// The name has control characters, or white space at either end.
    #[error("has a control character, or white space at its start or end")]
    Control,
    /// `EventSource` fires its own events `open` and `error`.
    #[error("is the name of an event that EventSource fires itself; choose another name")]
    BuiltIn,
    /// Publishers may not use a reserved type.
    #[error("begins with eventcast., which is reserved for the broker")]
    Reserved,
    /// An internal event whose type is not reserved.
    #[error("does not begin with eventcast.")]
    NotReserved,
    /// A type that no pattern could select.
    #[error("{0}")]
    Type(BadTopic),
    /// The topic breaks a rule of topics.
    #[error(transparent)]
    Topic(#[from] BadTopic),
    /// The NATS subject is not one of the channel's; see [`crate::subject`].
    #[error("is neither <prefix>.all nor <prefix>.t.<topic>")]
    Subject,
    /// The message is declared as a CloudEvent but is not a valid one.
    #[error("is not a valid CloudEvent")]
    CloudEvent,
}

impl BadEvent {
    /// The label of the metric that counts skipped events.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::TooLarge => "too-large",
            Self::NotUtf8 => "not-utf8",
            Self::Nul => "nul",
            Self::Length(_)
            | Self::Control
            | Self::BuiltIn
            | Self::Reserved
            | Self::NotReserved
            | Self::Type(_) => "name",
            Self::Topic(_) | Self::Subject => "subject",
            Self::CloudEvent => "cloudevent",
        }
    }
}

/// Checks `data`, which may have `max` bytes, and returns it as text.
///
/// # Errors
/// The data is too large, is not UTF-8, or contains U+0000.
pub fn check_data(data: &[u8], max: usize) -> Result<&str, BadEvent> {
    if data.len() > max {
        return Err(BadEvent::TooLarge);
    }
    if data.contains(&0) {
        return Err(BadEvent::Nul);
    }
    std::str::from_utf8(data).map_err(|_| BadEvent::NotUtf8)
}

/// Checks the type of a publisher's event. Types obey the rules of topics, so that every type is a pattern that selects itself.
///
/// # Errors
/// See [`BadEvent`].
pub fn check_type(name: &str) -> Result<(), BadEvent> {
    check_type_name(name)?;
    match name {
        "open" | "error" => Err(BadEvent::BuiltIn),
        _ if name.starts_with(RESERVED_PREFIX) => Err(BadEvent::Reserved),
        _ => Ok(()),
    }
}

/// Checks the type of an event that the broker itself publishes: a reserved one.
///
/// # Errors
/// See [`BadEvent`].
pub fn check_reserved_type(name: &str) -> Result<(), BadEvent> {
    check_type_name(name)?;
    if name.starts_with(RESERVED_PREFIX) { Ok(()) } else { Err(BadEvent::NotReserved) }
}

fn check_type_name(name: &str) -> Result<(), BadEvent> {
    check_name(name, MAX_NAME_BYTES)?;
    topic::check_literal(name).map_err(BadEvent::Type)
}

/// Checks the length of a type, source or id, at most `max` bytes, and its characters.
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

/// An event of a publisher that obeys every rule, before it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// UTF-8 text.
    pub data: Bytes,
    /// The type; `None` is [`DEFAULT_TYPE`].
    pub event_type: Option<String>,
    /// The topic, encoded as the tokens of a NATS subject; `None` is a broadcast.
    pub topic: Option<String>,
    /// The sender.
    pub source: Option<String>,
    /// The publisher's id of the event. Not the cursor.
    pub id: Option<String>,
    /// The idempotency key: the message id by which JetStream deduplicates.
    pub key: String,
    /// The time to live, in seconds.
    pub ttl: Option<u64>,
    /// Whether the data is a structured CloudEvent.
    pub cloudevent: bool,
    /// The trace that it belongs to.
    pub trace: Option<TraceContext>,
}

/// The kind of a stored message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An event to deliver.
    Data,
    /// A message that breaks a rule. Its frame declares a gap.
    Invalid,
    /// A marker of nats-server for deleted messages. Not delivered.
    Marker,
}

/// A stored event, framed once and shared by all subscribers.
#[derive(Debug)]
pub struct Event {
    /// The stream sequence of JetStream.
    pub sequence: u64,
    /// When JetStream stored it, in nanoseconds since 1970.
    pub nanos: i64,
    /// The check of its cursor.
    pub check: Check,
    /// Whether and how it is delivered.
    pub kind: Kind,
    /// The topic; `None` is a broadcast.
    pub topic: Option<Box<str>>,
    /// The type; `None` is [`DEFAULT_TYPE`].
    pub event_type: Option<Box<str>>,
    /// The sender.
    pub source: Option<Box<str>>,
    /// The publisher's id of the event.
    pub id: Option<Box<str>>,
    /// The sampled trace that it belongs to.
    pub trace: Option<Box<TraceContext>>,
    /// When its time to live ends, in nanoseconds since 1970.
    pub expires: Option<i64>,
    /// The frame as a chunk of HTTP/1.1; empty for a marker.
    pub chunk: Chunk,
    /// When the tail received it; `None` if it was read from a page.
    #[expect(clippy::disallowed_types, reason = "only stored here: this crate reads no clock")]
    pub received: Option<Instant>,
}

impl Event {
    /// Its approximate size in memory, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let len = |s: &Option<Box<str>>| s.as_ref().map_or(0, |s| s.len());
        let names = len(&self.topic) + len(&self.event_type) + len(&self.source) + len(&self.id);
        let trace = self.trace.as_ref().map_or(0, |trace| size_of_val(&**trace));
        size_of::<Self>() + self.chunk.wire().len() + names + trace
    }

    /// Whether its time to live has ended at `now`, in nanoseconds since 1970.
    #[must_use]
    pub fn expired_at(&self, now: i64) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// The cursor of a client that has received it.
    #[must_use]
    pub fn cursor(&self, epoch: Epoch) -> Cursor {
        Cursor { epoch, sequence: self.sequence, check: self.check }
    }

    /// Its type, with the default if it has none.
    #[must_use]
    pub fn type_name(&self) -> &str {
        self.event_type.as_deref().unwrap_or(DEFAULT_TYPE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::Pattern;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_valid_type_is_a_pattern_for_itself_alone(name in "[a-b.*> é]{1,12}", other in "[a-b.*> é]{1,12}") {
            if check_type(&name).is_ok() {
                let pattern = Pattern::new(&name).unwrap();
                prop_assert!(pattern.is_literal() && pattern.matches(&name));
                prop_assert_eq!(pattern.matches(&other), name == other);
            }
        }
    }

    #[test]
    fn types_obey_the_rules_of_topics() {
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

    #[test]
    fn data_is_text_within_the_limit() {
        assert_eq!(check_data("é".as_bytes(), 2), Ok("é"));
        assert_eq!(check_data("é".as_bytes(), 1), Err(BadEvent::TooLarge));
        assert_eq!(check_data(b"", 0), Ok(""));
        assert_eq!(check_data(b"a\0b", 9), Err(BadEvent::Nul));
        assert_eq!(check_data(b"a\xffb", 9), Err(BadEvent::NotUtf8));
    }

    #[test]
    fn types_of_the_broker_and_of_event_source_are_refused_to_publishers() {
        for name in ["open", "error"] {
            assert_eq!(check_type(name), Err(BadEvent::BuiltIn), "{name}");
        }
        assert_eq!(check_type("eventcast.gap"), Err(BadEvent::Reserved));
        assert_eq!(check_reserved_type("eventcast.gap"), Ok(()));
        assert_eq!(check_reserved_type("gap"), Err(BadEvent::NotReserved));
        assert!(check_reserved_type("eventcast..gap").is_err());
    }

    #[test]
    fn names_have_a_length_and_no_control_characters() {
        assert_eq!(check_name("abc", 3), Ok(()));
        for bad in ["", "abcd"] {
            assert_eq!(check_name(bad, 3), Err(BadEvent::Length(3)), "{bad}");
        }
        for bad in [" a", "a ", "a\tb", "a\n"] {
            assert_eq!(check_name(bad, 3), Err(BadEvent::Control), "{bad:?}");
        }
    }

    #[test]
    fn rules_are_counted_by_what_is_wrong() {
        for (error, label) in [
            (BadEvent::TooLarge, "too-large"),
            (BadEvent::NotUtf8, "not-utf8"),
            (BadEvent::Nul, "nul"),
            (BadEvent::Reserved, "name"),
            (BadEvent::Subject, "subject"),
            (BadEvent::CloudEvent, "cloudevent"),
        ] {
            assert_eq!(error.label(), label);
        }
    }

    fn event(texts: [Option<&str>; 4], trace: Option<TraceContext>) -> Event {
        let [topic, event_type, source, id] = texts.map(|text| text.map(Into::into));
        Event {
            sequence: 1,
            nanos: 1,
            check: Check::ABSENT,
            kind: Kind::Data,
            topic,
            event_type,
            source,
            id,
            trace: trace.map(Box::new),
            expires: Some(5),
            chunk: Chunk::default(),
            received: None,
        }
    }

    #[test]
    fn every_text_of_an_event_has_its_weight() {
        let empty = event([None; 4], None).weight();
        assert!(empty >= size_of::<Event>());
        let texts = [Some("a"), Some("bc"), Some("defg"), Some("hijklmno")];
        assert_eq!(event(texts, None).weight(), empty + 1 + 2 + 4 + 8);
        let trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let traced = event([None; 4], trace).weight();
        assert_eq!(traced, empty + size_of::<TraceContext>());
        let chunk = Chunk::of(&Bytes::from_static(b"data: x\n\n"));
        let length = chunk.wire().len();
        assert_eq!(Event { chunk, ..event([None; 4], None) }.weight(), empty + length);
    }

    #[test]
    fn an_event_expires_when_its_time_has_come() {
        let event = event([None; 4], None);
        assert_eq!([4, 5, 6].map(|now| event.expired_at(now)), [false, true, true]);
        assert!(!Event { expires: None, ..event }.expired_at(i64::MAX));
    }
}

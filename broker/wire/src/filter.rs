//! Filters: which events a subscriber or a query receives. Pure.

use crate::{
    event::{Event, Kind},
    source::SourcePattern,
    topic::{BadTopic, Pattern},
};

/// The maximum number of patterns of one kind.
pub const MAX_PATTERNS: usize = 32;

/// The characters that [`Filter::describe_topics`] percent-encodes.
const HEADER_ENCODED: &percent_encoding::AsciiSet =
    &percent_encoding::CONTROLS.add(b' ').add(b',').add(b'"').add(b'%').add(b'(').add(b')');

/// The filter that a client asks for, not yet narrowed to what it may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked(pub(crate) Filter);

impl Default for Asked {
    /// Asks for everything.
    fn default() -> Self {
        Self(Filter::everything())
    }
}

impl Asked {
    /// Adds a topic pattern.
    ///
    /// # Errors
    /// `pattern` is invalid.
    pub fn add_topic(&mut self, pattern: &str) -> Result<(), BadTopic> {
        self.0.topics.push(Pattern::new(pattern)?);
        Ok(())
    }

    /// Adds a type pattern.
    ///
    /// # Errors
    /// `pattern` is invalid.
    pub fn add_type(&mut self, pattern: &str) -> Result<(), BadTopic> {
        self.0.types.push(Pattern::new(pattern)?);
        Ok(())
    }

    /// Adds a source pattern.
    pub fn add_source(&mut self, pattern: SourcePattern) {
        self.0.sources.push(pattern);
    }

    /// Excludes events without a topic, which otherwise pass any topic filter.
    pub fn exclude_broadcast(&mut self) {
        self.0.without_broadcast = true;
    }

    /// The number of patterns of the kind that has the most.
    #[must_use]
    pub fn max_patterns(&self) -> usize {
        self.0.topics.len().max(self.0.types.len()).max(self.0.sources.len())
    }
}

/// A filter for reading a log. For a client, only [`Topics::narrow`](crate::grants::Topics::narrow) makes one, from [`Asked`]. An event
/// passes if it matches any topic pattern (or has no topic), any type pattern and any source pattern. An empty list of patterns matches
/// everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    topics: Vec<Pattern>,
    types: Vec<Pattern>,
    sources: Vec<SourcePattern>,
    without_broadcast: bool,
}

impl Filter {
    /// Passes every event. For reads that are not for a client.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            topics: Vec::new(),
            types: Vec::new(),
            sources: Vec::new(),
            without_broadcast: false,
        }
    }

    /// Excludes events without a topic.
    pub(crate) fn exclude_broadcast(&mut self) {
        self.without_broadcast = true;
    }

    /// Replaces the patterns of topics.
    pub(crate) fn set_topics(&mut self, topics: Vec<Pattern>) {
        self.topics = topics;
    }

    /// The topic patterns.
    pub fn topics(&self) -> &[Pattern] {
        &self.topics
    }

    /// The type patterns.
    pub fn types(&self) -> &[Pattern] {
        &self.types
    }

    /// Whether its topic patterns, if it has any, include `topic`, a topic or a pattern. The pattern `>` alone does not count.
    #[must_use]
    pub fn names_topic(&self, topic: &str) -> bool {
        let named = |pattern: &Pattern| pattern.text() != ">" && pattern.matches(topic);
        self.topics.iter().any(|pattern| pattern.text() == topic || named(pattern))
    }

    /// Whether events without a topic pass.
    pub fn takes_broadcast(&self) -> bool {
        !self.without_broadcast
    }

    /// The topic patterns for a header: separated by `, `, with characters that a header cannot contain percent-encoded. Events without a
    /// topic are `(broadcast)`.
    #[must_use]
    pub fn describe_topics(&self) -> String {
        let topics = self.topics.iter().filter(|p| **p != Pattern::nothing());
        let mut described: Vec<_> = topics
            .map(|p| percent_encoding::utf8_percent_encode(p.text(), HEADER_ENCODED).to_string())
            .collect();
        if self.topics.is_empty() {
            described.push(">".into());
        }
        if !self.without_broadcast {
            described.push("(broadcast)".into());
        }
        described.join(", ")
    }

    /// Whether every event passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
            && self.types.is_empty()
            && self.sources.is_empty()
            && !self.without_broadcast
    }

    /// Whether `event` passes. An invalid message passes if its topic does, so that its gap is declared.
    #[must_use]
    pub fn passes(&self, event: &Event) -> bool {
        match event.kind {
            Kind::Marker => false,
            Kind::Invalid | Kind::Data => self.topic_passes(event) && self.passes_but_topic(event),
        }
    }

    /// Whether `event` passes, given that its topic does. Must not be called for a marker.
    #[must_use]
    pub fn passes_but_topic(&self, event: &Event) -> bool {
        event.kind == Kind::Invalid
            || (any(&self.types, |p| p.matches(event.type_name())) && self.source_passes(event))
    }

    /// Whether `event` passes, given that its type does. Must be called for data only.
    #[must_use]
    pub fn passes_but_type(&self, event: &Event) -> bool {
        self.topic_passes(event) && self.source_passes(event)
    }

    fn source_passes(&self, event: &Event) -> bool {
        any(&self.sources, |p| event.source.as_deref().is_some_and(|s| p.matches(s)))
    }

    fn topic_passes(&self, event: &Event) -> bool {
        match &event.topic {
            None => !self.without_broadcast,
            Some(topic) => any(&self.topics, |p| p.matches(topic)),
        }
    }
}

fn any<T>(list: &[T], matches: impl FnMut(&T) -> bool) -> bool {
    list.is_empty() || list.iter().any(matches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cursor::Check, frame::Chunk};
    use proptest::prelude::*;

    fn event(kind: Kind, topic: Option<&str>, event_type: Option<&str>) -> Event {
        let (topic, event_type) = (topic.map(Into::into), event_type.map(Into::into));
        Event {
            sequence: 1,
            nanos: 1,
            check: Check::ABSENT,
            kind,
            topic,
            event_type,
            source: None,
            id: None,
            trace: None,
            expires: None,
            chunk: Chunk::default(),
            received: None,
        }
    }

    fn filter(topics: &[&str], types: &[&str]) -> Filter {
        let mut asked = Asked::default();
        topics.iter().for_each(|t| asked.add_topic(t).unwrap());
        types.iter().for_each(|t| asked.add_type(t).unwrap());
        asked.0
    }

    proptest! {
        #[test]
        fn a_broadcast_passes_every_topic_filter(topics in proptest::collection::vec("[a-z]{1,3}(\\.[a-z*]{1,3}){0,2}", 0..4)) {
            let f = filter(&topics.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
            prop_assert!(f.passes(&event(Kind::Data, None, None)));
        }

        #[test]
        fn adding_a_pattern_never_excludes_an_event(topic in "[ab](\\.[ab]){0,2}", first in "[ab*](\\.[ab*]){0,2}", second in "[ab*](\\.[ab*]){0,2}") {
            let e = event(Kind::Data, Some(&topic), None);
            if filter(&[&first], &[]).passes(&e) {
                prop_assert!(filter(&[&first, &second], &[]).passes(&e));
            }
        }
    }

    #[test]
    fn an_event_without_a_type_is_a_message() {
        assert!(filter(&[], &["message"]).passes(&event(Kind::Data, None, None)));
        assert!(!filter(&[], &["message"]).passes(&event(Kind::Data, None, Some("order.paid"))));
        assert!(filter(&[], &["order.*"]).passes(&event(Kind::Data, None, Some("order.paid"))));
    }

    #[test]
    fn topic_and_type_must_both_pass() {
        let f = filter(&["user.42"], &["note"]);
        assert!(f.passes(&event(Kind::Data, Some("user.42"), Some("note"))));
        assert!(!f.passes(&event(Kind::Data, Some("user.42"), None)));
        assert!(!f.passes(&event(Kind::Data, Some("user.4"), Some("note"))));
    }

    #[test]
    fn an_invalid_message_passes_by_its_topic_and_a_marker_never() {
        let f = filter(&["user.42"], &["note"]);
        assert!(f.passes(&event(Kind::Invalid, Some("user.42"), None)));
        assert!(!f.passes(&event(Kind::Invalid, Some("user.43"), None)));
        assert!(!Filter::everything().passes(&event(Kind::Marker, None, None)));
    }

    #[test]
    fn sources_and_events_without_a_topic_are_filtered_as_well() {
        let mut asked = Asked(filter(&["a", "b"], &["t"]));
        asked.add_source(SourcePattern::parse("/s*").unwrap());
        asked.exclude_broadcast();
        assert_eq!(asked.max_patterns(), 2);
        let f = asked.0;
        assert_eq!(f.types().iter().map(Pattern::text).collect::<Vec<_>>(), ["t"]);
        assert!(!f.takes_broadcast() && !f.is_empty());
        let from = |topic, source: &str| Event {
            source: Some(source.into()),
            ..event(Kind::Data, topic, Some("t"))
        };
        assert!(f.passes(&from(Some("a"), "/s1")) && f.passes_but_type(&from(Some("a"), "/s1")));
        for other in [from(Some("a"), "/x"), from(Some("c"), "/s1"), from(None, "/s1")] {
            assert!(!f.passes(&other) && !f.passes_but_type(&other), "{other:?}");
        }
    }

    #[test]
    fn a_filter_is_empty_if_everything_passes() {
        let mut quiet = Asked::default();
        assert!(quiet.0.is_empty());
        quiet.exclude_broadcast();
        assert!(!quiet.0.is_empty());
        assert!(!filter(&["a"], &[]).is_empty() && !filter(&[], &["t"]).is_empty());
        assert_eq!(Asked(filter(&[], &["t", "u", "v"])).max_patterns(), 3);
    }

    #[test]
    fn a_topic_is_named_by_a_pattern_that_is_not_everything() {
        let f = filter(&["user.*", ">"], &[]);
        assert!(f.names_topic("user.42") && f.names_topic(">"));
        assert!(!f.names_topic("order.1") && !filter(&["a"], &[]).names_topic("b"));
    }

    #[test]
    fn topics_are_described_for_a_header() {
        let mut asked = Asked(filter(&["a.b", "größe, x"], &[]));
        assert_eq!(asked.0.describe_topics(), "a.b, gr%C3%B6%C3%9Fe%2C%20x, (broadcast)");
        asked.exclude_broadcast();
        assert_eq!(asked.0.describe_topics(), "a.b, gr%C3%B6%C3%9Fe%2C%20x");
        assert_eq!(Filter::everything().describe_topics(), ">, (broadcast)");
    }
}

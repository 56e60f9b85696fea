//! The rule of HTTP.md for `topic=` and `type=`, written a second time: it judges the broker and shares nothing with it.
//!
//! Segments are separated by `.`; `*` stands for one, a last `>` for one or more. An event without a topic passes any topic
//! filter; an event without a type has the type `message`.

/// What a subscriber asks for, and what it may read; an empty list is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Values of `topic=`.
    pub topics: Vec<String>,
    /// Values of `type=`.
    pub types: Vec<String>,
    /// Patterns of the topics that are granted. They are not in the query.
    pub granted: Vec<String>,
}

impl Filter {
    /// Whether an event is due to a subscriber with this filter.
    #[must_use]
    pub fn passes(&self, topic: Option<&str>, kind: Option<&str>) -> bool {
        let topic_passes = match topic {
            None => true,
            Some(topic) => any(&self.topics, topic),
        };
        topic_passes && any(&self.types, kind.unwrap_or("message")) && self.grants(topic)
    }

    /// Whether a subscriber may read an event with this topic. Broadcasts are granted.
    #[must_use]
    pub fn grants(&self, topic: Option<&str>) -> bool {
        topic.is_none_or(|topic| any(&self.granted, topic))
    }

    /// The filter as query parameters.
    #[must_use]
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let topics = self.topics.iter().map(|pattern| ("topic", pattern.clone()));
        topics.chain(self.types.iter().map(|pattern| ("type", pattern.clone()))).collect()
    }
}

fn any(patterns: &[String], text: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, text))
}

/// Whether `text` is one of those that `pattern` stands for.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('.').collect();
    let text: Vec<&str> = text.split('.').collect();
    let (fixed, rest) = match pattern.split_last() {
        Some((&">", fixed)) => (fixed, true),
        _ => (&pattern[..], false),
    };
    let long_enough = if rest { text.len() > fixed.len() } else { text.len() == fixed.len() };
    long_enough && fixed.iter().zip(&text).all(|(want, have)| *want == "*" || want == have)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_by_segment() {
        for (pattern, text, expected) in [
            ("user.42", "user.42", true),
            ("user.42", "user.4", false),
            ("user.*", "user.42", true),
            ("user.*", "user", false),
            ("user.*", "user.42.x", false),
            ("*.42", "user.42", true),
            ("orders.>", "orders.eu.paid", true),
            ("orders.>", "orders", false),
            (">", "orders", true),
            (">.x", "orders.x", false),
            ("us*r", "user", false),
            ("*", "a.b", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn broadcasts_pass_topics_but_not_types() {
        let filter = Filter {
            topics: vec!["user.1".into()],
            types: vec!["order.*".into()],
            ..Filter::default()
        };
        assert!(filter.passes(None, Some("order.paid")));
        assert!(filter.passes(Some("user.1"), Some("order.paid")));
        assert!(!filter.passes(Some("user.2"), Some("order.paid")));
        assert!(!filter.passes(None, None));
        let messages = Filter { types: vec!["message".into()], ..Filter::default() };
        assert!(messages.passes(Some("x"), None) && messages.passes(None, Some("message")));
    }

    #[test]
    fn what_is_not_granted_does_not_pass() {
        let granted = vec!["user.1".into(), "orders.>".into()];
        let filter = Filter { topics: vec!["user.*".into()], granted, ..Filter::default() };
        assert!(filter.passes(Some("user.1"), None) && filter.passes(None, None));
        assert!(!filter.passes(Some("user.2"), None), "asked for, not granted");
        assert!(!filter.passes(Some("orders.eu"), None), "granted, not asked for");
        assert!(filter.grants(Some("orders.eu")) && !filter.grants(Some("user.2")));
    }
}

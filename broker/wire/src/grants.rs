//! Topics that a client may read, and filters narrowed to them. Pure.

use crate::{filter::Filter, topic::Pattern};

/// The most topic patterns of a narrowed filter.
const MAX_NARROWED: usize = 64;

/// The topics that a grant covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// `None`: every topic.
    patterns: Option<Vec<Pattern>>,
    broadcast: bool,
}

/// Why a filter cannot be narrowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotGranted {
    /// No topic that this pattern selects is granted.
    #[error("no topic that {0} selects is granted")]
    Pattern(String),
    /// The combinations of what was asked for and what is granted are too many.
    #[error("too many patterns: ask for fewer topics")]
    TooManyPatterns,
}

impl Topics {
    /// Every topic, and events without one.
    #[must_use]
    pub fn everything() -> Self {
        Self { patterns: None, broadcast: true }
    }

    /// The topics that any of `patterns` selects, and events without a topic if `broadcast` says so.
    #[must_use]
    pub fn new(patterns: Vec<Pattern>, broadcast: bool) -> Self {
        let every = patterns.iter().any(|p| p.text() == ">");
        Self { patterns: (!every).then_some(patterns), broadcast }
    }

    /// Whether events with `topic` are covered; `None` is a broadcast.
    #[must_use]
    pub fn cover(&self, topic: Option<&str>) -> bool {
        match (topic, &self.patterns) {
            (None, _) => self.broadcast,
            (Some(_), None) => true,
            (Some(topic), Some(patterns)) => patterns.iter().any(|p| p.matches(topic)),
        }
    }

    /// `asked` without what is not covered. Asking for no topic asks for everything that is covered.
    ///
    /// # Errors
    /// A pattern of `asked` selects nothing that is covered, or the result has too many patterns.
    pub fn narrow(&self, asked: Filter) -> Result<Filter, NotGranted> {
        let mut narrowed = asked;
        if !self.broadcast {
            narrowed.exclude_broadcast();
        }
        let Some(granted) = &self.patterns else { return Ok(narrowed) };
        let mut patterns: Vec<Pattern> = Vec::new();
        if narrowed.topics().is_empty() {
            patterns.clone_from(granted);
        }
        for pattern in narrowed.topics() {
            let met: Vec<_> = granted.iter().filter_map(|p| p.meet(pattern)).collect();
            if met.is_empty() {
                return Err(NotGranted::Pattern(pattern.text().to_owned()));
            }
            patterns.extend(met);
        }
        let all = patterns.clone();
        let mut at = 0;
        patterns.retain(|pattern| {
            let (before, after) = (&all[..at], &all[at + 1..]);
            at += 1;
            let redundant = |p: &Pattern, or_equal: bool| {
                p.contains(pattern) && (or_equal || !pattern.contains(p))
            };
            !before.iter().any(|p| redundant(p, true)) && !after.iter().any(|p| redundant(p, false))
        });
        if patterns.len() > MAX_NARROWED {
            return Err(NotGranted::TooManyPatterns);
        }
        narrowed.set_topics(patterns);
        Ok(narrowed)
    }
}

impl Pattern {
    /// The pattern that selects what both select; `None` if they have nothing in common.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Option<Self> {
        let (mut ours, mut theirs) = (self.text().split('.'), other.text().split('.'));
        let mut met = Vec::new();
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => break,
                (Some(">"), Some(segment)) => {
                    met.push(segment);
                    met.extend(theirs);
                    break;
                }
                (Some(segment), Some(">")) => {
                    met.push(segment);
                    met.extend(ours);
                    break;
                }
                (Some("*"), Some(segment)) | (Some(segment), Some("*")) => met.push(segment),
                (Some(a), Some(b)) if a == b => met.push(a),
                _ => return None,
            }
        }
        Self::new(&met.join(".")).ok()
    }

    /// Whether it selects everything that `other` selects.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.meet(other).is_some_and(|met| met == *other)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        cursor::Check,
        event::{Event, Kind},
        frame::Chunk,
    };

    fn event(topic: Option<&str>) -> Event {
        Event {
            sequence: 1,
            nanos: 1,
            check: Check::ABSENT,
            kind: Kind::Data,
            topic: topic.map(Into::into),
            event_type: None,
            source: None,
            id: None,
            expires: None,
            chunk: Chunk::default(),
            received: None,
        }
    }

    fn pattern() -> impl Strategy<Value = Pattern> {
        let text =
            prop_oneof!["[ab*](\\.[ab*]){0,2}", "[ab*](\\.[ab*]){0,1}\\.>", Just(">".to_owned())];
        text.prop_map(|text| Pattern::new(&text).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn a_topic_matches_the_meet_if_it_matches_both(a in pattern(), b in pattern(), topic in "[ab](\\.[ab]){0,3}") {
            let both = a.matches(&topic) && b.matches(&topic);
            prop_assert_eq!(a.meet(&b).is_some_and(|met| met.matches(&topic)), both);
            prop_assert_eq!(a.meet(&b), b.meet(&a));
            prop_assert_eq!(a.meet(&a), Some(a.clone()));
        }

        #[test]
        fn a_narrowed_filter_passes_what_was_asked_for_and_is_granted(
            asked in proptest::collection::vec(pattern(), 0..4),
            granted in proptest::collection::vec(pattern(), 1..4),
            (quiet, broadcast) in any::<(bool, bool)>(),
            topic in proptest::option::of("[ab](\\.[ab]){0,3}"),
        ) {
            let mut filter = Filter::default();
            asked.iter().for_each(|p| filter.add_topic(p.text()).unwrap());
            if quiet {
                filter.exclude_broadcast();
            }
            let topics = Topics::new(granted, broadcast);
            let event = event(topic.as_deref());
            if let Ok(narrowed) = topics.narrow(filter.clone()) {
                let wanted = filter.passes(&event) && topics.cover(topic.as_deref());
                prop_assert_eq!(narrowed.passes(&event), wanted);
                prop_assert_eq!(topics.narrow(narrowed.clone()), Ok(narrowed));
            } else {
                let refused = asked.iter().any(|p| topics.narrow(only(p)).is_err());
                prop_assert!(refused, "each alone is granted");
            }
            prop_assert_eq!(Topics::everything().narrow(filter.clone()), Ok(filter));
        }
    }

    fn only(pattern: &Pattern) -> Filter {
        let mut filter = Filter::default();
        filter.add_topic(pattern.text()).unwrap();
        filter
    }

    #[test]
    fn a_pattern_that_meets_nothing_is_named() {
        let topics = Topics::new(vec![Pattern::new("user.42").unwrap()], true);
        let refused = topics.narrow(only(&Pattern::new("user.7").unwrap()));
        assert_eq!(refused, Err(NotGranted::Pattern("user.7".into())));
        let narrowed = topics.narrow(only(&Pattern::new("user.*").unwrap())).unwrap();
        assert_eq!(narrowed, only(&Pattern::new("user.42").unwrap()));
    }
}

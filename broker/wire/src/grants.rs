//! Topics that a client may read, and filters narrowed to them. Pure.

use crate::{
    filter::{Asked, Filter},
    topic::Pattern,
};

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
    /// There are too many combinations of the patterns that were asked for and those that are granted.
    #[error("too many patterns: ask for fewer topics")]
    TooManyPatterns,
    /// Nothing is granted: no topic, and no events without one.
    #[error("no topic is granted")]
    Nothing,
}

impl Topics {
    /// Every topic, and events without one.
    #[must_use]
    pub fn everything() -> Self {
        Self { patterns: None, broadcast: true }
    }

    /// Nothing at all.
    #[must_use]
    pub fn nothing() -> Self {
        Self { patterns: Some(Vec::new()), broadcast: false }
    }

    /// The same topics, without events that have none.
    #[must_use]
    pub fn without_broadcast(self) -> Self {
        Self { broadcast: false, ..self }
    }

    /// Whether it covers every event.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.patterns.is_none() && self.broadcast
    }

    /// The patterns of the topics that are covered, and whether events without a topic are.
    #[must_use]
    pub fn describe(&self) -> (Vec<&str>, bool) {
        let patterns = match &self.patterns {
            Some(patterns) => patterns.iter().map(Pattern::text).collect(),
            None => vec![">"],
        };
        (patterns, self.broadcast)
    }

    /// Whether everything that `other` covers is covered, by single patterns: `a.*` and `a.*.>` together do not count as `a.>`.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        let (theirs, broadcast) = other.describe();
        let covers = |theirs: &Pattern| {
            self.patterns.as_ref().is_none_or(|ours| ours.iter().any(|p| p.contains(theirs)))
        };
        let topics = theirs.iter().all(|p| Pattern::new(p).is_ok_and(|p| covers(&p)));
        topics && (self.broadcast || !broadcast)
    }

    /// What both cover.
    ///
    /// # Errors
    /// The result has too many patterns.
    pub fn meet(&self, other: &Self) -> Result<Self, NotGranted> {
        let broadcast = self.broadcast && other.broadcast;
        let patterns = match (&self.patterns, &other.patterns) {
            (None, patterns) | (patterns, None) => patterns.clone(),
            (Some(ours), Some(theirs)) => {
                let met = ours.iter().flat_map(|p| theirs.iter().filter_map(|q| p.meet(q)));
                Some(without_redundant(met.collect()))
            }
        };
        if patterns.as_ref().is_some_and(|patterns| patterns.len() > MAX_NARROWED) {
            return Err(NotGranted::TooManyPatterns);
        }
        Ok(Self { patterns, broadcast })
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

    /// Narrows `asked` to the topics that are covered. Asking for no topic asks for everything that is covered.
    ///
    /// # Errors
    /// A pattern of `asked` selects nothing that is covered, or the result has too many patterns.
    pub fn narrow(&self, asked: Asked) -> Result<Filter, NotGranted> {
        let Asked(mut narrowed) = asked;
        if !self.broadcast {
            narrowed.exclude_broadcast();
        }
        let Some(granted) = &self.patterns else { return Ok(narrowed) };
        let mut patterns: Vec<Pattern> = Vec::new();
        if narrowed.topics().is_empty() {
            patterns.clone_from(granted);
        }
        // A filter that was narrowed to no topic stays so.
        for pattern in narrowed.topics().iter().filter(|p| **p != Pattern::nothing()) {
            let met: Vec<_> = granted.iter().filter_map(|p| p.meet(pattern)).collect();
            if met.is_empty() {
                return Err(NotGranted::Pattern(pattern.text().to_owned()));
            }
            patterns.extend(met);
        }
        let mut patterns = without_redundant(patterns);
        if patterns.is_empty() {
            if !narrowed.takes_broadcast() {
                return Err(NotGranted::Nothing);
            }
            // A filter without patterns passes every topic.
            patterns.push(Pattern::nothing());
        }
        if patterns.len() > MAX_NARROWED {
            return Err(NotGranted::TooManyPatterns);
        }
        narrowed.set_topics(patterns);
        Ok(narrowed)
    }
}

impl Filter {
    /// The topics that pass it.
    #[must_use]
    pub fn covered(&self) -> Topics {
        let broadcast = self.takes_broadcast();
        if self.topics().is_empty() {
            return Topics { patterns: None, broadcast };
        }
        let topics = self.topics().iter().filter(|p| **p != Pattern::nothing());
        Topics::new(topics.cloned().collect(), broadcast)
    }
}

/// `patterns` without those that another one contains.
fn without_redundant(mut patterns: Vec<Pattern>) -> Vec<Pattern> {
    let all = patterns.clone();
    let mut at = 0;
    patterns.retain(|pattern| {
        let (before, after) = (&all[..at], &all[at + 1..]);
        at += 1;
        let redundant =
            |p: &Pattern, or_equal: bool| p.contains(pattern) && (or_equal || !pattern.contains(p));
        !before.iter().any(|p| redundant(p, true)) && !after.iter().any(|p| redundant(p, false))
    });
    patterns
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
            trace: None,
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
            granted in proptest::collection::vec(pattern(), 0..4),
            (quiet, broadcast) in any::<(bool, bool)>(),
            topic in proptest::option::of("[ab](\\.[ab]){0,3}"),
        ) {
            let mut filter = Asked::default();
            asked.iter().for_each(|p| filter.add_topic(p.text()).unwrap());
            if quiet {
                filter.exclude_broadcast();
            }
            let topics = Topics::new(granted.clone(), broadcast);
            let event = event(topic.as_deref());
            if let Ok(narrowed) = topics.narrow(filter.clone()) {
                let wanted = filter.0.passes(&event) && topics.cover(topic.as_deref());
                prop_assert_eq!(narrowed.passes(&event), wanted);
                prop_assert_eq!(topics.narrow(Asked(narrowed.clone())), Ok(narrowed));
            } else {
                let refused = asked.iter().any(|p| topics.narrow(only(p)).is_err());
                prop_assert!(refused || (granted.is_empty() && (quiet || !broadcast)), "each alone is granted");
            }
            prop_assert_eq!(Topics::everything().narrow(filter.clone()), Ok(filter.0));
        }
    }

    proptest! {
        #[test]
        fn two_grants_meet_in_what_both_cover(
            a in proptest::collection::vec(pattern(), 0..4),
            b in proptest::collection::vec(pattern(), 0..4),
            (quiet, loud) in any::<(bool, bool)>(),
            topic in proptest::option::of("[ab](\\.[ab]){0,3}"),
        ) {
            let (a, b) = (Topics::new(a, quiet), Topics::new(b, loud));
            let topic = topic.as_deref();
            let met = a.meet(&b).unwrap();
            prop_assert_eq!(met.cover(topic), a.cover(topic) && b.cover(topic));
            prop_assert!(a.contains(&met) && b.contains(&met) && a.contains(&a));
            prop_assert!(Topics::everything().contains(&a) && a.contains(&Topics::nothing()));
            if a.contains(&b) && b.cover(topic) {
                prop_assert!(a.cover(topic));
            }
        }
    }

    #[test]
    fn a_grant_of_no_topic_is_not_one_of_every_topic() {
        assert_eq!(Topics::nothing().narrow(Asked::default()), Err(NotGranted::Nothing));
        let broadcasts = Topics::new(Vec::new(), true).narrow(Asked::default()).unwrap();
        assert!(broadcasts.passes(&event(None)));
        assert!(!broadcasts.passes(&event(Some("a"))));
        assert!(!broadcasts.is_empty());
    }

    fn only(pattern: &Pattern) -> Asked {
        let mut filter = Asked::default();
        filter.add_topic(pattern.text()).unwrap();
        filter
    }

    #[test]
    fn a_pattern_that_meets_nothing_is_named() {
        let topics = Topics::new(vec![Pattern::new("user.42").unwrap()], true);
        let refused = topics.narrow(only(&Pattern::new("user.7").unwrap()));
        assert_eq!(refused, Err(NotGranted::Pattern("user.7".into())));
        let narrowed = topics.narrow(only(&Pattern::new("user.*").unwrap())).unwrap();
        assert_eq!(narrowed, only(&Pattern::new("user.42").unwrap()).0);
    }

    #[test]
    fn everything_includes_events_without_a_topic() {
        let topic = Pattern::new("a").unwrap();
        assert!(Topics::everything().is_everything());
        let quiet = Topics::everything().without_broadcast();
        assert!(!quiet.is_everything() && !quiet.cover(None) && quiet.cover(Some("a")));
        assert!(!Topics::new(vec![topic], true).is_everything());
    }

    #[test]
    fn a_filter_has_so_many_patterns_at_most() {
        let topics = |count: usize| {
            let patterns = (0..count).map(|n| Pattern::new(&format!("t.{n}")).unwrap());
            Topics::new(patterns.collect(), true)
        };
        let (most, too_many) = (topics(MAX_NARROWED), topics(MAX_NARROWED + 1));
        assert_eq!(Topics::everything().meet(&most), Ok(most.clone()));
        assert!(most.narrow(Asked::default()).is_ok());
        let refused = Err(NotGranted::TooManyPatterns);
        assert_eq!(Topics::everything().meet(&too_many), refused);
        assert_eq!(too_many.narrow(Asked::default()).map(|_| too_many), refused);
    }

    #[test]
    fn a_filter_covers_the_topics_that_pass_it() {
        let covered = only(&Pattern::new("user.*").unwrap()).0.covered();
        assert!(covered.cover(Some("user.42")) && covered.cover(None));
        assert!(!covered.cover(Some("order.1")));
        let broadcasts = Topics::new(Vec::new(), true).narrow(Asked::default()).unwrap().covered();
        assert!(broadcasts.cover(None) && !broadcasts.cover(Some("user.42")));
    }
}

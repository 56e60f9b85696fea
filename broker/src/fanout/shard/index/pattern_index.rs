//! Subscribers by the patterns of their topics or types: a hash map for literal names, a trie of segments for wildcards.

use std::collections::HashMap;

use eventcast_wire::topic::Pattern;
use indexmap::IndexSet;

use super::Key;

/// A subscriber, and the number of its pattern.
type Member = (Key, u8);

/// Subscribers by pattern.
#[derive(Default)]
pub(super) struct PatternIndex {
    literal: HashMap<Box<str>, Members>,
    patterns: Node,
}

/// The members with one pattern. Mostly there is one: a user's own topic.
#[derive(Default)]
enum Members {
    #[default]
    None,
    One(Member),
    Many(Box<IndexSet<Member>>),
}

/// A node of the trie, for the segments on the way to it.
#[derive(Default)]
struct Node {
    next: HashMap<Box<str>, Node>,
    /// After `*`.
    any: Option<Box<Node>>,
    /// Patterns that end here.
    here: Members,
    /// Patterns that end in `>` after this.
    rest: Members,
}

impl PatternIndex {
    pub(super) fn insert(&mut self, key: Key, patterns: &[Pattern]) {
        for (member, pattern) in members(key, patterns) {
            if pattern.is_literal() {
                self.literal.entry(pattern.text().into()).or_default().insert(member);
            } else {
                self.patterns.at(pattern.text()).insert(member);
            }
        }
    }

    pub(super) fn remove(&mut self, key: Key, patterns: &[Pattern]) {
        for (member, pattern) in members(key, patterns) {
            if !pattern.is_literal() {
                self.patterns.remove(pattern.text(), member);
            } else if let Some(of) = self.literal.get_mut(pattern.text()) {
                of.remove(member);
                if of.is_empty() {
                    self.literal.remove(pattern.text());
                }
            }
        }
    }

    /// Calls `found` for every subscriber with a pattern that matches `name`, and the number of that pattern.
    pub(super) fn find(&self, name: &str, mut found: impl FnMut(Key, usize)) {
        let mut each = |(key, at): Member| found(key, usize::from(at));
        if let Some(members) = self.literal.get(name) {
            members.for_each(&mut each);
        }
        if !self.patterns.is_empty() {
            self.patterns.find(Some(name), &mut each);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.literal.is_empty() && self.patterns.is_empty()
    }
}

fn members(key: Key, patterns: &[Pattern]) -> impl Iterator<Item = (Member, &Pattern)> {
    // A filter has 64 patterns at most.
    (0u8..).zip(patterns).map(move |(at, pattern)| ((key, at), pattern))
}

impl Node {
    fn is_empty(&self) -> bool {
        self.next.is_empty() && self.any.is_none() && self.here.is_empty() && self.rest.is_empty()
    }

    /// The members with `pattern`, relative to this node.
    fn at(&mut self, pattern: &str) -> &mut Members {
        let mut node = self;
        for segment in pattern.split('.') {
            node = match segment {
                ">" => return &mut node.rest,
                "*" => node.any.get_or_insert_default(),
                segment => node.next.entry(segment.into()).or_default(),
            };
        }
        &mut node.here
    }

    /// Removes `member`, and nodes without members below them.
    fn remove(&mut self, pattern: &str, member: Member) {
        let (segment, after) =
            pattern.split_once('.').map_or((pattern, None), |(s, after)| (s, Some(after)));
        if segment == ">" {
            return self.rest.remove(member);
        }
        let next = match segment {
            "*" => self.any.as_deref_mut(),
            segment => self.next.get_mut(segment),
        };
        let Some(next) = next else { return };
        match after {
            Some(after) => next.remove(after, member),
            None => next.here.remove(member),
        }
        if next.is_empty() {
            match segment {
                "*" => self.any = None,
                segment => drop(self.next.remove(segment)),
            }
        }
    }

    /// `remaining`: the segments below this node; `None` after the last.
    fn find(&self, remaining: Option<&str>, each: &mut impl FnMut(Member)) {
        let Some(name) = remaining else {
            return self.here.for_each(each);
        };
        self.rest.for_each(each);
        let (segment, after) =
            name.split_once('.').map_or((name, None), |(s, after)| (s, Some(after)));
        if let Some(node) = &self.any {
            node.find(after, each);
        }
        if let Some(node) = self.next.get(segment) {
            node.find(after, each);
        }
    }
}

impl Members {
    fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    fn insert(&mut self, member: Member) {
        match self {
            Self::None => *self = Self::One(member),
            Self::One(first) => *self = Self::Many(Box::new(IndexSet::from([*first, member]))),
            Self::Many(all) => drop(all.insert(member)),
        }
    }

    fn remove(&mut self, member: Member) {
        match self {
            Self::One(one) if *one == member => *self = Self::None,
            Self::Many(all) => {
                all.swap_remove(&member);
                if let (1, Some(last)) = (all.len(), all.first().copied()) {
                    *self = Self::One(last);
                }
            }
            Self::None | Self::One(_) => {}
        }
    }

    fn for_each(&self, each: &mut impl FnMut(Member)) {
        match self {
            Self::None => {}
            Self::One(one) => each(*one),
            Self::Many(all) => all.iter().copied().for_each(each),
        }
    }
}

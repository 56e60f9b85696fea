//! The index of the caught-up subscribers of one channel in one shard, so that an event costs only what it delivers. Pure.
//!
//! It holds subscribers with a filter; [`unfiltered`](super::unfiltered) holds the others. A subscriber is found by its topics, else
//! by its types, and then its whole filter is applied. The few that select neither topics nor types (but sources, or no broadcasts)
//! are tried one by one.

mod pattern_index;

use std::{collections::HashMap, sync::Arc};

use eventcast_wire::{
    event::{Event, Kind},
    filter::Filter,
    topic::Pattern,
};
use indexmap::IndexSet;

use self::pattern_index::PatternIndex;
use super::Key;

/// Subscribers with a filter, by what it selects.
#[derive(Default)]
pub(super) struct Index {
    filters: HashMap<Key, Arc<Filter>>,
    by_topic: PatternIndex,
    /// Those of `by_topic` that take broadcasts.
    broadcast: IndexSet<Key>,
    by_type: PatternIndex,
    /// All of `by_type`.
    typed: IndexSet<Key>,
    /// Those that are tried one by one.
    others: IndexSet<Key>,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.filters.len()
    }

    /// Adds a subscriber. It must be removed with the same filter.
    pub(super) fn insert(&mut self, key: Key, filter: &Arc<Filter>) {
        if !filter.topics().is_empty() {
            self.by_topic.insert(key, filter.topics());
            if filter.takes_broadcast() {
                self.broadcast.insert(key);
            }
        } else if !filter.types().is_empty() {
            self.by_type.insert(key, filter.types());
            self.typed.insert(key);
        } else {
            self.others.insert(key);
        }
        self.filters.insert(key, Arc::clone(filter));
    }

    /// Removes a subscriber that was added with this filter.
    pub(super) fn remove(&mut self, key: Key, filter: &Filter) {
        self.by_topic.remove(key, filter.topics());
        self.broadcast.swap_remove(&key);
        if filter.topics().is_empty() {
            self.by_type.remove(key, filter.types());
        }
        self.typed.swap_remove(&key);
        self.others.swap_remove(&key);
        self.filters.remove(&key);
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.filters.keys().copied().collect()
    }

    /// Calls `found` once for each subscriber whose filter `event` passes.
    pub(super) fn select(&self, event: &Event, mut found: impl FnMut(Key)) {
        if event.kind == Kind::Marker || self.filters.is_empty() {
            return;
        }
        let mut try_filter = |key: Key, passes: &dyn Fn(&Filter) -> bool| {
            if self.filters.get(&key).is_some_and(|f| passes(f)) {
                found(key);
            }
        };
        // If several patterns of one filter match, the first one counts. The pattern that found a subscriber is not matched again.
        match &event.topic {
            Some(topic) => self.by_topic.find(topic, |key, at| {
                try_filter(key, &|f| is_first(f.topics(), at, topic) && f.passes_but_topic(event));
            }),
            None => self.broadcast.iter().for_each(|key| try_filter(*key, &|f| f.passes(event))),
        }
        self.others.iter().for_each(|key| try_filter(*key, &|f| f.passes(event)));
        if event.kind == Kind::Invalid {
            // Its type is unknown, so every subscriber that selects types is sent the gap.
            self.typed.iter().for_each(|key| try_filter(*key, &|f| f.passes(event)));
        } else {
            let name = event.type_name();
            self.by_type.find(name, |key, at| {
                try_filter(key, &|f| is_first(f.types(), at, name) && f.passes_but_type(event));
            });
        }
    }
}

/// Whether no pattern before the one at `at` matches `name`.
fn is_first(patterns: &[Pattern], at: usize, name: &str) -> bool {
    !patterns.iter().take(at).any(|p| p.matches(name))
}

#[cfg(test)]
mod tests;

//! Whom an event reaches: the caught-up subscribers of one channel in one shard, by what they ask for, so that an event costs
//! what it delivers. Pure.
//!
//! Who has no filter stands in the [roll](super::roll) instead. The others are found by their topics, else by their types, and
//! asked for their whole filter. The few who ask for neither (for sources, or for no broadcasts) are asked one by one.

mod names;

use std::{collections::HashMap, sync::Arc};

use eventcast_wire::{
    event::{Event, Kind},
    filter::Filter,
    topic::Pattern,
};
use indexmap::IndexSet;

use self::names::Names;
use super::Key;

/// Subscribers with a filter, by what they ask for.
#[derive(Default)]
pub(super) struct Index {
    filters: HashMap<Key, Arc<Filter>>,
    by_topic: Names,
    /// Those by topic who take events without one.
    broadcast: IndexSet<Key>,
    by_type: Names,
    typed: IndexSet<Key>,
    asked: IndexSet<Key>,
}

impl Index {
    /// How many there are, with a filter or without.
    pub(super) fn len(&self) -> usize {
        self.filters.len()
    }

    /// Puts `key` in; with the same filter it is taken out.
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
            self.asked.insert(key);
        }
        self.filters.insert(key, Arc::clone(filter));
    }

    /// Takes out what was inserted with this filter.
    pub(super) fn remove(&mut self, key: Key, filter: &Filter) {
        self.by_topic.remove(key, filter.topics());
        self.broadcast.swap_remove(&key);
        if filter.topics().is_empty() {
            self.by_type.remove(key, filter.types());
        }
        self.typed.swap_remove(&key);
        self.asked.swap_remove(&key);
        self.filters.remove(&key);
    }

    /// Everybody.
    pub(super) fn members(&self) -> Vec<Key> {
        self.filters.keys().copied().collect()
    }

    /// Names each subscriber whose filter `event` passes, once.
    pub(super) fn select(&self, event: &Event, mut found: impl FnMut(Key)) {
        if event.kind == Kind::Marker || self.filters.is_empty() {
            return;
        }
        let mut ask = |key: Key, passes: &dyn Fn(&Filter) -> bool| {
            if self.filters.get(&key).is_some_and(|f| passes(f)) {
                found(key);
            }
        };
        // Two patterns of one filter may match: the first counts. Whoever is found by a pattern is not asked for it again.
        match &event.topic {
            Some(topic) => self.by_topic.find(topic, |key, at| {
                ask(key, &|f| first(f.topics(), at, topic) && f.passes_but_topic(event));
            }),
            None => self.broadcast.iter().for_each(|key| ask(*key, &|f| f.passes(event))),
        }
        self.asked.iter().for_each(|key| ask(*key, &|f| f.passes(event)));
        if event.kind == Kind::Invalid {
            // its type is not known: all who would get some type are told
            self.typed.iter().for_each(|key| ask(*key, &|f| f.passes(event)));
        } else {
            let name = event.type_name();
            self.by_type.find(name, |key, at| {
                ask(key, &|f| first(f.types(), at, name) && f.passes_but_type(event));
            });
        }
    }
}

/// Whether no pattern before the one at `at` matches `name`.
fn first(patterns: &[Pattern], at: usize, name: &str) -> bool {
    !patterns.iter().take(at).any(|p| p.matches(name))
}

#[cfg(test)]
mod tests;

//! Whom an event reaches: the caught-up subscribers of one channel in one shard, by what they ask for, so that an event costs
//! what it delivers. Pure.
//!
//! Who has no filter stands in the [roll](super::roll) instead. The others are found by their topics, else by their types, and
//! asked for their whole filter. The few who ask for neither (for sources, or for no broadcasts) are asked one by one.

mod names;

use std::{collections::HashMap, sync::Arc};

use indexmap::IndexSet;

use self::names::Names;
use super::Key;
use crate::{
    event::{Event, Kind},
    filter::Filter,
};

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
    pub(super) fn len(&self) -> usize {
        self.filters.len()
    }

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

    /// Takes everybody out.
    pub(super) fn clear(&mut self) -> Vec<Key> {
        std::mem::take(self).filters.into_keys().collect()
    }

    /// Names each subscriber whose filter `event` passes, once.
    pub(super) fn select(&self, event: &Event, mut found: impl FnMut(Key)) {
        if event.kind == Kind::Marker || self.filters.is_empty() {
            return;
        }
        let mut ask = |key: Key, named: &dyn Fn(&Filter) -> bool| {
            if self.filters.get(&key).is_some_and(|f| named(f) && f.passes(event)) {
                found(key);
            }
        };
        match &event.topic {
            // Two patterns of one filter may match: the first counts.
            Some(topic) => self.by_topic.find(topic, |key, at| {
                ask(key, &|f| f.topics().iter().position(|p| p.matches(topic)) == Some(at));
            }),
            None => self.broadcast.iter().for_each(|key| ask(*key, &|_| true)),
        }
        self.asked.iter().for_each(|key| ask(*key, &|_| true));
        if event.kind == Kind::Invalid {
            // its type is not known: all who would get some type are told
            self.typed.iter().for_each(|key| ask(*key, &|_| true));
        } else {
            let name = event.type_name();
            self.by_type.find(name, |key, at| {
                ask(key, &|f| f.types().iter().position(|p| p.matches(name)) == Some(at));
            });
        }
    }
}

#[cfg(test)]
mod tests;

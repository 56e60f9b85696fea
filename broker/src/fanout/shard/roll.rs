//! The roll of those who get everything: each is called once in a pass, whoever comes or leaves meanwhile. Pure.
//!
//! It is called from its end; who comes stands behind, and has the pass' end as its cursor. Who leaves is replaced by the
//! last, who may be called already: so each carries the pass that it was last called in.

use indexmap::IndexMap;

use super::Key;

/// Subscribers, and the pass under way.
#[derive(Default)]
pub(super) struct Roll {
    members: IndexMap<Key, u64>,
    pass: u64,
    /// Those at the front are still to be looked at.
    left: usize,
}

impl Roll {
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Takes somebody in, who is not called in the present pass.
    pub(super) fn insert(&mut self, key: Key) {
        self.members.insert(key, self.pass);
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.members.swap_remove(&key);
        self.left = self.left.min(self.members.len());
    }

    /// Whether the present pass is still to call `key`.
    pub(super) fn owes(&self, key: Key) -> bool {
        self.left > 0 && self.members.get(&key).is_some_and(|called| *called != self.pass)
    }

    /// Begins a pass; the last one is over.
    pub(super) fn begin(&mut self) {
        self.pass += 1;
        self.left = self.members.len();
    }

    /// Calls the next.
    pub(super) fn next(&mut self) -> Option<Key> {
        while self.left > 0 {
            self.left -= 1;
            let (key, called) = self.members.get_index_mut(self.left)?;
            if *called != self.pass {
                *called = self.pass;
                return Some(*key);
            }
        }
        None
    }

    /// Whether all were called.
    pub(super) fn is_called(&self) -> bool {
        self.left == 0
    }

    /// Everybody.
    pub(super) fn members(&self) -> Vec<Key> {
        self.members.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, btree_map::Entry};

    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a list of who is there and what each is owed.
        #[test]
        fn everyone_is_called_once_whoever_comes_and_goes(
            steps in proptest::collection::vec((0u8..8, 0u32..12), 0..300),
        ) {
            let (mut roll, mut there, mut passes) = (Roll::default(), BTreeMap::new(), 0);
            for (step, key) in steps {
                match step {
                    0 | 1 => {
                        if let Entry::Vacant(place) = there.entry(key) {
                            roll.insert(key);
                            place.insert(false);
                        }
                    }
                    2 => {
                        roll.remove(key);
                        there.remove(&key);
                    }
                    3 if roll.is_called() => {
                        prop_assert!(there.values().all(|owed| !owed), "pass {passes} left somebody out");
                        passes += 1;
                        roll.begin();
                        there.values_mut().for_each(|owed| *owed = true);
                    }
                    _ => {
                        if let Some(called) = roll.next() {
                            let owed = there.get_mut(&called);
                            prop_assert!(owed.is_some_and(std::mem::take), "{called} twice");
                        }
                    }
                }
                prop_assert_eq!(roll.len(), there.len());
                for (key, owed) in &there {
                    prop_assert_eq!(roll.owes(*key), *owed, "{}", key);
                }
            }
            let mut all = roll.members();
            all.sort_unstable();
            prop_assert_eq!(all, there.into_keys().collect::<Vec<_>>());
        }
    }
}

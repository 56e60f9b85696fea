//! The members of a channel without a filter. A pass visits each of them once, even if members join or leave meanwhile. Pure.
//!
//! A pass goes from the end of the list to its front. A member that joins is appended, with the end of the pass as its cursor. When a
//! member leaves, the last member of the list takes its place, and may have been visited already. So each has the number of its last pass.

use indexmap::IndexMap;

use super::Key;

/// The members, and the progress of the present pass.
#[derive(Default)]
pub(super) struct UnfilteredMembers {
    members: IndexMap<Key, u64>,
    pass: u64,
    /// How many members at the front have not been visited yet.
    remaining: usize,
}

impl UnfilteredMembers {
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Adds a member, which the present pass does not visit.
    pub(super) fn insert(&mut self, key: Key) {
        self.members.insert(key, self.pass);
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.members.swap_remove(&key);
        self.remaining = self.remaining.min(self.members.len());
    }

    /// Whether the present pass has yet to visit `key`.
    pub(super) fn is_pending(&self, key: Key) -> bool {
        self.remaining > 0 && self.members.get(&key).is_some_and(|visited| *visited != self.pass)
    }

    /// Begins the next pass. The present one must be done.
    pub(super) fn begin_pass(&mut self) {
        self.pass += 1;
        self.remaining = self.members.len();
    }

    /// The next member to visit.
    pub(super) fn next(&mut self) -> Option<Key> {
        while self.remaining > 0 {
            self.remaining -= 1;
            let (key, visited) = self.members.get_index_mut(self.remaining)?;
            if *visited != self.pass {
                *visited = self.pass;
                return Some(*key);
            }
        }
        None
    }

    /// Whether the present pass has visited every member.
    pub(super) fn pass_done(&self) -> bool {
        self.remaining == 0
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.members.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, btree_map::Entry};

    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a model: the members, and which of them are pending.
        #[test]
        fn a_pass_visits_every_member_once(
            steps in proptest::collection::vec((0u8..8, 0u32..12), 0..300),
        ) {
            let (mut members, mut present, mut passes) = (UnfilteredMembers::default(), BTreeMap::new(), 0);
            for (step, key) in steps {
                match step {
                    0 | 1 => {
                        if let Entry::Vacant(place) = present.entry(key) {
                            members.insert(key);
                            place.insert(false);
                        }
                    }
                    2 => {
                        members.remove(key);
                        present.remove(&key);
                    }
                    3 if members.pass_done() => {
                        prop_assert!(present.values().all(|pending| !pending), "pass {passes} left a member out");
                        passes += 1;
                        members.begin_pass();
                        present.values_mut().for_each(|pending| *pending = true);
                    }
                    _ => {
                        if let Some(visited) = members.next() {
                            let pending = present.get_mut(&visited);
                            prop_assert!(pending.is_some_and(std::mem::take), "{visited} twice");
                        }
                    }
                }
                prop_assert_eq!(members.len(), present.len());
                for (key, pending) in &present {
                    prop_assert_eq!(members.is_pending(*key), *pending, "{}", key);
                }
            }
            let mut all = members.keys();
            all.sort_unstable();
            prop_assert_eq!(all, present.into_keys().collect::<Vec<_>>());
        }
    }
}

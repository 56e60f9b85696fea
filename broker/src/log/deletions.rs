//! Which events of a stream were deleted, by retention, purge, erasure or time to live, as far as this broker knows. Pure.
//!
//! The state of a stream has its first sequence, its last sequence and its number of messages. Together they say how many messages
//! in between are deleted. The list of these is fetched only when the number is not the expected one (docs/adr/0009).

use std::time::Duration;

use async_nats::jetstream::stream::State;
use tokio::time::Instant;

/// Deleted sequences inside a stream that are tracked. With more, any further deletion clears all of memory.
const MAX_TRACKED_DELETIONS: u64 = 16_384;
/// How long events that retention has deleted stay in memory, so that a subscriber that is slightly behind still receives them.
/// Shorter than the interval between two polls, so the second poll removes them.
const REMOVAL_GRACE: Duration = Duration::from_millis(450);

/// What a stream holds, as its state reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// The first sequence; one past the last if the stream is empty.
    pub(super) first: u64,
    last: u64,
    messages: u64,
}

impl Extent {
    pub(super) fn of(state: &State) -> Self {
        let (first, last) = (state.first_sequence.max(1), state.last_sequence);
        Self { first, last, messages: state.messages }
    }

    /// Number of sequences that are deleted between the first and the last.
    fn deleted(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first).saturating_sub(self.messages)
    }
}

/// What an [`Extent`] calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing: all deletions inside the stream are known.
    Nothing,
    /// Fetch the list of deleted sequences: there are new ones.
    FetchList,
    /// Clear memory: there are new deletions, and too many to list.
    ClearMemory,
}

/// The deletions in one incarnation of a log.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    incarnation: u64,
    /// Memory holds nothing below this sequence.
    floor: u64,
    /// A first sequence of the stream and when it was observed. It becomes the floor after the grace period.
    seen: Option<(u64, Instant)>,
    /// Deleted sequences, sorted.
    deleted: Vec<u64>,
    /// The last extent with too many deletions to list.
    unlisted: Option<Extent>,
    /// How often memory was cleared.
    pub(super) cleared: u64,
}

impl Deletions {
    /// Starts over if `incarnation` is a new one.
    pub(super) fn enter(&mut self, incarnation: u64) {
        if self.incarnation != incarnation {
            *self = Self { incarnation, cleared: self.cleared + 1, ..Self::default() };
        }
    }

    pub(super) fn is_of(&self, incarnation: u64) -> bool {
        self.incarnation == incarnation
    }

    /// Compares `extent` with what is known.
    pub(super) fn compare(&mut self, extent: Extent) -> Action {
        if extent.deleted() > MAX_TRACKED_DELETIONS {
            let before = self.unlisted.replace(extent);
            let same =
                before.is_some_and(|b| (b.first, b.deleted()) == (extent.first, extent.deleted()));
            return if same { Action::Nothing } else { Action::ClearMemory };
        }
        self.unlisted = None;
        let known = self.deleted.len() - self.deleted.partition_point(|s| *s < extent.first);
        if known as u64 == extent.deleted() { Action::Nothing } else { Action::FetchList }
    }

    /// Adds the sequences that are deleted inside the stream. Returns those that were not known.
    pub(super) fn add(&mut self, list: &[u64]) -> Vec<u64> {
        let new = |s: &&u64| self.deleted.binary_search(s).is_err();
        let mut new: Vec<_> = list.iter().filter(new).copied().collect();
        new.sort_unstable();
        new.dedup();
        self.deleted.extend_from_slice(&new);
        self.deleted.sort_unstable();
        new
    }

    /// Notes that the first sequence of the stream is `first`, and returns the sequence below which memory must hold nothing: `first` if
    /// `at_once`, else the first sequence at the beginning of the grace period.
    pub(super) fn advance_floor(&mut self, first: u64, at_once: bool, now: Instant) -> u64 {
        match self.seen {
            _ if at_once => {
                self.floor = self.floor.max(first);
                self.seen = None;
            }
            Some((before, at)) if now.duration_since(at) >= REMOVAL_GRACE => {
                self.floor = self.floor.max(before);
                self.seen = Some((first, now));
            }
            Some(_) => {}
            None => self.seen = Some((first, now)),
        }
        let below = self.deleted.partition_point(|s| *s < self.floor);
        self.deleted.drain(..below);
        self.floor
    }

    /// Whether `sequence` is deleted.
    pub(super) fn contains(&self, sequence: u64) -> bool {
        self.deleted.binary_search(&sequence).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn extent(first: u64, last: u64, messages: u64) -> Extent {
        Extent { first, last, messages }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Publish(u64),
        Expire(u64),
        Delete(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1..20u64).prop_map(Step::Publish),
            2 => (0..30u64).prop_map(Step::Expire),
            2 => any::<u64>().prop_map(Step::Delete),
        ]
    }

    proptest! {
        /// Two extents reveal every deletion between them.
        #[test]
        fn no_deletion_is_missed(steps in proptest::collection::vec((step(), any::<bool>()), 1..80)) {
            let (mut held, mut last) = (BTreeSet::<u64>::new(), 0);
            let mut deletions = Deletions::default();
            for (step, polled) in steps {
                match step {
                    Step::Publish(n) => { held.extend(last + 1..=last + n); last += n; }
                    Step::Expire(n) => { for _ in 0..n { held.pop_first(); } }
                    Step::Delete(at) => {
                        let victim = held.range(at % (last + 1)..).next().copied();
                        victim.map(|s| held.remove(&s));
                    }
                }
                if !polled { continue; }
                let first = held.first().copied().unwrap_or(last + 1);
                let seen = extent(first, last, held.len() as u64);
                if deletions.compare(seen) == Action::FetchList {
                    let list: Vec<_> = (first..=last).filter(|s| !held.contains(s)).collect();
                    prop_assert!(!deletions.add(&list).is_empty(), "a list is fetched only for new deletions");
                }
                deletions.advance_floor(first, true, Instant::now());
                for s in first..=last {
                    prop_assert_eq!(deletions.contains(s), !held.contains(&s), "{}", s);
                }
                prop_assert_eq!(deletions.compare(seen), Action::Nothing);
            }
        }
    }

    #[test]
    fn the_floor_follows_retention_after_the_grace_and_erasure_at_once() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let mut deletions = Deletions::default();
        assert_eq!(deletions.advance_floor(100, false, at(0)), 0);
        assert_eq!(deletions.advance_floor(120, false, at(10)), 0, "however often it is polled");
        assert_eq!(deletions.advance_floor(200, false, at(600)), 100);
        assert_eq!(deletions.advance_floor(300, false, at(1200)), 200);
        assert_eq!(deletions.advance_floor(90, true, at(1300)), 200, "the floor never moves back");
        assert_eq!(deletions.advance_floor(310, true, at(1400)), 310);
    }

    #[test]
    fn deletions_that_are_too_many_to_list_clear_memory_at_every_change() {
        let many = |first, messages| extent(first, 100_000, messages);
        let mut deletions = Deletions::default();
        assert_eq!(deletions.compare(many(1, 50_000)), Action::ClearMemory);
        assert_eq!(deletions.compare(many(1, 50_000)), Action::Nothing);
        assert_eq!(
            deletions.compare(extent(1, 100_010, 50_010)),
            Action::Nothing,
            "only more events"
        );
        assert_eq!(deletions.compare(many(1, 49_999)), Action::ClearMemory);
        assert_eq!(deletions.compare(many(7, 49_999)), Action::ClearMemory);
        assert_eq!(deletions.compare(extent(99_999, 100_000, 2)), Action::Nothing);
    }
}

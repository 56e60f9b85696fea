//! Which events a stream has dropped, by retention, purge, deletion or time to live, as far as this broker knows. Pure.
//!
//! A stream says where it begins, where it ends, and how many messages it holds. Whether it has deleted messages in between is
//! what these three add up to; which ones is asked for only when the sum is not the expected one (docs/adr/0009).

use std::time::Duration;

use async_nats::jetstream::stream::State;
use tokio::time::Instant;

/// Deleted sequences inside a stream that are remembered. Where there are more, nothing is remembered: whenever the stream
/// changes, all of it is taken to have changed.
const MAX_LISTED: u64 = 16_384;
/// How long memory keeps what retention has taken after it is known: whoever is a moment behind still gets it. Less than the time
/// between two questions, so that it is over at the second.
const GRACE: Duration = Duration::from_millis(450);

/// What a stream holds, in its own words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// The first sequence; one past the last where the stream is empty.
    pub(super) first: u64,
    last: u64,
    messages: u64,
}

impl Extent {
    pub(super) fn of(state: &State) -> Self {
        let (first, last) = (state.first_sequence.max(1), state.last_sequence);
        Self { first, last, messages: state.messages }
    }

    /// How many sequences are deleted between the first and the last.
    fn deleted(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first).saturating_sub(self.messages)
    }
}

/// What is to be done about an [`Extent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// What is deleted inside the stream is known.
    Known,
    /// Something else is deleted inside the stream: ask for the list.
    AskForList,
    /// More is deleted than would be listed, and something changed: memory may hold anything of it.
    ForgetAll,
}

/// The deletions of one incarnation of a log.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    incarnation: u64,
    /// Memory may hold nothing below.
    floor: u64,
    /// The stream was found to begin here, and when; the floor moves there after the grace.
    seen: Option<(u64, Instant)>,
    /// Deleted sequences, ascending.
    deleted: Vec<u64>,
    /// The last extent for which there was no list.
    unlisted: Option<Extent>,
    /// How often memory had to forget everything.
    pub(super) cleared: u64,
}

impl Dropped {
    /// Begins anew where the incarnation is another one.
    pub(super) fn enter(&mut self, incarnation: u64) {
        if self.incarnation != incarnation {
            *self = Self { incarnation, cleared: self.cleared + 1, ..Self::default() };
        }
    }

    pub(super) fn is_of(&self, incarnation: u64) -> bool {
        self.incarnation == incarnation
    }

    /// What `extent` says that is not known yet.
    pub(super) fn compare(&mut self, extent: Extent) -> Action {
        if extent.deleted() > MAX_LISTED {
            let before = self.unlisted.replace(extent);
            let same =
                before.is_some_and(|b| (b.first, b.deleted()) == (extent.first, extent.deleted()));
            return if same { Action::Known } else { Action::ForgetAll };
        }
        self.unlisted = None;
        let known = self.deleted.len() - self.deleted.partition_point(|s| *s < extent.first);
        if known as u64 == extent.deleted() { Action::Known } else { Action::AskForList }
    }

    /// Takes over which sequences are deleted inside the stream; gives those that were not known.
    pub(super) fn learn(&mut self, list: &[u64]) -> Vec<u64> {
        let new = |s: &&u64| self.deleted.binary_search(s).is_err();
        let mut new: Vec<_> = list.iter().filter(new).copied().collect();
        new.sort_unstable();
        new.dedup();
        self.deleted.extend_from_slice(&new);
        self.deleted.sort_unstable();
        new
    }

    /// The stream begins at `first`. Gives the sequence below which memory is to forget: `first` itself if `at_once`, else where
    /// the stream was found to begin before the grace.
    pub(super) fn begin_at(&mut self, first: u64, at_once: bool, now: Instant) -> u64 {
        match self.seen {
            _ if at_once => {
                self.floor = self.floor.max(first);
                self.seen = None;
            }
            Some((before, at)) if now.duration_since(at) >= GRACE => {
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
        /// Whatever a stream drops between two questions, the extents alone betray it.
        #[test]
        fn no_deletion_goes_unnoticed(steps in proptest::collection::vec((step(), any::<bool>()), 1..80)) {
            let (mut held, mut last) = (BTreeSet::<u64>::new(), 0);
            let mut dropped = Dropped::default();
            for (step, asked) in steps {
                match step {
                    Step::Publish(n) => { held.extend(last + 1..=last + n); last += n; }
                    Step::Expire(n) => { for _ in 0..n { held.pop_first(); } }
                    Step::Delete(at) => {
                        let victim = held.range(at % (last + 1)..).next().copied();
                        victim.map(|s| held.remove(&s));
                    }
                }
                if !asked { continue; }
                let first = held.first().copied().unwrap_or(last + 1);
                let seen = extent(first, last, held.len() as u64);
                if dropped.compare(seen) == Action::AskForList {
                    let list: Vec<_> = (first..=last).filter(|s| !held.contains(s)).collect();
                    prop_assert!(!dropped.learn(&list).is_empty(), "a list is asked for only if it has news");
                }
                dropped.begin_at(first, true, Instant::now());
                for s in first..=last {
                    prop_assert_eq!(dropped.contains(s), !held.contains(&s), "{}", s);
                }
                prop_assert_eq!(dropped.compare(seen), Action::Known);
            }
        }
    }

    #[test]
    fn retention_is_followed_after_the_grace_and_erasure_at_once() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let mut dropped = Dropped::default();
        assert_eq!(dropped.begin_at(100, false, at(0)), 0);
        assert_eq!(dropped.begin_at(120, false, at(10)), 0, "however often it is asked");
        assert_eq!(dropped.begin_at(200, false, at(600)), 100);
        assert_eq!(dropped.begin_at(300, false, at(1200)), 200);
        assert_eq!(
            dropped.begin_at(90, true, at(1300)),
            200,
            "an outdated leader brings nothing back"
        );
        assert_eq!(dropped.begin_at(310, true, at(1400)), 310);
    }

    #[test]
    fn too_many_deletions_are_not_listed_but_every_change_counts() {
        let many = |first, messages| extent(first, 100_000, messages);
        let mut dropped = Dropped::default();
        assert_eq!(dropped.compare(many(1, 50_000)), Action::ForgetAll);
        assert_eq!(dropped.compare(many(1, 50_000)), Action::Known);
        assert_eq!(dropped.compare(extent(1, 100_010, 50_010)), Action::Known, "only more events");
        assert_eq!(dropped.compare(many(1, 49_999)), Action::ForgetAll);
        assert_eq!(dropped.compare(many(7, 49_999)), Action::ForgetAll);
        assert_eq!(dropped.compare(extent(99_999, 100_000, 2)), Action::Known);
    }
}

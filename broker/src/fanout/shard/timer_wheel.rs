//! A hashed timer wheel (Varghese and Lauck, 1987, scheme 6). Pure: time is an argument.
//!
//! Entries are not removed before they fire. The owner of an entry checks whether it still matters.

/// Milliseconds of a tick: how late an entry may fire.
const TICK: u64 = 50;
/// Ticks of one revolution. A later entry stays in its slot for another one.
const SLOTS: usize = 512;
/// The capacity that an emptied slot keeps.
const KEPT_CAPACITY: usize = 64;

/// Entries by the tick at which they fire. Ticks have 32 bits: an entry more than 6.8 years after the start fires then.
pub(super) struct TimerWheel<T> {
    slots: Vec<Vec<(u32, T)>>,
    /// The first tick that has not fired.
    next: u64,
}

impl<T: Copy> TimerWheel<T> {
    pub(super) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), next: 0 }
    }

    /// Fires `what` at `due`, in milliseconds since the start, or within a tick after it.
    pub(super) fn insert(&mut self, due: u64, what: T) {
        let tick = due.div_ceil(TICK).max(self.next);
        let tick = u32::try_from(tick).unwrap_or(u32::MAX);
        self.slots[slot(tick.into())].push((tick, what));
    }

    /// Fires every entry that is due at `now`.
    pub(super) fn advance(&mut self, now: u64, mut fire: impl FnMut(T)) {
        let last = now / TICK;
        // After a long sleep every slot is visited once.
        let from = self.next.max((last + 1).saturating_sub(SLOTS as u64));
        for tick in from..=last {
            let slot = &mut self.slots[slot(tick)];
            slot.retain(|(due, what)| {
                let stays = u64::from(*due) > last;
                if !stays {
                    fire(*what);
                }
                stays
            });
            if slot.capacity() > KEPT_CAPACITY && slot.len() < slot.capacity() / 4 {
                slot.shrink_to(KEPT_CAPACITY);
            }
        }
        self.next = self.next.max(last + 1);
    }

    /// Milliseconds from `now` until an entry may fire; `None` if there are no entries.
    pub(super) fn next_due(&self, now: u64) -> Option<u64> {
        let ticks = self.next..self.next + SLOTS as u64;
        let first = ticks.into_iter().find(|tick| !self.slots[slot(*tick)].is_empty())?;
        Some((first * TICK).saturating_sub(now))
    }
}

fn slot(tick: u64) -> usize {
    usize::try_from(tick % SLOTS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn everything_fires_once_when_it_is_due_and_at_most_a_tick_late(
            steps in proptest::collection::vec((0u64..60_000, proptest::collection::vec(0u64..100_000, 0..8)), 1..60),
        ) {
            let mut wheel = TimerWheel::new();
            // the model: what is open, by its deadline or when it came, if that was later
            let (mut now, mut open, mut entries) = (0, BTreeSet::new(), 0usize);
            for (step, inserted) in steps {
                // some are overdue when they come
                for due in inserted.into_iter().map(|after| (now + after).saturating_sub(20_000)) {
                    wheel.insert(due, (due, entries));
                    open.insert((due.max(now), due, entries));
                    entries += 1;
                }
                let sleep = wheel.next_due(now);
                let first = open.first().map(|(at, ..)| *at);
                prop_assert_eq!(sleep.is_some(), first.is_some());
                if let (Some(sleep), Some(first)) = (sleep, first) {
                    prop_assert!(now + sleep <= first + TICK, "sleeps past a deadline");
                }
                let came = now;
                now += step;
                let mut fired = Vec::new();
                wheel.advance(now, |entry| fired.push(entry));
                for (due, entry) in fired {
                    prop_assert!(due <= now, "before its time");
                    let known = open.iter().find(|(_, _, e)| *e == entry).copied();
                    prop_assert!(known.is_some_and(|known| open.remove(&known)), "twice");
                }
                prop_assert!(open.iter().all(|(at, ..)| at + TICK > now), "late: {came} to {now}");
            }
        }

        #[test]
        fn nobody_sleeps_past_a_deadline(due in 0u64..1_000_000, now in 0u64..1_000_000) {
            let mut wheel = TimerWheel::new();
            wheel.advance(now, |_: ()| {});
            wheel.insert(due, ());
            let (mut at, mut fired) = (now, 0);
            while fired == 0 {
                let sleep = wheel.next_due(at);
                prop_assert!(sleep.is_some());
                at += sleep.unwrap_or(0).max(1);
                wheel.advance(at, |()| fired += 1);
            }
            prop_assert!(at >= due && at <= due.max(now) + 2 * TICK, "due {due}, now {now}, fired {at}");
        }
    }
}

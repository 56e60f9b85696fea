//! A hashed timer wheel: deadlines by the tick they fall into (Varghese and Lauck, 1987, scheme 6). Pure: it is told the time.
//!
//! Nothing is ever taken out before its time: whoever looks at what fires knows whether it still matters.

/// Milliseconds of a tick: how late a deadline may be.
const TICK: u64 = 50;
/// Ticks of one turn of the wheel; what is further away stays in its slot for another turn.
const SLOTS: usize = 512;
/// Room that an emptied slot keeps.
const KEPT: usize = 64;

/// Deadlines, each with what it is about.
pub(super) struct Wheel<T> {
    slots: Vec<Vec<(u64, T)>>,
    /// The first tick that has not fired.
    next: u64,
}

impl<T: Copy> Wheel<T> {
    pub(super) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), next: 0 }
    }

    /// Fires `what` at `due`, in milliseconds, or within a tick after it.
    pub(super) fn insert(&mut self, due: u64, what: T) {
        let tick = due.div_ceil(TICK).max(self.next);
        self.slots[slot(tick)].push((tick, what));
    }

    /// Fires everything that is due at `now`.
    pub(super) fn advance(&mut self, now: u64, mut fire: impl FnMut(T)) {
        let last = now / TICK;
        // After a long sleep every slot is looked at once.
        let from = self.next.max((last + 1).saturating_sub(SLOTS as u64));
        for tick in from..=last {
            let slot = &mut self.slots[slot(tick)];
            slot.retain(|(due, what)| {
                if *due <= last {
                    fire(*what);
                }
                *due > last
            });
            if slot.capacity() > KEPT && slot.len() < slot.capacity() / 4 {
                slot.shrink_to(KEPT);
            }
        }
        self.next = self.next.max(last + 1);
    }

    /// Milliseconds from `now` until something may fire; none while there is nothing to fire.
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
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn everything_fires_once_in_its_tick(
            entries in proptest::collection::vec((0u64..200_000, 0u64..100_000), 0..200),
            steps in proptest::collection::vec(1u64..40_000, 1..60),
        ) {
            let mut wheel = Wheel::new();
            let (mut now, mut fired) = (0, vec![None; entries.len()]);
            let mut waiting: Vec<_> = (0..entries.len()).collect();
            for step in steps {
                // in at its time, due some time later
                waiting.retain(|i| {
                    let (at, after) = entries[*i];
                    if at <= now {
                        wheel.insert(now + after, *i);
                    }
                    at > now
                });
                let inserted: Vec<_> = (0..entries.len()).filter(|i| !waiting.contains(i)).collect();
                let open = inserted.iter().any(|i| fired[*i].is_none());
                prop_assert_eq!(wheel.next_due(now).is_some(), open);
                let was = now;
                now += step;
                wheel.advance(now, |i: usize| {
                    assert!(fired[i].is_none(), "twice");
                    fired[i] = Some((was, now));
                });
            }
            for (i, fired) in fired.iter().enumerate() {
                if let Some((_, by)) = fired {
                    prop_assert!(entries[i].1 <= *by, "before its time");
                }
            }
        }

        #[test]
        fn nobody_sleeps_past_a_deadline(due in 0u64..1_000_000, now in 0u64..1_000_000) {
            let mut wheel = Wheel::new();
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

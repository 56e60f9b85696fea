//! How many streams are closed for balance, and when. Pure; time is an argument.

use std::time::Duration;

use super::recent::RecentClosings;

/// Within this time no more streams are closed than were open, whatever is ordered.
const BUDGET_SPAN: Duration = Duration::from_secs(600);
/// Closings that are closer together share an entry of the budget.
const BUDGET_STEP: Duration = Duration::from_secs(1);
/// The window in which `per_second` limits closings.
const SECOND: Duration = Duration::from_secs(1);
/// How far a late step may make up for the time that has passed since the last one.
const MAX_DELAY: Duration = Duration::from_millis(100);
/// A stream, as [`Schedule::credit`] counts.
const STREAM: u64 = 1_000_000;

/// The rate and the budget of closings.
pub(super) struct Schedule {
    /// The last step; `None` while no stream is to be closed.
    last_step: Option<Duration>,
    /// How many streams the rate allows to close now, in millionths of a stream.
    credit: u64,
    in_a_second: RecentClosings,
    in_the_budget: RecentClosings,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            last_step: None,
            credit: 0,
            in_a_second: RecentClosings::new(SECOND, Duration::ZERO),
            in_the_budget: RecentClosings::new(BUDGET_SPAN, BUDGET_STEP),
        }
    }
}

impl Schedule {
    /// How many of the `open` streams are to be closed at `now`, so that not fewer than `ceiling` are left and not more than `per_second`
    /// are closed in a second.
    pub(super) fn due(
        &mut self,
        now: Duration,
        open: usize,
        ceiling: usize,
        per_second: u32,
    ) -> usize {
        let elapsed = now - self.last_step.replace(now).unwrap_or(now);
        let rate = u64::from(per_second);
        let earned = |time: Duration| rate * u64::try_from(time.as_micros()).unwrap_or(STREAM);
        let most = STREAM + earned(MAX_DELAY);
        self.credit = (self.credit + earned(elapsed.min(SECOND))).min(most);
        let rate = usize::try_from(per_second).unwrap_or(usize::MAX);
        let by_rate = rate.saturating_sub(self.in_a_second.closed(now));
        let by_credit = usize::try_from(self.credit / STREAM).unwrap_or(usize::MAX);
        let above = open.saturating_sub(ceiling);
        above.min(self.budget(now, open)).min(by_rate).min(by_credit)
    }

    /// Of `open` streams, `closed` were closed at `now`.
    pub(super) fn closed(&mut self, now: Duration, open: usize, closed: usize) {
        self.credit = self.credit.saturating_sub(closed as u64 * STREAM);
        self.in_a_second.add(now, open, closed);
        self.in_the_budget.add(now, open, closed);
    }

    /// No stream is to be closed now: what was not closed is not made up for later.
    pub(super) fn pause(&mut self) {
        (self.last_step, self.credit) = (None, 0);
    }

    /// How many streams may be closed so that, within [`BUDGET_SPAN`], their number does not exceed the most that were open. Doubling the
    /// brokers takes nine tenths of that, because some clients reconnect to the same broker (ADR 24).
    fn budget(&mut self, now: Duration, open: usize) -> usize {
        let closed = self.in_the_budget.closed(now);
        self.in_the_budget.most_open().max(open).saturating_sub(closed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STEP: Duration = Duration::from_millis(20);

    /// What was closed at a time, of how many open streams.
    type Closings = Vec<(Duration, usize, usize)>;

    /// Follows one ceiling for `time`, beginning at `now`. Returns how many streams are left.
    fn follow(
        schedule: &mut Schedule,
        now: &mut Duration,
        time: Duration,
        mut open: usize,
        (ceiling, per_second): (usize, u32),
        closings: &mut Closings,
    ) -> usize {
        let end = *now + time;
        while *now < end {
            if open > ceiling {
                let due = schedule.due(*now, open, ceiling, per_second);
                schedule.closed(*now, open, due);
                closings.push((*now, open, due));
                open -= due;
            } else {
                schedule.pause();
            }
            *now += STEP;
        }
        open
    }

    #[test]
    fn the_pace_is_even_and_ends_at_the_ceiling() {
        for per_second in [1, 7, 25, 100, 333, 10_000] {
            let (mut schedule, mut now, mut closings) =
                (Schedule::default(), Duration::ZERO, Vec::new());
            let rate = per_second as usize;
            let (open, ceiling) = (40 * rate, 30 * rate);
            let order = (ceiling, per_second);
            let left = follow(&mut schedule, &mut now, SECOND * 12, open, order, &mut closings);
            assert_eq!(left, ceiling, "{per_second}");
            for (step, (at, open_then, _)) in closings.iter().enumerate() {
                let expected = rate as f64 * at.as_secs_f64();
                let closed = (open - open_then) as f64;
                let most_late = 1.0 + rate as f64 * STEP.as_secs_f64();
                assert!(closed <= expected + 0.001, "{per_second}: {closed} of {expected}");
                assert!(expected - closed <= most_late, "step {step}: {closed} of {expected}");
            }
        }
    }

    #[test]
    fn what_could_not_be_closed_is_not_made_up_for_at_once() {
        let mut schedule = Schedule::default();
        assert_eq!(schedule.due(Duration::ZERO, 1000, 0, 100), 0, "the first step begins the pace");
        // All streams were too young for a minute.
        assert_eq!(schedule.due(SECOND * 60, 1000, 0, 100), 11);
        schedule.pause();
        assert_eq!(schedule.due(SECOND * 61, 1000, 0, 100), 0);
        assert_eq!(schedule.due(SECOND * 61 + STEP, 1000, 0, 100), 2);
    }

    #[test]
    fn no_more_are_closed_in_ten_minutes_than_there_were() {
        let (mut schedule, mut now, mut closings) =
            (Schedule::default(), Duration::ZERO, Vec::new());
        let mut run = |open, minutes| {
            let time = SECOND * 60 * minutes;
            follow(&mut schedule, &mut now, time, open, (0, 100), &mut closings)
        };
        assert_eq!(run(1000, 9), 0);
        // All have come back.
        assert_eq!(run(1000, 1), 1000, "each was closed once");
        assert!(run(1000, 1) < 100, "ten minutes later they may be closed again");
    }

    proptest! {
        #[test]
        fn whatever_is_ordered_the_bounds_hold(
            seasons in proptest::collection::vec((0usize..3000, 0usize..3000, 1u32..500, 0u64..200), 1..12),
        ) {
            let (mut schedule, mut now, mut closings) =
                (Schedule::default(), Duration::ZERO, Vec::new());
            let mut fastest = 0;
            for (open, ceiling, per_second, seconds) in seasons {
                fastest = fastest.max(per_second as usize);
                let (time, order) = (SECOND * u32::try_from(seconds).unwrap(), (ceiling, per_second));
                let left = follow(&mut schedule, &mut now, time, open, order, &mut closings);
                prop_assert!(left >= ceiling.min(open), "{left} of {open}, to {ceiling}");
            }
            closings.retain(|(.., closed)| *closed > 0);
            for (index, (at, ..)) in closings.iter().enumerate() {
                let lately = |span| {
                    let until_now = closings[..=index].iter().rev();
                    until_now.take_while(move |(then, ..)| *then + span > *at)
                };
                let sum = |span| lately(span).map(|(.., closed)| closed).sum::<usize>();
                prop_assert!(sum(SECOND) <= fastest);
                let most_open = lately(BUDGET_SPAN).map(|(_, open, _)| *open).max().unwrap();
                prop_assert!(sum(BUDGET_SPAN) <= most_open);
            }
        }
    }
}

//! One attempt to balance streams: from the look that has found an imbalance to its end. It ends when the imbalance is gone, or is given up
//! when it does not help: where clients are not placed at random, the streams that are closed come back to the same brokers.

use std::time::Duration;

use super::{output::GivenUp, spread::Spread};

/// Brokers close the first streams within this time.
const FIRST_MOVE_TIMEOUT: Duration = Duration::from_secs(180);
/// Brokers that have closed streams may stop for this long: in ten minutes a broker closes no more streams than it had.
const NEXT_MOVE_TIMEOUT: Duration = Duration::from_secs(720);
/// With fewer moves than this, what they gain depends on chance.
const SIGNIFICANT_MOVES: u128 = 100;
/// For how long the episode waits for brokers that do not answer, start or stop.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// An attempt to balance streams.
#[derive(Clone, Debug)]
pub(super) struct Episode {
    /// The streams that were too many at the start.
    excess: u64,
    /// The streams that had to be closed for it.
    due: u64,
    /// The streams that brokers have closed since.
    moved: u64,
    /// When the last of them was seen.
    last_move: Duration,
    last_look: Duration,
    waits_since: Option<Duration>,
}

/// How an episode goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    GoesOn,
    Done,
    GivenUp(GivenUp),
}

impl Episode {
    pub(super) fn new(now: Duration, spread: &Spread) -> Self {
        let (excess, due) = (spread.excess, spread.due);
        Self { excess, due, moved: 0, last_move: now, last_look: now, waits_since: None }
    }

    /// Streams that were closed so far.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// A look without orders. `shed` streams were closed since the last one. Returns whether it has waited too long.
    pub(super) fn wait(&mut self, now: Duration, shed: u64) -> bool {
        self.moved = self.moved.saturating_add(shed);
        self.last_move += now.saturating_sub(self.last_look);
        self.last_look = now;
        now.saturating_sub(*self.waits_since.get_or_insert(now)) > MAX_WAIT
    }

    /// A look at all brokers. `shed` streams were closed since the last one.
    pub(super) fn judge(&mut self, now: Duration, spread: &Spread, shed: u64) -> Course {
        self.moved = self.moved.saturating_add(shed);
        (self.last_look, self.waits_since) = (now, None);
        if shed > 0 {
            self.last_move = now;
        }
        if spread.over.is_empty() {
            return Course::Done;
        }
        let timeout = if self.moved == 0 { FIRST_MOVE_TIMEOUT } else { NEXT_MOVE_TIMEOUT };
        if now.saturating_sub(self.last_move) >= timeout {
            return Course::GivenUp(GivenUp::OrdersNotFollowed);
        }
        if self.is_futile(spread.excess) {
            Course::GivenUp(GivenUp::Futile)
        } else {
            Course::GoesOn
        }
    }

    /// Whether the streams that were closed have come back to the same brokers.
    fn is_futile(&self, excess: u64) -> bool {
        let [before, due, moved] = [self.excess, self.due, self.moved].map(u128::from);
        if moved >= due * 2 {
            return true;
        }
        // After three tenths of the moves, at least six tenths of what these moves have promised. With random placement it is all of it.
        let is_significant = moved * 10 >= due * 3 && moved >= SIGNIFICANT_MOVES;
        let gain = before.saturating_sub(excess.into());
        is_significant && gain * due * 10 < before * moved.min(due) * 6
    }
}

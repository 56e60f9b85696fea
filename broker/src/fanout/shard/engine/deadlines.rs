//! What time brings: heartbeats, ends of grants, and sockets that take nothing for too long.
//!
//! A subscriber has one entry for its next heartbeat or end, moved only when it fires, and one more while its socket blocks.

use eventcast_wire::closing::CloseReason;
use tokio::time::Instant;

use super::{Engine, millis};
use crate::fanout::shard::{
    Key,
    seat::{Seat, Wrote},
};

/// What a deadline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deadline {
    /// The next heartbeat, or the end of the grant.
    Beat,
    /// The socket has taken nothing for too long.
    Stall,
}

impl Engine {
    pub(super) fn deadline(&mut self, key: Key, generation: u32, deadline: Deadline, now: u64) {
        let Some(seat) = self.seats.get_mut(key as usize).filter(|s| s.generation == generation)
        else {
            return;
        };
        match deadline {
            Deadline::Stall => {
                seat.stall_armed = false;
                let Some(since) = seat.blocked else { return };
                if stalled_at(seat, since) > now {
                    return self.arm_stall(key);
                }
                seat.admission.session().close(CloseReason::Stalled);
                self.remove(key);
            }
            Deadline::Beat => {
                if seat.caught_up {
                    seat.wrote = self.lives[seat.live as usize].wrote(key, seat);
                }
                if seat.is_over(Instant::now()).is_some() {
                    self.step_out(key);
                } else if now >= beat_at(seat) {
                    self.beat(key);
                }
                if let Some(seat) = self.seats.get(key as usize) {
                    let next = next_beat(seat, now);
                    self.wheel.insert(next, (key, generation, Deadline::Beat));
                }
            }
        }
    }

    /// Says that we are still there, unless something is on its way anyway.
    fn beat(&mut self, key: Key) {
        let Some(seat) = self.seats.get_mut(key as usize) else { return };
        if seat.caught_up {
            let live = &self.lives[seat.live as usize];
            if live.owes(key, seat) {
                return;
            }
            live.settle(key, seat);
        } else if seat.ending || seat.blocked.is_some() || !seat.rest.is_empty() {
            return;
        }
        // Also of who is between two steps: its filter may hold back all of a long past.
        seat.beat();
        self.flush(key);
    }

    /// Writes what is left; false where the subscriber cannot go on now.
    pub(super) fn flush(&mut self, key: Key) -> bool {
        let Some(seat) = self.seats.get_mut(key as usize) else { return false };
        match seat.flush() {
            Wrote::All => {
                seat.wrote = millis(self.began.elapsed());
                true
            }
            Wrote::Part(_) => {
                self.block(key);
                false
            }
            Wrote::Gone => {
                self.remove(key);
                false
            }
        }
    }

    /// The socket takes no more: the subscriber waits outside of the index until it does.
    pub(super) fn block(&mut self, key: Key) {
        let now = self.now();
        let Some(seat) = self.seats.get_mut(key as usize) else { return };
        seat.blocked = Some(now);
        if seat.caught_up {
            self.lives[seat.live as usize].leave(key, seat);
        }
        self.arm_stall(key);
    }

    fn arm_stall(&mut self, key: Key) {
        let Some(seat) = self.seats.get_mut(key as usize) else { return };
        if let Some(since) = seat.blocked
            && !std::mem::replace(&mut seat.stall_armed, true)
        {
            let entry = (key, seat.generation, Deadline::Stall);
            self.wheel.insert(stalled_at(seat, since), entry);
        }
    }
}

fn beat_at(seat: &Seat) -> u64 {
    seat.wrote + millis(seat.heartbeat)
}

/// When to look at a subscriber again: its heartbeat, or the end of its grant.
pub(super) fn next_beat(seat: &Seat, now: u64) -> u64 {
    let left = seat.grant.until().map(|until| until.saturating_duration_since(Instant::now()));
    let ends = left.map_or(u64::MAX, |left| now + millis(left) + 1);
    // what is due and could not be done is looked at again soon
    beat_at(seat).max(now + 1000).min(ends.max(now + 50))
}

fn stalled_at(seat: &Seat, since: u64) -> u64 {
    since + millis(seat.admission.session().stall())
}

//! Turns: channels write in quanta, one after the other, and those who catch up read in bounded steps, so that nobody's many
//! hold up another's few.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use eventcast_wire::frame::Chunk;
use tokio::time::Instant;

use super::{Engine, millis};
use crate::fanout::{
    Step,
    shard::{
        Key,
        live::{News, Stuck},
        seat::Wrote,
    },
};

/// Sends of one channel in one turn.
const QUANTUM: usize = 64;
/// How long channels write, and those who catch up read, before the others have their turn.
const TURN: Duration = Duration::from_micros(250);
/// Readings of one subscriber in one turn.
const READINGS: usize = 4;

impl Engine {
    /// Channels write, turn by turn.
    pub(super) fn fan_out(&mut self) {
        let mut stuck = Vec::new();
        let until = Instant::now() + TURN;
        while Instant::now() < until {
            let Some(number) = self.fanning.pop_front() else { return };
            let now = self.now();
            let Some(live) = self.lives.get_mut(number as usize) else { continue };
            live.queued = false;
            if !live.in_pass() {
                let news = live.look(&mut self.seats, now);
                let waiting = std::mem::take(&mut live.waiting);
                if news == News::Dissolve {
                    self.dissolve(number);
                }
                for key in waiting {
                    if let Some(seat) = self.seats.get_mut(key as usize) {
                        seat.waits = false;
                    }
                    self.go_on(key);
                }
                if news != News::Pass {
                    continue;
                }
            }
            let Some(live) = self.lives.get_mut(number as usize) else { continue };
            live.write(&mut self.seats, QUANTUM, now, &mut stuck);
            // also after the last: more may have come meanwhile
            self.queue(number);
            for Stuck { key, gone } in stuck.drain(..) {
                if gone {
                    self.remove(key);
                } else if let Some(seat) = self.seats.get_mut(key as usize) {
                    self.lives[number as usize].forget(key, seat);
                    self.block(key);
                }
            }
        }
    }

    /// Everyone leaves the index and goes on alone; the head is where the log is now.
    fn dissolve(&mut self, number: u32) {
        let live = &mut self.lives[number as usize];
        let members = live.dissolve(&mut self.seats);
        members.into_iter().for_each(|key| self.go_on(key));
    }

    /// Those who catch up read on, each a few steps.
    pub(super) fn catch_up(&mut self) {
        let until = Instant::now() + TURN;
        for _ in 0..self.running.len() {
            let Some(key) = self.running.pop_front() else { return };
            self.read_on(key);
            if Instant::now() >= until {
                return;
            }
        }
    }

    fn read_on(&mut self, key: Key) {
        if let Some(seat) = self.seats.get_mut(key as usize) {
            seat.queued = false;
        }
        for _ in 0..READINGS {
            if !self.step(key) {
                return;
            }
        }
        self.go_on(key);
    }

    /// One reading and its writing; false where the subscriber cannot go on now.
    fn step(&mut self, key: Key) -> bool {
        let Some(seat) = self.seats.get_mut(key as usize) else { return false };
        if seat.caught_up || seat.blocked.is_some() {
            return false;
        }
        if !seat.rest.is_empty() {
            return self.flush(key);
        }
        if seat.ending {
            self.remove(key);
            return false;
        }
        if let Some(reason) = seat.is_over(Instant::now()) {
            seat.say_goodbye(reason);
            return true;
        }
        let live = &mut self.lives[seat.live as usize];
        if live.members() == 0 && !live.in_pass() {
            live.head = live.log.tail().head();
        }
        let limit = live.head.map_or(u64::MAX, |head| head.sequence);
        let waker = seat.waker.clone();
        match seat.subscriber.poll_read(&mut Context::from_waker(&waker), limit) {
            Poll::Pending => {
                if !seat.subscriber.loads() {
                    live.wait(key, seat);
                }
                false
            }
            Poll::Ready(Step::Head) => {
                if live.head.is_some_and(|head| head.is_at(&seat.subscriber.position())) {
                    live.join(key, seat);
                } else {
                    live.wait(key, seat);
                }
                false
            }
            Poll::Ready(Step::Tell(frame)) => {
                seat.rest = Chunk::of(&frame).wire().clone();
                true
            }
            Poll::Ready(Step::On) => true,
            Poll::Ready(Step::Run(run)) => {
                let slices = run.slices(seat.subscriber.filter());
                let wrote = match slices.bytes {
                    0 => Wrote::All,
                    bytes => seat.write(slices.as_slice(), bytes),
                };
                match wrote {
                    Wrote::All => {
                        if slices.bytes > 0 {
                            seat.wrote = millis(self.began.elapsed());
                        }
                        seat.subscriber.wrote(&run, slices.events);
                        true
                    }
                    Wrote::Part(n) => {
                        seat.cut(&run, n);
                        self.block(key);
                        false
                    }
                    Wrote::Gone => {
                        self.remove(key);
                        false
                    }
                }
            }
        }
    }
}

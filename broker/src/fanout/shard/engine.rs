//! The loop of one shard: readiness, messages, [`deadlines`]; then the [`turns`] of those who have something to write.

mod deadlines;
mod turns;

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::Arc,
    time::Duration,
};

use eventcast_runtime::Chain;
use eventcast_wire::closing::CloseReason;
use mio::{Events, Interest, Poll, Registry, Token, event::Event as Readiness};
use slab::Slab;
use tokio::time::Instant;

use super::{
    Key, Taken,
    inbox::{Call, Inbox, Message, Occupied, WAKE, caller},
    live::Live,
    seat::{Heard, Place, Seat},
    wheel::Wheel,
};
use crate::fanout::Subscriber;
use deadlines::{Deadline, next_beat};

/// One shard.
pub(super) struct Engine {
    inbox: Arc<Inbox>,
    seats: Slab<Box<Seat>>,
    lives: Slab<Live>,
    /// Channels by their log's address, which [`Live`] keeps alive.
    of_log: HashMap<usize, u32>,
    wheel: Wheel<(Key, u32, Deadline)>,
    /// Those who catch up and can go on.
    running: VecDeque<Key>,
    /// Channels that have something to write, or to look at.
    fanning: VecDeque<u32>,
    began: Instant,
    generation: u32,
}

impl Engine {
    pub(super) fn new(inbox: &Arc<Inbox>) -> Self {
        Self {
            inbox: Arc::clone(inbox),
            seats: Slab::new(),
            lives: Slab::new(),
            of_log: HashMap::new(),
            wheel: Wheel::new(),
            running: VecDeque::new(),
            fanning: VecDeque::new(),
            began: Instant::now(),
            generation: 0,
        }
    }

    /// Serves until it is told to stop.
    pub(super) fn run(mut self, poll: &mut Poll) -> io::Result<()> {
        let (mut ready, mut messages, mut due) =
            (Events::with_capacity(1024), Vec::new(), Vec::new());
        loop {
            let busy = !self.running.is_empty() || !self.fanning.is_empty();
            let timeout = if busy || !self.inbox.fall_asleep() {
                Some(Duration::ZERO)
            } else {
                self.wheel.next_due(self.now()).map(Duration::from_millis)
            };
            match poll.poll(&mut ready, timeout) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            ready.iter().filter(|e| e.token() != WAKE).for_each(|e| self.readiness(e));
            self.inbox.take(&mut messages);
            for message in messages.drain(..) {
                match message {
                    Message::Join(taken, occupied) => {
                        self.join(*taken, occupied, poll.registry());
                    }
                    Message::Call(Call::Seat(key, generation)) => self.woken(key, generation),
                    Message::Call(Call::Live(live, generation)) => self.news(live, generation),
                    Message::Stop => return Ok(()),
                }
            }
            let now = self.now();
            self.wheel.advance(now, |deadline| due.push(deadline));
            for (key, generation, deadline) in due.drain(..) {
                self.deadline(key, generation, deadline, now);
            }
            self.fan_out();
            self.catch_up();
        }
    }

    /// Milliseconds of this shard.
    fn now(&self) -> u64 {
        millis(self.began.elapsed())
    }

    fn join(&mut self, taken: Taken, occupied: Occupied, registry: &Registry) {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let entry = self.seats.vacant_entry();
        let index = entry.key();
        let Ok(key) = Key::try_from(index) else {
            return;
        };
        let waker = caller(&self.inbox, Call::Seat(key, generation));
        let now = millis(self.began.elapsed());
        let live = Self::live_of(
            &taken.opening.subscriber,
            &mut self.lives,
            &mut self.of_log,
            &self.inbox,
            generation,
        );
        let mut seat = Box::new(Seat::new(taken, Place { live, generation, waker, now, occupied }));
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = registry.register(&mut seat.socket, Token(index), interest) {
            tracing::warn!(error = %Chain(&error), "a shard cannot watch a socket");
            self.left(live);
            return;
        }
        seat.admission.session().waker().register(&seat.waker);
        self.wheel.insert(next_beat(&seat, now), (key, generation, Deadline::Beat));
        entry.insert(seat);
        self.go_on(key);
    }

    /// The channel of a subscriber in this shard, made for the first.
    fn live_of(
        subscriber: &Subscriber,
        lives: &mut Slab<Live>,
        of_log: &mut HashMap<usize, u32>,
        inbox: &Arc<Inbox>,
        generation: u32,
    ) -> u32 {
        let log = subscriber.log();
        let live = *of_log.entry(Arc::as_ptr(log).addr()).or_insert_with(|| {
            let entry = lives.vacant_entry();
            let number = u32::try_from(entry.key()).unwrap_or(u32::MAX);
            let waker = caller(inbox, Call::Live(number, generation));
            let mut live = Live::new(log, subscriber.metrics(), generation, waker);
            live.look(&mut Slab::new(), 0);
            entry.insert(live);
            number
        });
        lives[live as usize].seats += 1;
        live
    }

    /// A subscriber of `live` has gone; with the last the channel goes.
    fn left(&mut self, live: u32) {
        let of = &mut self.lives[live as usize];
        of.seats -= 1;
        if of.seats == 0 {
            let of = self.lives.remove(live as usize);
            self.of_log.remove(&Arc::as_ptr(&of.log).addr());
        }
    }

    fn remove(&mut self, key: Key) {
        let Some(mut seat) = self.seats.try_remove(key as usize) else { return };
        if seat.caught_up {
            self.lives[seat.live as usize].leave(key, &mut seat);
        }
        self.left(seat.live);
    }

    /// Gives a subscriber that catches up its turn.
    fn go_on(&mut self, key: Key) {
        if let Some(seat) = self.seats.get_mut(key as usize)
            && !seat.caught_up
            && seat.blocked.is_none()
            && !std::mem::replace(&mut seat.queued, true)
        {
            self.running.push_back(key);
        }
    }

    /// Takes a subscriber out of the index; from now on it goes on by itself.
    fn step_out(&mut self, key: Key) {
        let Some(seat) = self.seats.get_mut(key as usize) else { return };
        if seat.caught_up {
            self.lives[seat.live as usize].leave(key, seat);
        }
        self.go_on(key);
    }

    fn readiness(&mut self, ready: &Readiness) {
        let index = ready.token().0;
        let (Some(seat), Ok(key)) = (self.seats.get_mut(index), Key::try_from(index)) else {
            return;
        };
        if ready.is_readable() || ready.is_read_closed() {
            match seat.listen() {
                Heard::Nothing => {}
                Heard::Gone => return self.remove(key),
                Heard::TooMuch => {
                    seat.admission.session().close(CloseReason::UnexpectedInput);
                    return self.remove(key);
                }
            }
        }
        if ready.is_error() || ready.is_write_closed() {
            return self.remove(key);
        }
        if ready.is_writable() && seat.blocked.take().is_some() {
            self.go_on(key);
        }
    }

    fn woken(&mut self, key: Key, generation: u32) {
        let Some(seat) = self.seats.get(key as usize).filter(|s| s.generation == generation) else {
            return;
        };
        let session = seat.admission.session();
        session.waker().register(&seat.waker);
        if session.closing().is_some() { self.step_out(key) } else { self.go_on(key) }
    }

    fn news(&mut self, live: u32, generation: u32) {
        if self.lives.get(live as usize).is_some_and(|l| l.generation == generation) {
            self.queue(live);
        }
    }

    fn queue(&mut self, live: u32) {
        if let Some(of) = self.lives.get_mut(live as usize)
            && !std::mem::replace(&mut of.queued, true)
        {
            self.fanning.push_back(live);
        }
    }
}

/// Whole milliseconds, as the wheel counts.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

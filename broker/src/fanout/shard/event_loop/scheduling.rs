//! Scheduling: channels write in quanta, in turn, and connections that are catching up read in bounded steps, so that a busy channel
//! does not delay the others.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use super::EventLoop;
use crate::fanout::{
    Step,
    shard::{
        Key,
        channel_fanout::{LogPoll, Unwritable},
        connection::SOCKET_WRITE_COST,
        socket::WriteOutcome,
    },
};

/// The cost of the writes of one channel before the next channel has its turn: 64 writes to sockets.
const COST_PER_TURN: u32 = 64 * SOCKET_WRITE_COST;
/// How long all channels may write, and then all connections that catch up may read, in one iteration of the loop.
pub(super) const TIME_SLICE: Duration = Duration::from_micros(250);
/// Reads of one connection before the next connection has its turn.
const READS_PER_TURN: usize = 4;

impl EventLoop {
    /// Lets active channels write.
    pub(super) fn run_channels(&mut self) {
        let mut unwritable = Vec::new();
        let until = Instant::now() + TIME_SLICE;
        while Instant::now() < until {
            let Some(number) = self.active_channels.pop_front() else { return };
            let now = self.now();
            let Some(channel) = self.channels.get_mut(number as usize) else { continue };
            channel.queued = false;
            if !channel.in_pass() && self.poll_channel(number, now) != LogPoll::PassBegun {
                continue;
            }
            let Some(channel) = self.channels.get_mut(number as usize) else { continue };
            channel.write(&mut self.connections, COST_PER_TURN, now, &mut unwritable);
            // Also after the last write of a pass: the log may have advanced meanwhile.
            self.activate(number);
            for Unwritable { key, disconnected } in unwritable.drain(..) {
                if disconnected {
                    self.remove(key);
                } else if let Some(connection) = self.connections.get_mut(key as usize) {
                    self.channels[number as usize].remove(key, connection);
                    self.block(key);
                }
            }
        }
    }

    /// Polls the log of a channel and schedules the connections that waited for it.
    fn poll_channel(&mut self, number: u32, now: u64) -> LogPoll {
        let channel = &mut self.channels[number as usize];
        let polled = channel.poll_log(&mut self.connections, now);
        let mut resumed = std::mem::take(&mut channel.waiting);
        for key in &resumed {
            if let Some(connection) = self.connections.get_mut(*key as usize) {
                connection.awaits_channel = false;
            }
        }
        if polled == LogPoll::OutOfReach {
            let members = channel.remove_all(&mut self.connections);
            resumed.splice(0..0, members);
        }
        resumed.into_iter().for_each(|key| self.schedule(key));
        polled
    }

    /// Lets connections that are catching up read, a few steps each.
    pub(super) fn run_catching_up(&mut self) {
        if self.catching_up.is_empty() {
            return;
        }
        let (begin, now) = (Instant::now(), self.now());
        for _ in 0..self.catching_up.len() {
            let Some(key) = self.catching_up.pop_front() else { break };
            if let Some(connection) = self.connections.get_mut(key as usize) {
                self.arrivals.catches_up(&mut connection.last_catch_up, now);
            }
            self.catch_up(key);
            if begin.elapsed() >= TIME_SLICE {
                break;
            }
        }
        self.arrivals.worked(begin.elapsed(), now);
    }

    pub(super) fn catch_up(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key as usize) {
            connection.queued = false;
        }
        for _ in 0..READS_PER_TURN {
            if !self.step(key) {
                return;
            }
        }
        self.schedule(key);
    }

    /// Reads once and writes what was read. Returns false if the connection cannot continue now.
    fn step(&mut self, key: Key) -> bool {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(key as usize) else { return false };
        if connection.caught_up || connection.blocked_since.is_some() {
            return false;
        }
        if connection.has_unwritten() {
            return self.flush(key);
        }
        if connection.closing {
            self.remove(key);
            return false;
        }
        if let Some(reason) = connection.subscription.close_reason(Instant::now()) {
            connection.begin_close(reason);
            return true;
        }
        let channel = &mut self.channels[connection.registration.channel as usize];
        if channel.members() == 0 && !channel.in_pass() {
            channel.head = channel.log.tail().head();
        }
        let limit = channel.head.map_or(u64::MAX, |head| head.sequence);
        let waker = connection.registration.waker.clone();
        match connection.subscriber().poll_read(&mut Context::from_waker(&waker), limit) {
            Poll::Pending => {
                if !connection.subscriber().is_loading() {
                    channel.await_advance(key, connection);
                }
                false
            }
            Poll::Ready(Step::AtHead) => {
                let position = connection.subscriber().position();
                if self.arrivals.is_crowded(now) {
                    connection.queued = true;
                    self.arrivals.add(key, connection.registration.generation, now);
                } else if channel.head.is_some_and(|head| head.is_at(&position)) {
                    channel.join(key, connection);
                } else {
                    channel.await_advance(key, connection);
                }
                false
            }
            Poll::Ready(Step::Gap(frame)) => {
                connection.queue(&frame);
                true
            }
            Poll::Ready(Step::Advanced) => true,
            Poll::Ready(Step::Events(batch)) => {
                let filter = connection.subscription.subscriber.filter();
                let slices = batch.slices(filter, connection.form());
                let outcome = match slices.bytes {
                    0 => WriteOutcome::Complete,
                    bytes => connection.write(slices.as_slice(), bytes),
                };
                match outcome {
                    WriteOutcome::Complete => {
                        if slices.bytes > 0 {
                            connection.last_write = now;
                        }
                        connection.subscriber().wrote(&batch, slices.events);
                        connection.note_position();
                        true
                    }
                    WriteOutcome::Partial(written) => {
                        connection.keep_rest(&batch, written);
                        connection.note_position();
                        self.block(key);
                        false
                    }
                    WriteOutcome::Disconnected => {
                        self.remove(key);
                        false
                    }
                }
            }
        }
    }
}

//! Deadlines: heartbeats, the end of streams, and stalled sockets.
//!
//! A connection has one entry in the timer wheel for its next heartbeat or the end of its stream, replaced only when it fires, and
//! one more while its socket buffer is full.

use eventcast_wire::closing::CloseReason;
use tokio::time::Instant;

use super::{EventLoop, millis};
use crate::fanout::shard::{Key, connection::ShardConnection, socket::WriteOutcome};

/// A deadline that is not met is checked again after this many milliseconds at the earliest.
const RECHECK_DELAY: u64 = 1000;
/// As [`RECHECK_DELAY`], for the end of a stream.
const END_RECHECK_DELAY: u64 = 50;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deadline {
    /// The next heartbeat, or the end of the stream.
    Heartbeat,
    /// The socket has been blocked for too long.
    Stall,
    /// One of an HTTP/2 connection.
    Http2,
}

impl EventLoop {
    pub(super) fn on_deadline(&mut self, key: Key, generation: u32, deadline: Deadline, now: u64) {
        match deadline {
            Deadline::Stall => self.on_stall(key, generation, now),
            Deadline::Heartbeat => self.on_heartbeat(key, generation, now),
            Deadline::Http2 => self.on_http2_deadline(key, generation, now),
        }
    }

    fn on_stall(&mut self, key: Key, generation: u32, now: u64) {
        let Some(connection) = self.current(key, generation) else { return };
        connection.stall_armed = false;
        let Some(since) = connection.blocked_since else { return };
        if stall_deadline(connection, since) > now {
            return self.arm_stall(key);
        }
        connection.subscription.admission.session().close(CloseReason::Stalled);
        self.remove(key);
    }

    fn on_heartbeat(&mut self, key: Key, generation: u32, now: u64) {
        let Some(connection) = self.connections.get_mut(key as usize) else { return };
        if connection.registration.generation != generation {
            return;
        }
        if connection.caught_up {
            let channel = &self.channels[connection.registration.channel as usize];
            connection.last_write = channel.last_write(key, connection);
        }
        let clock = Instant::now();
        if connection.subscription.close_reason(clock).is_some() {
            self.leave_index(key);
        } else {
            let heartbeat = now >= heartbeat_due(connection);
            let notice = connection.subscription.is_notice_due(clock);
            if (heartbeat || notice) && self.is_between_events(key) {
                self.send_control(key, clock);
            }
        }
        if let Some(connection) = self.connections.get(key as usize) {
            let next = next_deadline(connection, now);
            self.timers.insert(next, (key, generation, Deadline::Heartbeat));
        }
    }

    /// Whether a control frame can be written now: no event is about to be written, nor a part of one.
    fn is_between_events(&mut self, key: Key) -> bool {
        let Some(connection) = self.connections.get_mut(key as usize) else { return false };
        if !connection.caught_up {
            // Also while it catches up: its filter may exclude everything for a long time.
            return !connection.closing
                && connection.blocked_since.is_none()
                && !connection.has_unwritten();
        }
        let channel = &self.channels[connection.registration.channel as usize];
        if channel.is_pending(key, connection) {
            return false;
        }
        channel.settle(key, connection);
        true
    }

    /// Sends what was posted to the stream, unless an event is being written: then it is sent at the next deadline.
    pub(super) fn send_mail(&mut self, key: Key) {
        if self.is_between_events(key) {
            self.send_control(key, Instant::now());
        }
    }

    /// Sends a notice for this stream, if one is due, else a heartbeat.
    fn send_control(&mut self, key: Key, clock: Instant) {
        let Some(connection) = self.connections.get_mut(key as usize) else { return };
        match connection.subscription.notice(clock) {
            Some(notice) => connection.queue(&notice),
            None => connection.queue_heartbeat(),
        }
        self.flush(key);
    }

    /// Writes what is left of earlier writes. Returns false if the connection cannot continue now.
    pub(super) fn flush(&mut self, key: Key) -> bool {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(key as usize) else { return false };
        match connection.flush() {
            WriteOutcome::Complete => {
                connection.last_write = now;
                true
            }
            WriteOutcome::Partial(_) => {
                self.block(key);
                false
            }
            WriteOutcome::Disconnected => {
                self.remove(key);
                false
            }
        }
    }

    /// The socket buffer is full: the connection leaves the index and waits until the socket is writable.
    pub(super) fn block(&mut self, key: Key) {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(key as usize) else { return };
        connection.blocked_since = Some(now);
        if connection.caught_up {
            self.channels[connection.registration.channel as usize].leave(key, connection);
        }
        self.arm_stall(key);
    }

    fn arm_stall(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key as usize) else { return };
        if let Some(since) = connection.blocked_since
            && !std::mem::replace(&mut connection.stall_armed, true)
        {
            let entry = (key, connection.registration.generation, Deadline::Stall);
            self.timers.insert(stall_deadline(connection, since), entry);
        }
    }
}

fn heartbeat_due(connection: &ShardConnection) -> u64 {
    connection.last_write + millis(connection.heartbeat)
}

/// When the connection needs attention next: its heartbeat, the end of its stream, or the notice of the end of its grant.
pub(super) fn next_deadline(connection: &ShardConnection, now: u64) -> u64 {
    let next = connection.subscription.next_deadline();
    let left = next.map(|next| next.saturating_duration_since(Instant::now()));
    let stream_end = left.map_or(u64::MAX, |left| now + millis(left) + 1);
    heartbeat_due(connection).max(now + RECHECK_DELAY).min(stream_end.max(now + END_RECHECK_DELAY))
}

fn stall_deadline(connection: &ShardConnection, since: u64) -> u64 {
    since + millis(connection.subscription.admission.session().stall_timeout())
}

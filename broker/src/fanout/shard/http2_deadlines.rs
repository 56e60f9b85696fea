//! The deadlines of an HTTP/2 connection: pings, the time limits of requests, and the end of the connection. Pure.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::sockets::Connection;

/// How long a connection with streams may be silent before a PING is sent, and how long the client may take to answer it.
const PING_INTERVAL: u64 = 20_000;
/// How long a connection may stay open after GOAWAY once it only waits for its client.
const GOAWAY_TIMEOUT: u64 = 2000;
/// As [`GOAWAY_TIMEOUT`], if another connection waits for the permit.
const SHORT_GOAWAY_TIMEOUT: u64 = 200;
/// How long the client may take to close its side.
const LINGER: u64 = 1000;
/// How often deadlines are checked at most.
const RECHECK_DELAY: u64 = 50;

/// What must be done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Send a PING.
    Ping,
    /// Send GOAWAY: the client must send no more requests.
    Leave,
    /// Close the sending side.
    Close,
    /// Close the socket.
    Remove,
}

/// The deadlines of a connection. Times are milliseconds of the shard.
#[derive(Debug)]
pub(crate) struct Http2Deadlines {
    /// How long a request head may take.
    head: Duration,
    /// How long it may have no request.
    idle: Duration,
    /// When the first request head must be complete, if that does not depend on when it begins.
    first_head_by: Option<Instant>,
    last_read: u64,
    pinged: bool,
    end: End,
    /// When the timer wheel fires next for it.
    armed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// GOAWAY was sent.
    Leaving {
        check_at: Option<u64>,
    },
    /// The sending side is closed.
    Lingering {
        until: Option<u64>,
    },
}

impl Http2Deadlines {
    pub(crate) fn new(head: Duration, idle: Duration, first_head_by: Option<Instant>) -> Self {
        let end = End::Open;
        Self { head, idle, first_head_by, last_read: 0, pinged: false, end, armed: u64::MAX }
    }

    /// The client has sent something.
    pub(super) fn on_read(&mut self, now: u64) {
        (self.last_read, self.pinged) = (now, false);
    }

    /// GOAWAY is sent. Returns false if it was before.
    pub(super) fn leave(&mut self) -> bool {
        let first = self.end == End::Open;
        if first {
            self.end = End::Leaving { check_at: None };
        }
        first
    }

    /// The sending side is closed.
    pub(super) fn linger(&mut self) {
        self.end = End::Lingering { until: None };
    }

    /// What is due at `now`, which is `clock`.
    pub(super) fn due(
        &mut self,
        connection: &Arc<Connection>,
        has_streams: bool,
        now: u64,
        clock: Instant,
    ) -> Due {
        match &mut self.end {
            End::Lingering { until } => {
                if now >= *until.get_or_insert(now + LINGER) {
                    return Due::Remove;
                }
            }
            End::Leaving { check_at } => {
                let wait =
                    if connection.is_evicted() { SHORT_GOAWAY_TIMEOUT } else { GOAWAY_TIMEOUT };
                if now >= *check_at.get_or_insert(now + wait) {
                    *check_at = Some(now + wait);
                    if connection.waits_for_client() {
                        return Due::Close;
                    }
                }
            }
            End::Open => {
                if self.request_deadline(connection).is_some_and(|deadline| clock >= deadline) {
                    return Due::Leave;
                }
            }
        }
        if has_streams && now >= self.ping_at() {
            if self.pinged && now >= self.last_read + 2 * PING_INTERVAL {
                return Due::Remove;
            }
            if !std::mem::replace(&mut self.pinged, true) {
                return Due::Ping;
            }
        }
        Due::Nothing
    }

    fn ping_at(&self) -> u64 {
        self.last_read + if self.pinged { 2 * PING_INTERVAL } else { PING_INTERVAL }
    }

    fn request_deadline(&self, connection: &Connection) -> Option<Instant> {
        let deadline = connection.deadline(self.head, self.idle)?;
        let first = self.first_head_by.filter(|_| !connection.had_request());
        Some(first.map_or(deadline, |first| first.min(deadline)))
    }

    /// The timer has fired.
    pub(super) fn fired(&mut self, now: u64) {
        if now >= self.armed {
            self.armed = u64::MAX;
        }
    }

    /// When the timer must fire, unless it is set for an earlier time.
    pub(super) fn arm(
        &mut self,
        connection: &Connection,
        has_streams: bool,
        now: u64,
        clock: Instant,
    ) -> Option<u64> {
        let end = match self.end {
            End::Lingering { until: Some(at) } | End::Leaving { check_at: Some(at) } => at,
            End::Lingering { until: None } | End::Leaving { check_at: None } => now,
            End::Open => self.request_deadline(connection).map_or(u64::MAX, |deadline| {
                let left = deadline.saturating_duration_since(clock).as_millis();
                now + u64::try_from(left).unwrap_or(u64::MAX / 2) + 1
            }),
        };
        let ping = if has_streams { self.ping_at() } else { u64::MAX };
        let next = end.min(ping).max(now + RECHECK_DELAY);
        (next < self.armed).then(|| {
            self.armed = next;
            next
        })
    }
}

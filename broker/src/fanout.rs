//! Events to sockets. A subscriber is a cursor on the log, a filter, a grant and a sink; nothing else, and no queue.
//!
//! [`subscriber`] reads the log for it, [`body`] is the sink that hyper polls, [`sessions`] holds the limits, the stall
//! deadline and the drain's handle on every open stream.

pub(crate) mod body;
pub(crate) mod sessions;
mod subscriber;

pub(crate) use subscriber::Subscriber;

use std::time::Duration;

/// Why a stream ended; the label of a metric and, where the client can still be told, its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum CloseReason {
    /// The client went away.
    Client = 0,
    /// The broker shuts down.
    Draining = 1,
    /// The connection has lived long enough.
    MaxAge = 2,
    /// The client does not read.
    Stalled = 3,
    /// The channel is served no more.
    ChannelRemoved = 4,
}

impl CloseReason {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Draining => "draining",
            Self::MaxAge => "max-age",
            Self::Stalled => "stalled",
            Self::ChannelRemoved => "channel-removed",
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Client, Self::Draining, Self::MaxAge, Self::Stalled, Self::ChannelRemoved]
            .into_iter()
            .find(|r| *r as u8 == code && code != 0)
    }
}

/// A number of milliseconds between half and one and a half of `ms`, within what every client obeys (R7): a herd that
/// was sent away together must not come back together.
pub(crate) fn jittered_retry(ms: u64) -> u64 {
    fastrand::u64(ms / 2..=ms + ms / 2).clamp(1000, 3_600_000)
}

/// A heartbeat's interval, give or take a fifth.
pub(crate) fn jittered_heartbeat(seconds: u64) -> Duration {
    Duration::from_millis(fastrand::u64(800 * seconds..=1200 * seconds))
}

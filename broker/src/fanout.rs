//! Events to sockets. A subscriber is a cursor on the log, a filter, a grant and a sink; nothing else, and no queue.
//!
//! [`subscriber`] reads the log for it. There are two sinks with one contract: [`shard`] writes to the sockets of HTTP/1.1
//! itself, [`body`] is what hyper polls for everything else. [`sessions`] holds the limits, the stall deadline of hyper's
//! streams and the drain's handle on every open stream.

pub(crate) mod body;
pub(crate) mod rhythm;
mod run;
pub(crate) mod sessions;
pub(crate) mod shard;
mod subscriber;

pub(crate) use rhythm::{HeartbeatStyle, Rhythm, jittered_retry};
pub(crate) use subscriber::{Step, Subscriber};

use bytes::Bytes;

use crate::access::Grant;
use sessions::Admission;

/// A stream that is about to begin: all that a sink needs.
pub(crate) struct Opening {
    pub(crate) subscriber: Subscriber,
    pub(crate) admission: Admission,
    pub(crate) grant: Grant,
    pub(crate) rhythm: Rhythm,
    /// Frames that come before the first event.
    pub(crate) first: Bytes,
}

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
    /// The client sends, where nothing is to be sent.
    Unasked = 5,
}

impl CloseReason {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Draining => "draining",
            Self::MaxAge => "max-age",
            Self::Stalled => "stalled",
            Self::ChannelRemoved => "channel-removed",
            Self::Unasked => "unasked-bytes",
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        let all = [
            Self::Client,
            Self::Draining,
            Self::MaxAge,
            Self::Stalled,
            Self::ChannelRemoved,
            Self::Unasked,
        ];
        all.into_iter().find(|r| *r as u8 == code && code != 0)
    }
}

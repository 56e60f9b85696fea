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

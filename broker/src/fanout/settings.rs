//! Settings of a stream: heartbeats, and the delay after which its client reconnects.

use std::time::Duration;

/// The form of heartbeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HeartbeatStyle {
    /// A comment.
    #[default]
    Comment,
    /// An event that a script can see.
    Event,
}

/// The settings of one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamSettings {
    pub(crate) heartbeat_seconds: u64,
    pub(crate) heartbeat: HeartbeatStyle,
    /// How long the client waits before it reconnects, in milliseconds, before jitter.
    pub(crate) retry_ms: u64,
}

impl StreamSettings {
    /// How long the stream may be silent this time: the heartbeat interval with 20 % jitter.
    pub(crate) fn heartbeat_interval(&self) -> Duration {
        Duration::from_millis(fastrand::u64(
            800 * self.heartbeat_seconds..=1200 * self.heartbeat_seconds,
        ))
    }
}

/// The reconnect delay of clients whose stream ends in a drain, in milliseconds: half of `ms`, but at least a second, plus up to a fifth. A
/// drain closes streams at an even pace and other brokers are ready, so the delay need not spread the clients, and it should be short:
/// clients receive nothing meanwhile.
pub(crate) fn drain_retry(ms: u64) -> u64 {
    let shortest = (ms / 2).max(1000);
    fastrand::u64(shortest..=shortest + shortest / 5)
}

/// A reconnect delay in milliseconds: `ms` with 50 % jitter, so that clients that were disconnected together do not reconnect
/// together. At least a second and at most an hour, which every client library accepts.
pub(crate) fn jittered_retry(ms: u64) -> u64 {
    fastrand::u64(ms / 2..=ms + ms / 2).clamp(1000, 3_600_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_a_drain_come_back_sooner_and_never_at_once() {
        for _ in 0..1000 {
            assert!((1000..=1200).contains(&drain_retry(2000)));
            assert!((1000..=3000).contains(&jittered_retry(2000)));
            assert!((30_000..=36_000).contains(&drain_retry(60_000)));
            assert!((1000..=1200).contains(&drain_retry(1000)));
            assert!((1_800_000..=2_160_000).contains(&drain_retry(3_600_000)));
        }
    }
}

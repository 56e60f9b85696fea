//! What a stream says when there are no events: heartbeats, and its last words.

use std::time::Duration;

use bytes::Bytes;
use eventcast_wire::closing::CloseReason;
use eventcast_wire::frame;

use super::Subscriber;

/// How heartbeats look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HeartbeatStyle {
    /// A comment.
    #[default]
    Comment,
    /// An event that a script can see.
    Event,
}

/// The rhythm of one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rhythm {
    pub(crate) heartbeat_seconds: u64,
    pub(crate) heartbeat: HeartbeatStyle,
    pub(crate) retry_ms: u64,
}

impl Rhythm {
    /// How long a silence may last this time: the heartbeat's interval, give or take a fifth.
    pub(crate) fn next_beat(&self) -> Duration {
        Duration::from_millis(fastrand::u64(
            800 * self.heartbeat_seconds..=1200 * self.heartbeat_seconds,
        ))
    }

    /// What to send after a silence: to a client that its filter keeps waiting, its new cursor.
    pub(crate) fn beat(&self, subscriber: &mut Subscriber) -> Bytes {
        if subscriber.untold() {
            return subscriber.tell_cursor();
        }
        match self.heartbeat {
            HeartbeatStyle::Comment => frame::HEARTBEAT,
            HeartbeatStyle::Event => frame::heartbeat(&jiff::Timestamp::now().to_string()),
        }
    }

    /// What a stream ends with. The client resumes from what it knows: what the filter held back need not be read again.
    pub(crate) fn last_words(&self, subscriber: &mut Subscriber, reason: CloseReason) -> Bytes {
        let closing = frame::closing(reason.as_str(), jittered_retry(self.retry_ms));
        if subscriber.untold() {
            return [subscriber.tell_cursor(), closing].concat().into();
        }
        closing
    }
}

/// A number of milliseconds between half and one and a half of `ms`, within what every client obeys (R7): a herd that
/// was sent away together must not come back together.
pub(crate) fn jittered_retry(ms: u64) -> u64 {
    fastrand::u64(ms / 2..=ms + ms / 2).clamp(1000, 3_600_000)
}

//! Why the tail was detached from its consumer, and how soon it is reattached.

use std::time::Duration;

/// Why the tail was detached: the label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DetachReason {
    /// The client could not subscribe.
    Subscribe,
    /// The consumer was not created in time.
    Create,
    /// NATS did not report the state of the stream in time.
    Info,
    /// The stream does not exist.
    Missing,
    /// The leader reports an older last sequence than the tail has.
    Behind,
    /// Not even a heartbeat arrived in time.
    Silence,
    /// The connection was lost.
    Connection,
    /// The consumer sequence has a hole.
    Sequence,
    /// The consumer sent an unexpected status.
    Status,
    /// The stream was recreated, or lost its newest messages.
    NewIncarnation,
    /// The connected nats-server is too old.
    TooOld,
}

impl DetachReason {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Create => "create",
            Self::Info => "info",
            Self::Missing => "stream-missing",
            Self::Behind => "leader-behind",
            Self::Silence => "silence",
            Self::Connection => "connection",
            Self::Sequence => "sequence",
            Self::Status => "status",
            Self::NewIncarnation => "new-incarnation",
            Self::TooOld => "nats-too-old",
        }
    }

    /// Whether NATS did not answer. The server may hang although its connection is up.
    pub(super) fn is_unanswered(self) -> bool {
        matches!(self, Self::Create | Self::Info)
    }

    /// How long to wait before the next attempt, with jitter.
    pub(super) fn retry_pause(self) -> Duration {
        let millis = match self {
            Self::Missing => 500,
            Self::TooOld => 5000,
            Self::Behind => 300,
            _ if self.is_unanswered() => 50,
            _ => 10,
        };
        Duration::from_millis(fastrand::u64(millis / 2 + 1..=millis))
    }
}

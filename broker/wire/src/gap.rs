//! Gaps: events that a client asked for and cannot have. Pure.

use serde::Serialize;

/// Why events are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapReason {
    /// Retention moved on.
    Expired,
    /// The log was recreated or lost its newest events.
    NewIncarnation,
    /// The cursor was not minted by a broker of this channel.
    InvalidCursor,
    /// A message in the log breaks the rules of events.
    InvalidEvent,
}

impl GapReason {
    /// The reason as clients and metrics see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NewIncarnation => "new-incarnation",
            Self::InvalidCursor => "invalid-cursor",
            Self::InvalidEvent => "invalid-event",
        }
    }
}

/// Events between two cursors that cannot be delivered. The client is always told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The cursor the client had, as it sent it.
    pub requested: String,
    /// Where delivery resumes: every event after it is still to come.
    pub resumed_at: String,
    /// How many sequences of the log are lost, where that is known.
    pub lost: Option<u64>,
    /// Why.
    pub reason: GapReason,
}

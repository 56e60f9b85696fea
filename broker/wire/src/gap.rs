//! Gaps: events that a client requested but that cannot be delivered. Pure.

use serde::Serialize;

/// Why events cannot be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapReason {
    /// The stream has deleted them.
    Expired,
    /// The stream was recreated, or lost its newest events.
    NewIncarnation,
    /// The cursor was not minted by a broker of this channel.
    InvalidCursor,
    /// A message in the log breaks the rules of events.
    InvalidEvent,
}

impl GapReason {
    /// All reasons.
    pub const ALL: [Self; 4] =
        [Self::Expired, Self::NewIncarnation, Self::InvalidCursor, Self::InvalidEvent];

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

/// Events between two cursors that cannot be delivered. Clients always receive it, as `eventcast.gap`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The cursor of the client, as it sent it.
    pub requested: String,
    /// The cursor after which delivery resumes.
    pub resumed_at: String,
    /// The number of lost sequences; `None` if it is unknown.
    pub lost: Option<u64>,
    /// Why they cannot be delivered.
    pub reason: GapReason,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_the_same_name_in_metrics_and_in_frames() {
        for reason in GapReason::ALL {
            let in_frames = serde_json::to_string(&reason).unwrap();
            assert_eq!(in_frames, format!("\"{}\"", reason.as_str()));
        }
    }
}

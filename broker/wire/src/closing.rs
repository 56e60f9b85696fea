//! The reasons for which streams are closed. Pure.

/// Why a stream was closed: the label of a metric and, if the client can still receive it, the reason in `eventcast.closing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CloseReason {
    /// The client disconnected.
    Client = 0,
    /// The broker is shutting down.
    Draining = 1,
    /// The connection reached its maximum age.
    MaxAge = 2,
    /// The client did not read for too long.
    Stalled = 3,
    /// The channel was removed from the configuration.
    ChannelRemoved = 4,
    /// The client sent more than 1 MiB on a stream that only the server writes to.
    UnexpectedInput = 5,
    /// The client's grant has ended.
    Expired = 6,
    /// The client's grant was revoked.
    Revoked = 7,
    /// The client renewed its grant, and the new one does not cover the stream.
    GrantChanged = 8,
    /// The broker has more streams than others, and the operator asked it to close some.
    Rebalance = 9,
    /// The channel is moving to other brokers.
    Moving = 10,
    /// An administrator has closed the stream. The client may reconnect.
    Disconnected = 11,
}

impl CloseReason {
    /// All reasons, in the order of their codes.
    pub const ALL: [Self; 12] = [
        Self::Client,
        Self::Draining,
        Self::MaxAge,
        Self::Stalled,
        Self::ChannelRemoved,
        Self::UnexpectedInput,
        Self::Expired,
        Self::Revoked,
        Self::GrantChanged,
        Self::Rebalance,
        Self::Moving,
        Self::Disconnected,
    ];

    /// The reason as clients and metrics see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Draining => "draining",
            Self::MaxAge => "max-age",
            Self::Stalled => "stalled",
            Self::ChannelRemoved => "channel-removed",
            Self::UnexpectedInput => "unexpected-input",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::GrantChanged => "grant-changed",
            Self::Rebalance => "rebalance",
            Self::Moving => "moving",
            Self::Disconnected => "disconnected",
        }
    }

    /// The reason with this `code` (`reason as u8`), except [`CloseReason::Client`]: only the server's own reasons are passed as
    /// codes.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == code && *reason != Self::Client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_name_of_its_own_and_is_found_by_its_code() {
        for (code, reason) in CloseReason::ALL.into_iter().enumerate() {
            let same = CloseReason::ALL.iter().filter(|other| other.as_str() == reason.as_str());
            assert_eq!(same.count(), 1, "{reason:?}");
            assert_eq!(reason as usize, code, "{reason:?}");
            let found = CloseReason::from_code(reason as u8);
            assert_eq!(found, Some(reason).filter(|reason| *reason != CloseReason::Client));
        }
        assert_eq!(CloseReason::from_code(u8::MAX), None);
        assert_eq!(CloseReason::MaxAge.as_str(), "max-age");
    }
}

//! Why the broker ends a stream. Pure.

/// Why a stream ended: the label of a metric and, where the client can still be told, the reason in `eventcast.closing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CloseReason {
    /// The client disconnected.
    Client = 0,
    /// The broker is shutting down.
    Draining = 1,
    /// The connection reached its maximum age.
    MaxAge = 2,
    /// The client does not read.
    Stalled = 3,
    /// The channel was removed from the configuration.
    ChannelRemoved = 4,
    /// The client sent more than a little on a stream that only the server writes to.
    UnexpectedInput = 5,
}

impl CloseReason {
    const ALL: [Self; 6] = [
        Self::Client,
        Self::Draining,
        Self::MaxAge,
        Self::Stalled,
        Self::ChannelRemoved,
        Self::UnexpectedInput,
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
        }
    }

    /// The reason of the server's own with this `code` (`reason as u8`).
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == code && *reason != Self::Client)
    }
}

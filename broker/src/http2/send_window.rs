//! How much we may send: the sending side of flow control (RFC 9113, sections 5.2 and 6.9). Pure.

use h2::frame::DEFAULT_INITIAL_WINDOW_SIZE;

/// The greatest window.
const MAX: i64 = (1 << 31) - 1;

/// The client has opened a window beyond the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow;

/// The window of one stream, or of the connection. Negative after the client has lowered the initial window.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendWindow(i64);

impl SendWindow {
    /// The initial window of a connection, and of streams before the client has changed it.
    pub(super) fn new() -> Self {
        Self(DEFAULT_INITIAL_WINDOW_SIZE.into())
    }

    /// A window of `bytes`.
    pub(super) fn of(bytes: u32) -> Self {
        Self(bytes.into())
    }

    /// How many bytes may be sent.
    pub(super) fn available(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// `bytes` are sent: no more than are available.
    pub(super) fn take(&mut self, bytes: usize) {
        self.0 -= i64::try_from(bytes).unwrap_or(i64::MAX);
    }

    /// The client has opened it by `bytes`.
    pub(super) fn open(&mut self, bytes: u32) -> Result<(), Overflow> {
        self.change(bytes.into())
    }

    /// The client has changed the initial window from `before`.
    pub(super) fn change_initial(&mut self, before: Self, now: Self) -> Result<(), Overflow> {
        self.change(now.0 - before.0)
    }

    fn change(&mut self, bytes: i64) -> Result<(), Overflow> {
        self.0 += bytes;
        if self.0 > MAX { Err(Overflow) } else { Ok(()) }
    }
}

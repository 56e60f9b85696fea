//! Why a command ends without success.

use std::io;

/// The command failed, or what it was asked for is not complete.
pub(crate) const EXIT_FAILED: u8 = 1;
/// The command line is invalid (sysexits.h, `EX_USAGE`).
pub(crate) const EXIT_USAGE: u8 = 64;

/// Why a command ends without success. The message says what to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The command line is invalid.
    Usage(String),
    /// Anything else.
    Failed(String),
    /// Nobody reads standard output any more, as in `eventcast sub demo | head`. Not an error.
    OutputClosed,
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Usage(message) | Self::Failed(message) => message,
            Self::OutputClosed => "no output",
        }
    }

    /// Standard output cannot be written.
    pub(crate) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(format!("cannot write the output: {error}")),
        }
    }
}

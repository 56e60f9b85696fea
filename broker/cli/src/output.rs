//! Standard output and standard error.

use std::io::{self, Write as _};

use crate::failure::Failure;

/// Writes `text` to standard output at once: a pipe must not hold back a live event.
///
/// # Errors
/// Nobody reads it, or it cannot be written.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::output(&error))
}

/// Writes a line to standard error.
pub(crate) fn note(line: &str) {
    // There is no other place to report it to.
    drop(writeln!(io::stderr(), "{line}"));
}

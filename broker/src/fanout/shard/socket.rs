//! Writing to and reading from a non-blocking socket, and the outcomes.

use std::io::{ErrorKind, IoSlice, Read, Write};

use mio::net::TcpStream;

/// The outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteOutcome {
    /// Everything was written.
    Complete,
    /// The socket buffer is full, after this many bytes. With TLS these may be all of them, if the rest of the last record is kept.
    Partial(usize),
    /// The client has disconnected.
    Disconnected,
}

/// The kind of input that a client has sent after its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientInput {
    /// Nothing, or no more than is allowed.
    Acceptable,
    /// It closed, reset or half-closed the connection.
    Disconnected,
    /// More than is allowed.
    TooMuch,
}

/// Writes `slices` of `bytes` in all, in one call.
pub(super) fn write(socket: &mut TcpStream, slices: &[IoSlice<'_>], bytes: usize) -> WriteOutcome {
    loop {
        let wrote = match slices {
            [one] => socket.write(one),
            many => socket.write_vectored(many),
        };
        return match wrote {
            Ok(n) if n == bytes => WriteOutcome::Complete,
            Ok(0) => WriteOutcome::Disconnected,
            Ok(n) => WriteOutcome::Partial(n),
            Err(e) if e.kind() == ErrorKind::WouldBlock => WriteOutcome::Partial(0),
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(_) => WriteOutcome::Disconnected,
        };
    }
}

/// Reads all that there is. `accept` decides on each part of it.
pub(super) fn read(
    socket: &mut TcpStream,
    mut accept: impl FnMut(&[u8]) -> ClientInput,
) -> ClientInput {
    let mut buffer = [0; 16 << 10];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return ClientInput::Disconnected,
            Ok(n) => match accept(&buffer[..n]) {
                ClientInput::Acceptable => {}
                other => return other,
            },
            Err(e) if e.kind() == ErrorKind::WouldBlock => return ClientInput::Acceptable,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return ClientInput::Disconnected,
        }
    }
}

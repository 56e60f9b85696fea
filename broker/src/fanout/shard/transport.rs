//! The transport of a stream: its own socket, for HTTP/1.1, or an HTTP/2 connection that it shares with others.

use std::{cell::RefCell, io::IoSlice, rc::Rc};

use eventcast_wire::frame::Form;
use mio::net::TcpStream;

use super::{
    http2_connection::Http2Connection,
    socket::{self, ClientInput, WriteOutcome},
    tls_socket::TlsSocket,
};
use crate::sockets::ConnectionGuard;

/// The most bytes that a client of HTTP/1.1 may send after its request. They are discarded.
const MAX_INPUT_BYTES: usize = 1 << 20;

/// The transport of a stream.
pub(super) enum Transport {
    Socket(Socket),
    Http2(Http2Stream),
}

/// A socket with one stream.
pub(super) struct Socket {
    pub(super) tcp: TcpStream,
    tls: Option<Box<TlsSocket>>,
    input_bytes: usize,
    _guard: ConnectionGuard,
}

/// A stream of an HTTP/2 connection. Dropping it resets the stream, if it has not ended.
pub(super) struct Http2Stream {
    connection: Rc<RefCell<Http2Connection>>,
    id: u32,
}

impl Transport {
    /// The form in which frames are written to it.
    pub(super) fn form(&self) -> Form {
        match self {
            Self::Socket(_) => Form::Chunk,
            Self::Http2(_) => Form::Frame,
        }
    }

    /// Writes `slices` of `bytes` in all. Nothing may be left of an earlier write.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>], bytes: usize) -> WriteOutcome {
        match self {
            Self::Socket(socket) => socket.write(slices, bytes),
            Self::Http2(stream) => stream.connection.borrow_mut().write(stream.id, slices, bytes),
        }
    }

    /// Whether there are encrypted bytes to write, such as an answer of TLS.
    pub(super) fn has_unsent(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.tls.as_ref().is_some_and(|tls| tls.has_unsent()),
            Self::Http2(_) => false,
        }
    }

    /// Writes encrypted bytes that are left.
    pub(super) fn flush(&mut self) -> WriteOutcome {
        match self {
            Self::Socket(Socket { tcp, tls: Some(tls), .. }) => tls.flush(tcp),
            Self::Socket(_) | Self::Http2(_) => WriteOutcome::Complete,
        }
    }

    /// Ends the stream after what was written.
    pub(super) fn end(&mut self) -> WriteOutcome {
        match self {
            Self::Socket(Socket { tcp, tls: Some(tls), .. }) => {
                tls.close_notify();
                tls.flush(tcp)
            }
            Self::Socket(_) => WriteOutcome::Complete,
            Self::Http2(stream) => {
                stream.connection.borrow_mut().finish(stream.id);
                WriteOutcome::Complete
            }
        }
    }
}

impl Socket {
    pub(super) fn new(tcp: TcpStream, tls: Option<Box<TlsSocket>>, guard: ConnectionGuard) -> Self {
        Self { tcp, tls, input_bytes: 0, _guard: guard }
    }

    fn write(&mut self, slices: &[IoSlice<'_>], bytes: usize) -> WriteOutcome {
        match &mut self.tls {
            None => socket::write(&mut self.tcp, slices, bytes),
            Some(tls) => tls.write(&mut self.tcp, slices, bytes),
        }
    }

    /// Reads and discards what the client sends.
    pub(super) fn discard_input(&mut self) -> ClientInput {
        let Self { tcp, tls, input_bytes, .. } = self;
        let input = socket::read(tcp, |bytes| {
            *input_bytes += bytes.len();
            match tls {
                _ if *input_bytes > MAX_INPUT_BYTES => ClientInput::TooMuch,
                None => ClientInput::Acceptable,
                Some(tls) => tls.receive(bytes, |_| {}),
            }
        });
        if let (ClientInput::Disconnected, Some(tls)) = (input, tls) {
            tls.flush(tcp); // a TLS alert, if the client still reads
        }
        input
    }
}

impl Http2Stream {
    pub(super) fn new(connection: &Rc<RefCell<Http2Connection>>, id: u32) -> Self {
        Self { connection: Rc::clone(connection), id }
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        self.connection.borrow_mut().cancel(self.id);
    }
}

//! The byte stream below HTTP, and observers of what passes through it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// What carries a connection.
pub(super) enum Transport {
    /// TCP without TLS.
    Plain(TcpStream),
}

impl Transport {
    /// The socket, for a shard or a lingering close.
    pub(super) fn into_socket(self) -> TcpStream {
        match self {
            Self::Plain(socket) => socket,
        }
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        match self {
            Self::Plain(socket) => Pin::new(socket),
        }
    }
}

/// Sees what a connection reads and writes.
pub(super) trait Observer: Unpin {
    /// `bytes` were read. Never empty.
    fn on_read(&mut self, bytes: &[u8]);

    /// hyper writes bytes that begin with `first`. Returns true if they must be dropped, because
    /// [`replacement`](Self::replacement) is written instead.
    fn on_write(&mut self, first: &[u8]) -> bool {
        _ = first;
        false
    }

    /// What is left of the replacement.
    fn replacement(&mut self) -> Option<&mut Bytes> {
        None
    }

    /// Everything was flushed.
    fn on_flushed(&mut self) {}
}

/// A transport and its observer.
pub(super) struct Observed<O> {
    pub(super) transport: Transport,
    pub(super) observer: O,
}

impl<O: Observer> AsyncRead for Observed<O> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = self.transport.stream().poll_read(cx, buf);
        let bytes = &buf.filled()[before..];
        if !bytes.is_empty() {
            self.observer.on_read(bytes);
        }
        read
    }
}

impl<O: Observer> AsyncWrite for Observed<O> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.observer.on_write(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        self.transport.stream().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.observer.on_write(bufs.first().map_or(&[], |b| b)) {
            return Poll::Ready(Ok(bufs.iter().map(|b| b.len()).sum()));
        }
        self.transport.stream().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { transport, observer } = &mut *self;
        while let Some(rest) = observer.replacement().filter(|rest| rest.has_remaining()) {
            let written = ready!(transport.stream().poll_write(cx, rest))?;
            rest.advance(written);
        }
        ready!(transport.stream().poll_flush(cx))?;
        observer.on_flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.stream().poll_shutdown(cx)
    }
}

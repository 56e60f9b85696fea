//! A socket of HTTP/1.1 that knows what hyper does with it: whether a head has begun to come, whether an answer has gone, and when
//! hyper itself refuses a head, for which we have better words.
//!
//! hyper flushes when it has written all it has, and has an answer whole, but for a stream's, before it writes the first byte. So an
//! answer has gone with the first flush after it was given; and what hyper writes while no request is under way is its own refusal.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::refusal;
use crate::sockets::{Connection, Phase};

/// What the service knows and the wire needs, and the other way.
#[derive(Default)]
pub(super) struct Progress {
    /// hyper has written all it had: nothing is lost if the socket is taken now.
    pub(super) flushed: AtomicBool,
    /// The service has given its answer to hyper.
    pub(super) answered: AtomicBool,
}

pub(super) struct Wire {
    socket: TcpStream,
    connection: Arc<Connection>,
    progress: Arc<Progress>,
    /// Written instead of hyper's own refusal.
    refusal: Option<Bytes>,
}

impl Wire {
    pub(super) fn new(
        socket: TcpStream,
        connection: Arc<Connection>,
        progress: Arc<Progress>,
    ) -> Self {
        progress.flushed.store(true, Relaxed);
        Self { socket, connection, progress, refusal: None }
    }

    pub(super) fn into_inner(self) -> TcpStream {
        self.socket
    }

    /// Whether hyper writes without having been given an answer; then what it wrote is replaced.
    fn refuses(&mut self, first: &[u8]) -> bool {
        let unasked = !self.connection.has_requests() && first.starts_with(b"HTTP/1.1 4");
        if self.refusal.is_none() && unasked {
            let status = first.get(9..12).and_then(|s| str::from_utf8(s).ok()?.parse().ok());
            self.refusal = Some(refusal::of_head(status.unwrap_or(400)));
        }
        self.refusal.is_some()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        // Empty lines before a request are no part of it (RFC 9112, section 2.2).
        let begun = buf.filled()[before..].iter().any(|b| !b"\r\n".contains(b));
        if begun && !self.connection.has_requests() {
            self.connection.head_began();
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.progress.flushed.store(false, Relaxed);
        if self.refuses(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.progress.flushed.store(false, Relaxed);
        if self.refuses(bufs.first().map_or(&[], |b| b)) {
            return Poll::Ready(Ok(bufs.iter().map(|b| b.len()).sum()));
        }
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while let Some(rest) = this.refusal.as_mut().filter(|r| r.has_remaining()) {
            let wrote = ready!(Pin::new(&mut this.socket).poll_write(cx, rest))?;
            rest.advance(wrote);
        }
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.progress.flushed.store(true, Relaxed);
            let streams = self.connection.phase() == Phase::Streaming;
            if !streams && self.progress.answered.swap(false, Relaxed) {
                self.connection.request_ended(true);
            }
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

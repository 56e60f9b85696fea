//! A TLS connection with its socket, for hyper.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::{CertificateError, Error, ServerConfig, pki_types::CertificateDer};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
};

use super::session::{MAX_RECORD, Received, Session, SessionError};

/// Bytes that are read from a socket at a time.
const READ_BYTES: usize = 16 << 10;

/// A TLS connection whose handshake is complete.
pub(crate) struct TlsStream {
    socket: TcpStream,
    session: Session,
    /// Decrypted bytes, of which the first `read` were read.
    plaintext: Vec<u8>,
    read: usize,
    /// Encrypted bytes, of which the first `written` were written.
    encrypted: Vec<u8>,
    written: usize,
    /// Whether the client has closed its side.
    ended: bool,
    close_notified: bool,
}

/// A connection without its socket.
pub(crate) struct TlsState {
    pub(crate) session: Session,
    /// Encrypted bytes that must be written before anything else.
    pub(crate) unsent: Vec<u8>,
    /// Decrypted bytes that were not read.
    pub(crate) plaintext: Vec<u8>,
    /// Whether the client has closed its side.
    pub(crate) ended: bool,
}

impl TlsStream {
    /// Completes the handshake. `on_answer` is called once the client's first message was answered.
    ///
    /// # Errors
    /// If TLS has an alert for the reason, it was sent to the client.
    pub(crate) async fn accept(
        mut socket: TcpStream,
        config: Arc<ServerConfig>,
        on_answer: impl FnOnce(),
    ) -> Result<Self, AcceptError> {
        let mut session = match Session::new(config) {
            Ok(session) => session,
            Err(error) => return Err(AcceptError::Session(error, socket)),
        };
        let (mut plaintext, mut out) = (Vec::new(), Vec::new());
        let mut on_answer = Some(on_answer);
        let mut ended = false;
        while session.is_handshaking() {
            socket.readable().await?;
            let received = {
                let mut bytes = [0; READ_BYTES];
                match socket.try_read(&mut bytes) {
                    Ok(0) => return Err(AcceptError::Ended),
                    Ok(n) => session
                        .receive(&bytes[..n], &mut out, |data| plaintext.extend_from_slice(data)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(error.into()),
                }
            };
            if !out.is_empty() {
                socket.write_all(&out).await?;
                out.clear();
                on_answer.take().into_iter().for_each(|on_answer| on_answer());
            }
            ended = match received {
                Ok(received) => received == Received::Closed,
                Err(error) => return Err(AcceptError::Session(error, socket)),
            };
        }
        Ok(Self {
            socket,
            session,
            plaintext,
            read: 0,
            encrypted: Vec::new(),
            written: 0,
            ended,
            close_notified: false,
        })
    }

    /// Whether the client and we have agreed on HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.session.is_http2()
    }

    /// Whether it resumes an earlier session.
    pub(crate) fn is_resumed(&self) -> bool {
        self.session.is_resumed()
    }

    /// The certificate that the client has presented and its intermediates; empty if it has presented none.
    pub(crate) fn client_chain(&self) -> &[CertificateDer<'static>] {
        self.session.client_chain()
    }

    /// Takes the connection apart.
    pub(crate) fn into_parts(mut self) -> (TcpStream, TlsState) {
        self.encrypted.drain(..self.written);
        self.plaintext.drain(..self.read);
        let Self { socket, session, encrypted: unsent, plaintext, ended, .. } = self;
        (socket, TlsState { session, unsent, plaintext, ended })
    }

    /// Writes encrypted bytes until none are left.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.encrypted.len() {
            let rest = &self.encrypted[self.written..];
            match ready!(Pin::new(&mut self.socket).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        (self.encrypted, self.written) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Encrypts a record and begins to write it. Nothing may be left of an earlier one.
    fn write_record(&mut self, cx: &mut Context<'_>, plaintext: &[u8]) -> Poll<io::Result<usize>> {
        self.session.seal(plaintext, &mut self.encrypted).map_err(io::Error::other)?;
        if let Poll::Ready(Err(error)) = self.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(plaintext.len()))
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.read < this.plaintext.len() {
                let rest = &this.plaintext[this.read..];
                let taken = rest.len().min(buf.remaining());
                buf.put_slice(&rest[..taken]);
                this.read += taken;
                if this.read == this.plaintext.len() {
                    (this.plaintext, this.read) = (Vec::new(), 0);
                }
                return Poll::Ready(Ok(()));
            }
            if this.ended || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let mut bytes = [0; READ_BYTES];
            let mut bytes = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.socket).poll_read(cx, &mut bytes))?;
            if bytes.filled().is_empty() {
                // Many clients close without `close_notify`. That is safe here: HTTP messages show whether they are complete.
                this.ended = true;
                continue;
            }
            let (session, plaintext) = (&mut this.session, &mut this.plaintext);
            let received = session.receive(bytes.filled(), &mut this.encrypted, |data| {
                plaintext.extend_from_slice(data);
            });
            // Alerts and answers to key updates. What cannot be written now is written with the next record.
            if let Poll::Ready(Err(error)) = this.poll_drain(cx) {
                return Poll::Ready(Err(error));
            }
            this.ended = received.map_err(io::Error::other)? == Received::Closed;
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(cx))?;
        self.write_record(cx, &buf[..buf.len().min(MAX_RECORD)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(cx))?;
        let mut filled = bufs.iter().filter(|buf| !buf.is_empty());
        match (filled.next(), filled.next()) {
            (None, _) => Poll::Ready(Ok(0)),
            (Some(only), None) => self.write_record(cx, &only[..only.len().min(MAX_RECORD)]),
            // Several slices share a record: an HTTP/2 frame has its header in a separate slice, too small for its own record.
            _ => {
                let bytes: usize = bufs.iter().map(|buf| buf.len()).sum();
                let mut record = Vec::with_capacity(bytes.min(MAX_RECORD));
                for buf in bufs {
                    let room = MAX_RECORD - record.len();
                    record.extend_from_slice(&buf[..buf.len().min(room)]);
                }
                self.write_record(cx, &record)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.close_notified {
            this.close_notified = true;
            // A session that has failed has sent an alert instead.
            if let Err(error) = this.session.close_notify(&mut this.encrypted) {
                tracing::trace!(%error, "closing a connection without close_notify");
            }
        }
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}

/// A handshake that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcceptError {
    /// With the socket, because the client may not have read the alert yet.
    #[error("{0}")]
    Session(SessionError, TcpStream),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the client closed the connection")]
    Ended,
}

impl AcceptError {
    /// The check that the client certificate has failed, if that is the reason: the label of metrics and log lines.
    pub(crate) fn refused_certificate(&self) -> Option<&'static str> {
        use CertificateError::{
            Expired, ExpiredContext, InvalidPurpose, InvalidPurposeContext, NotValidYet,
            NotValidYetContext, UnknownIssuer,
        };
        let Self::Session(SessionError::Tls(Error::InvalidCertificate(error)), _) = self else {
            return None;
        };
        Some(match error {
            Expired | ExpiredContext { .. } => "certificate-expired",
            NotValidYet | NotValidYetContext { .. } => "certificate-not-yet-valid",
            UnknownIssuer => "certificate-authority",
            InvalidPurpose | InvalidPurposeContext { .. } => "certificate-purpose",
            _ => "certificate-invalid",
        })
    }
}

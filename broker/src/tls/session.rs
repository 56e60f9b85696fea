//! The state of one TLS connection, without its socket: bytes in, bytes out.
//!
//! Records must be sent in the order in which they are encrypted, so every method *appends* to the bytes that its caller has not sent
//! yet.

use std::{fmt, sync::Arc};

use rustls::{
    Error, HandshakeKind, ServerConfig,
    pki_types::CertificateDer,
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{
        ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
    },
};

/// The most plaintext of one record (RFC 8446, section 5.1).
pub(crate) const MAX_RECORD: usize = 16 << 10;
/// The most bytes that a cipher suite adds to a record, including its header.
const RECORD_OVERHEAD: usize = 64;
/// The most received bytes that wait for the rest of their record or handshake message.
const MAX_INCOMPLETE: usize = MAX_RECORD + 2048;

/// Whether the client may send more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// It may.
    Open,
    /// It has sent `close_notify`.
    Closed,
}

/// Why a connection cannot continue.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error(transparent)]
    Tls(#[from] Error),
    #[error("the client sent a message of more than {MAX_INCOMPLETE} bytes")]
    TooLong,
    #[error("the keys of the connection are used up")]
    KeysUsedUp,
    #[error("the handshake is not complete")]
    Handshaking,
    #[error("it has failed before")]
    Failed,
}

/// A TLS connection.
pub(crate) struct Session {
    connection: UnbufferedServerConnection,
    /// Received bytes of an incomplete record or handshake message.
    incomplete: Vec<u8>,
    failed: bool,
}

impl fmt::Debug for Session {
    /// Without keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

impl Session {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, SessionError> {
        let connection = UnbufferedServerConnection::new(config)?;
        Ok(Self { connection, incomplete: Vec::new(), failed: false })
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the client and we have agreed on HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.connection.alpn_protocol() == Some(b"h2")
    }

    /// Whether it resumes an earlier session.
    pub(crate) fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The certificate that the client has presented and its intermediates; empty if it has presented none.
    pub(crate) fn client_chain(&self) -> &[CertificateDer<'static>] {
        self.connection.peer_certificates().unwrap_or_default()
    }

    /// Processes the bytes that the client has sent: passes the decrypted data to `on_data`, and appends to `out` what must be sent in
    /// return. After an error that is an alert with the reason.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        mut on_data: impl FnMut(&[u8]),
    ) -> Result<Received, SessionError> {
        self.incomplete.extend_from_slice(bytes);
        let mut processed = 0;
        let received = loop {
            let incoming = &mut self.incomplete[processed..];
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(incoming);
            let received = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        on_data(record.payload);
                    }
                    None
                }
                Ok(ConnectionState::ReadEarlyData(_)) => None, // never accepted
                Ok(ConnectionState::EncodeTlsData(message)) => {
                    encode(message, out)?;
                    None
                }
                Ok(ConnectionState::TransmitTlsData(message)) => {
                    message.done();
                    None
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Some(Received::Closed),
                Ok(_) => Some(Received::Open),
                Err(error) => {
                    self.failed = true;
                    self.alert(out)?;
                    return Err(error.into());
                }
            };
            processed += discard;
            if let Some(received) = received {
                break received;
            }
        };
        self.incomplete.drain(..processed);
        match self.incomplete.len() {
            0 => self.incomplete = Vec::new(), // an idle connection keeps no buffer
            MAX_INCOMPLETE.. => return Err(SessionError::TooLong),
            _ => {}
        }
        Ok(received)
    }

    /// Appends the alert that tells the client why the connection has failed. Must not process a message: rustls reports an error only
    /// once.
    fn alert(&mut self, out: &mut Vec<u8>) -> Result<(), SessionError> {
        while self.connection.wants_write() {
            match self.connection.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(message)) => encode(message, out)?,
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Encrypts `plaintext`, at most [`MAX_RECORD`] bytes, as one record.
    pub(crate) fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), SessionError> {
        self.append(plaintext.len(), out, |traffic, free| traffic.encrypt(plaintext, free))
    }

    /// Appends `close_notify`: nothing more follows.
    pub(crate) fn close_notify(&mut self, out: &mut Vec<u8>) -> Result<(), SessionError> {
        self.append(0, out, |traffic, free| traffic.queue_close_notify(free))
    }

    /// Appends the output of `encrypt` for about `bytes` of plaintext, after what rustls itself must send.
    fn append(
        &mut self,
        bytes: usize,
        out: &mut Vec<u8>,
        mut encrypt: impl FnMut(&mut Traffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), SessionError> {
        if self.failed {
            return Err(SessionError::Failed);
        }
        let mut room = bytes + RECORD_OVERHEAD;
        loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut self.incomplete);
            match state? {
                ConnectionState::EncodeTlsData(message) => encode(message, out)?,
                ConnectionState::TransmitTlsData(message) => message.done(),
                ConnectionState::PeerClosed => {}
                ConnectionState::WriteTraffic(mut traffic) => {
                    let start = out.len();
                    out.resize(start + room, 0);
                    let encrypted = encrypt(&mut traffic, &mut out[start..]);
                    out.truncate(start + *encrypted.as_ref().unwrap_or(&0));
                    match encrypted {
                        Ok(_) => return Ok(()),
                        Err(EncryptError::InsufficientSize(e)) => room = e.required_size,
                        Err(EncryptError::EncryptExhausted) => {
                            return Err(SessionError::KeysUsedUp);
                        }
                    }
                }
                // `receive` leaves no whole record.
                _ => return Err(SessionError::Handshaking),
            }
            self.incomplete.drain(..discard);
        }
    }
}

type Traffic<'a> = WriteTraffic<'a, ServerConnectionData>;

/// Appends a message that rustls has prepared.
fn encode(
    mut message: EncodeTlsData<'_, ServerConnectionData>,
    out: &mut Vec<u8>,
) -> Result<(), SessionError> {
    let start = out.len();
    loop {
        match message.encode(&mut out[start..]) {
            Ok(bytes) => {
                out.truncate(start + bytes);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(e)) => out.resize(start + e.required_size, 0),
            Err(EncodeError::AlreadyEncoded) => return Ok(()),
        }
    }
}

//! TLS of a reader: its handshake, and its bytes.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use eventcast_tests::tls::client_config;
use rustls::{ClientConfig, ClientConnection};

/// A configuration for all readers, which speak `protocol` (as ALPN names it).
pub(super) fn config(protocol: &str) -> Arc<ClientConfig> {
    Arc::new(client_config(&[protocol]))
}

/// Completes the handshake over a socket that blocks, and sends the request.
pub(super) fn connect(
    config: &Arc<ClientConfig>,
    socket: &mut TcpStream,
    request: &[u8],
) -> Result<Box<ClientConnection>> {
    let name = "localhost".try_into()?;
    let mut session = Box::new(ClientConnection::new(Arc::clone(config), name)?);
    session.writer().write_all(request)?;
    while session.is_handshaking() || session.wants_write() {
        session.complete_io(socket).context("a handshake failed")?;
    }
    Ok(session)
}

/// Sends `bytes`.
pub(super) fn send(
    session: &mut ClientConnection,
    mut socket: &TcpStream,
    bytes: &[u8],
) -> Result<()> {
    session.writer().write_all(bytes)?;
    while session.wants_write() {
        session.write_tls(&mut socket)?;
    }
    Ok(())
}

/// What `bytes` decrypt to.
pub(super) fn decrypt(session: &mut ClientConnection, mut bytes: &[u8]) -> Result<Vec<u8>> {
    let mut plaintext = Vec::new();
    while !bytes.is_empty() {
        session.read_tls(&mut bytes)?;
        session.process_new_packets()?;
        match session.reader().read_to_end(&mut plaintext) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(plaintext)
}

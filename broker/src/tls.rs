//! TLS of the public listener, over the *unbuffered* API of rustls: the state of a connection has no buffers, so that an idle
//! subscriber costs little, and a shard can encrypt into its own memory (docs/adr/0017).
//!
//! [`certificates`] watches the files, [`key_pair`] and [`authorities`] check their contents, [`session`] is the state of one connection
//! without its socket, [`stream`] adds the socket, for hyper, and [`client_certificate`] is the certificate that a client has presented.

mod authorities;
mod certificates;
mod client_certificate;
mod key_pair;
mod session;
mod stream;
mod x509;

pub(crate) use certificates::Certificates;
pub(crate) use client_certificate::ClientCertificate;
pub(crate) use session::{MAX_RECORD, Received, Session};
pub(crate) use stream::{AcceptError, TlsState, TlsStream};

use std::{path::Path, time::SystemTime};

use eventcast_crds::config;

/// A fatal alert `internal_error` (RFC 8446, section 6), unencrypted: for a client for which there is no certificate or no connection.
pub(crate) const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 80];

/// Reads the files of `tls` once. Returns one message per problem.
pub(crate) async fn check(tls: &config::Tls) -> Vec<String> {
    let read = async |path: &Path, key: &str| {
        let content = tokio::fs::read(path).await;
        content.map_err(|e| format!("tls.{key}: failed to read {}: {e}", path.display()))
    };
    let mut problems = match (
        read(&tls.certificate_file, "certificateFile").await,
        read(&tls.key_file, "keyFile").await,
    ) {
        (Ok(chain), Ok(key)) => match key_pair::KeyPair::parse(&chain, &key) {
            Ok(pair) if pair.has_expired(SystemTime::now()) => {
                vec![format!("tls.certificateFile: the certificate expired at {}", pair.expires())]
            }
            Ok(_) => Vec::new(),
            Err(error) => vec![format!("tls: {error}")],
        },
        (chain, key) => [chain.err(), key.err()].into_iter().flatten().collect(),
    };
    if let Some(file) = &tls.client_ca_file {
        let parsed = read(file, "clientCaFile").await.and_then(|pem| {
            authorities::parse(&pem).map_err(|error| format!("tls.clientCaFile: {error}"))
        });
        problems.extend(parsed.err());
    }
    problems
}

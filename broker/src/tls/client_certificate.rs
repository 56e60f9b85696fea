//! A client certificate, verified in the handshake of its connection.

use std::{fmt, sync::Arc};

use rustls::{
    pki_types::{CertificateDer, UnixTime},
    server::danger::ClientCertVerifier,
};
use tokio_util::sync::CancellationToken;
use webpki::EndEntityCert;

use super::{
    certificates::{Certificates, Served},
    x509,
};

/// Bytes of a name.
const MAX_NAME_BYTES: usize = 1024;

/// A client certificate.
pub(crate) struct ClientCertificate {
    /// The certificate and its intermediate certificates.
    chain: Vec<CertificateDer<'static>>,
    listener: Arc<Certificates>,
    /// The verifier that was used in the handshake.
    verifier: Arc<dyn ClientCertVerifier>,
    /// The name of the client; `None` if the certificate has no usable name.
    pub(crate) name: Option<Box<str>>,
    /// In seconds since 1970.
    pub(crate) not_before: i64,
    /// In seconds since 1970.
    pub(crate) not_after: i64,
    retired: CancellationToken,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientCertificate").field(&self.name).finish()
    }
}

impl ClientCertificate {
    /// The certificate of a connection to `listener`, from the chain that TLS has verified with the configuration `served`. In a resumed
    /// session it is that of the first handshake, which may have expired meanwhile. `None`: the client has presented none.
    pub(crate) fn of(
        chain: &[CertificateDer<'static>],
        listener: &Arc<Certificates>,
        served: &Served,
    ) -> Option<Self> {
        let first = chain.first()?;
        // A certificate whose times cannot be read is treated as expired, not as a missing one.
        let validity = x509::validity(first)
            .map_or((i64::MIN, i64::MIN), |(from, to)| (from.as_second(), to.as_second()));
        Some(Self {
            chain: chain.to_vec(),
            listener: Arc::clone(listener),
            verifier: Arc::clone(&served.clients),
            name: name(first),
            not_before: validity.0,
            not_after: validity.1,
            retired: CancellationToken::new(),
        })
    }

    /// Whether the present authorities accept it. If they were replaced since the handshake, it is verified again.
    pub(crate) fn is_trusted(&self) -> bool {
        let Some(served) = self.listener.current() else { return false };
        let Some((first, others)) = self.chain.split_first() else { return false };
        Arc::ptr_eq(&served.clients, &self.verifier)
            || served.clients.verify_client_cert(first, others, UnixTime::now()).is_ok()
    }

    /// Closes its connection after the requests in progress, because the certificate was refused: the client may have a newer one, which it
    /// can present only on a new connection.
    pub(crate) fn retire(&self) {
        self.retired.cancel();
    }

    /// Waits until it is retired.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn retired(&self) {
        self.retired.cancelled().await;
    }
}

/// The URI name (SPIFFE has exactly one), else the first DNS name, in lower case. With several URIs it is unclear which is the client's. A
/// URI without a scheme is invalid (RFC 5280, section 4.2.1.6), and could be mistaken for a DNS name.
fn name(certificate: &CertificateDer<'_>) -> Option<Box<str>> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let mut uris = certificate.valid_uri_names();
    let name = match (uris.next(), uris.next()) {
        (Some(uri), None) if uri.contains(':') => uri.to_owned(),
        (Some(_), _) => return None,
        (None, _) => certificate.valid_dns_names().next()?.to_ascii_lowercase(),
    };
    let is_usable =
        (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
    is_usable.then(|| name.into())
}

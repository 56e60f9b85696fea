//! The certificate authorities of clients: builds the verifier of client certificates.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::ring,
    pki_types::{CertificateDer, UnixTime, pem::PemObject as _},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

/// Why a file cannot be used. It never contains anything of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthoritiesError {
    #[error("it has no certificate: it must have the certificates of the authorities in PEM")]
    Empty,
    #[error("it is not valid PEM, or was cut off")]
    Syntax,
    #[error("one of its certificates is not that of an authority")]
    Malformed,
}

/// The verifier of certificates by the authorities in `pem`. Clients without a certificate are accepted.
pub(super) fn parse(pem: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, AuthoritiesError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| AuthoritiesError::Syntax)?;
        roots.add(certificate).map_err(|_| AuthoritiesError::Malformed)?;
    }
    let provider = Arc::new(ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|_| AuthoritiesError::Empty)
}

/// The verifier while authorities are not known: no verification if clients are not `asked` for certificates, else [`AuthoritiesUnknown`].
pub(super) fn before_the_first(asked: bool) -> Arc<dyn ClientCertVerifier> {
    if asked { Arc::new(AuthoritiesUnknown) } else { WebPkiClientVerifier::no_client_auth() }
}

/// Refuses every certificate, because the authorities could not be read. Clients without one are served. Clients are asked nevertheless:
/// otherwise those with a certificate would be treated as anonymous.
#[derive(Debug)]
struct AuthoritiesUnknown;

const UNKNOWN: Error = Error::InvalidCertificate(CertificateError::UnknownIssuer);

impl ClientCertVerifier for AuthoritiesUnknown {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Err(UNKNOWN)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(UNKNOWN)
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(UNKNOWN)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

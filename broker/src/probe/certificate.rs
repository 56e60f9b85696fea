//! Checks the certificate of the URL without rejecting it. A problem with it is reported and the probe continues: its ticket can read
//! nothing, so there is nothing to protect, and other problems are worth knowing.

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use crate::outbound::{self, SYSTEM_ROOTS};

/// The versions of HTTP that a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// HTTP/2 and HTTP/1.1, as browsers do.
    Both,
    /// HTTP/1.1 alone, as many other clients do.
    Http1,
}

/// Whether clients accept a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CertificateStatus {
    /// Clients accept it.
    Valid,
    /// Its authority is unknown to the broker. Clients may know it.
    UnknownAuthority,
    /// No client accepts it, and why.
    Invalid(String),
}

/// Accepts every certificate, and remembers whether clients would.
#[derive(Debug)]
pub(super) struct Observer {
    provider: Arc<CryptoProvider>,
    /// `None` if this system has no authorities.
    strict: Option<Arc<WebPkiServerVerifier>>,
    status: Mutex<Option<CertificateStatus>>,
}

impl Observer {
    pub(super) fn new() -> Arc<Self> {
        let provider = outbound::crypto();
        let roots = Arc::clone(&SYSTEM_ROOTS);
        let strict = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
        Arc::new(Self { provider, strict: strict.build().ok(), status: Mutex::default() })
    }

    /// Whether clients accept the certificate of the last handshake; `None` before it.
    pub(super) fn status(&self) -> Option<CertificateStatus> {
        self.status.lock().clone()
    }

    /// TLS with these versions of HTTP.
    ///
    /// # Errors
    /// The library has no protocol version: never.
    pub(super) fn config(self: &Arc<Self>, offer: Offer) -> Result<ClientConfig, Error> {
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?;
        let verifier = Arc::clone(self) as Arc<dyn ServerCertVerifier>;
        let mut config =
            config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        config.alpn_protocols = match offer {
            Offer::Both => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Offer::Http1 => vec![b"http/1.1".to_vec()],
        };
        Ok(config)
    }
}

fn judge(
    error: &Error,
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
) -> CertificateStatus {
    let names = || {
        let parsed = ParsedCertificate::try_from(certificate)?;
        verify_server_name(&parsed, name)
    };
    let invalid = |what: &str| CertificateStatus::Invalid(what.to_owned());
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => match names() {
            Ok(()) => CertificateStatus::UnknownAuthority,
            Err(_) => invalid("the certificate is not valid for this host name"),
        },
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => invalid("the certificate has expired"),
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => invalid("the certificate is not valid yet"),
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => invalid("the certificate is not valid for this host name"),
        other => CertificateStatus::Invalid(format!("the certificate cannot be used: {other}")),
    }
}

impl ServerCertVerifier for Observer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let strict = match &self.strict {
            Some(strict) => strict.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        };
        let status = match &strict {
            Ok(_) => CertificateStatus::Valid,
            Err(error) => judge(error, end_entity, server_name),
        };
        *self.status.lock() = Some(status);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

//! A certificate and its private key: parses them, checks that a server can use them, and builds the TLS configuration.

use std::{sync::Arc, time::SystemTime};

use jiff::Timestamp;
use rustls::{
    Error, InconsistentKeys, ServerConfig, SignatureAlgorithm,
    crypto::ring::{self, Ticketer},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{NoServerSessionStorage, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};

use eventcast_crds::config::{Alpn, Tls, TlsVersion};

use super::x509;

/// Why a certificate and a key cannot be used. It never contains anything of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyPairError {
    #[error(
        "the certificate file has no certificate: it must have the chain in PEM, the certificate of the server first"
    )]
    NoCertificate,
    #[error("the certificate file is not valid PEM, or was cut off")]
    CertificateSyntax,
    #[error("the key file has no private key in PEM (PKCS #8, PKCS #1 or SEC 1)")]
    NoKey,
    #[error(
        "the kind of the private key is not supported: use ECDSA P-256 or P-384, Ed25519, or RSA of 2048 to 8192 bits"
    )]
    KeyKind,
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    #[error("the certificate cannot be parsed")]
    Malformed,
}

/// A certificate with its chain, and the private key that belongs to it.
#[derive(Clone)]
pub(super) struct KeyPair {
    certified: Arc<CertifiedKey>,
    not_after: Timestamp,
}

impl KeyPair {
    /// Parses both files, in PEM.
    pub(super) fn parse(chain: &[u8], key: &[u8]) -> Result<Self, KeyPairError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| KeyPairError::CertificateSyntax)?;
        let first = chain.first().ok_or(KeyPairError::NoCertificate)?;
        let (_, not_after) = x509::validity(first).ok_or(KeyPairError::Malformed)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| KeyPairError::NoKey)?;
        let key = ring::sign::any_supported_type(&key).map_err(|_| KeyPairError::KeyKind)?;
        let certified = Arc::new(CertifiedKey::new(chain, key));
        match certified.keys_match() {
            Ok(()) => Ok(Self { certified, not_after }),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(KeyPairError::Mismatch)
            }
            Err(_) => Err(KeyPairError::Malformed),
        }
    }

    /// The end of the certificate's validity.
    pub(super) fn expires(&self) -> Timestamp {
        self.not_after
    }

    pub(super) fn has_expired(&self, now: SystemTime) -> bool {
        Timestamp::try_from(now).is_ok_and(|now| self.not_after < now)
    }

    /// Whether its handshakes cost seven times the processor time of those with ECDSA.
    pub(super) fn is_rsa(&self) -> bool {
        self.certified.key.algorithm() == SignatureAlgorithm::RSA
    }

    /// The TLS configuration with this certificate, and with `verifier` for client certificates. Sessions are resumed by tickets that only
    /// this configuration can decrypt, so that no client resumes a session of an earlier certificate or of earlier authorities. Early data
    /// is not accepted, because it can be replayed.
    pub(super) fn config(
        &self,
        tls: &Tls,
        verifier: Arc<dyn ClientCertVerifier>,
    ) -> Result<ServerConfig, Error> {
        let versions: &[_] = match tls.min_version {
            TlsVersion::Tls12 => &[&TLS13, &TLS12],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&self.certified))));
        let protocol = |alpn: &Alpn| match alpn {
            Alpn::Http2 => b"h2".to_vec(),
            Alpn::Http1 => b"http/1.1".to_vec(),
        };
        config.alpn_protocols = tls.alpn.iter().map(protocol).collect();
        config.ticketer = Ticketer::new()?;
        config.send_tls13_tickets = 1;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Ok(config)
    }
}

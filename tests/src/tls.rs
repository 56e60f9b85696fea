//! TLS: certificates for brokers, and clients that trust them. All brokers of a process have certificates of one authority; clients may have
//! those of any.
//!
//! A broker that serves TLS alone registers its address, and every client of the harness then uses TLS for it. So a suite runs over TLS without a
//! change: `EVENTCAST_TEST_TLS=1`.

mod issue;
mod socket;

pub use issue::{Authority, Issued, KeyFiles, authority, authority_pem};
pub use socket::Socket;

use std::{
    collections::HashSet,
    sync::{Arc, LazyLock},
};

use parking_lot::Mutex;
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, SupportedProtocolVersion,
    client::{Resumption, WantsClientCert},
    crypto::ring,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
    version,
};

/// Versions of TLS that rustls has.
pub const TLS_VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// Addresses of brokers that serve TLS alone.
static SECURE: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

/// Lets clients use TLS for `address`.
pub(crate) fn register(address: &str) {
    SECURE.lock().insert(address.to_owned());
}

/// Whether clients use TLS for `address`.
#[must_use]
pub fn is_secure(address: &str) -> bool {
    SECURE.lock().contains(address)
}

/// A client that offers these protocols (ALPN), trusts our authority and resumes no session.
///
/// # Panics
/// Never: the options are constant.
#[must_use]
pub fn client_config(alpn: &[&str]) -> ClientConfig {
    client_config_of(alpn, &TLS_VERSIONS)
}

/// As [`client_config`], with these versions of TLS.
///
/// # Panics
/// When there is no version.
#[must_use]
pub fn client_config_of(
    alpn: &[&str],
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    finish(builder(versions).with_no_client_auth(), alpn)
}

/// As [`client_config_of`], and presents `certificate`.
///
/// # Errors
/// When it has no usable key.
///
/// # Panics
/// When there is no version.
pub fn client_config_with(
    alpn: &[&str],
    versions: &[&'static SupportedProtocolVersion],
    certificate: &Issued,
) -> anyhow::Result<ClientConfig> {
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes())?;
    let config = builder(versions).with_client_auth_cert(vec![certificate.der.clone()], key)?;
    Ok(finish(config, alpn))
}

fn builder(
    versions: &[&'static SupportedProtocolVersion],
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(authority()).expect("our authority is valid");
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("a version")
        .with_root_certificates(roots)
}

fn finish(mut config: ClientConfig, alpn: &[&str]) -> ClientConfig {
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.resumption = Resumption::disabled();
    config
}

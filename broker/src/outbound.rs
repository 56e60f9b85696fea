//! Connections to URLs that channels name: the keys of token issuers, and the URL of a channel itself for its delivery probe.

mod address;

use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::{Arc, LazyLock},
};

use http::Uri;
use rustls::{RootCertStore, crypto::CryptoProvider};
use tokio::net::{TcpStream, lookup_host};

/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 4;

/// The certificate authorities of the system. Reading them takes milliseconds.
pub(crate) static SYSTEM_ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(roots)
});

/// The cryptography of outgoing TLS.
pub(crate) fn crypto() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the host name cannot be resolved")]
    NotResolved,
    #[error("the host name has no address")]
    NoAddress,
    #[error("brokers do not connect to link-local addresses and metadata services")]
    NotAllowed,
    #[error("cannot connect: {0}")]
    Refused(ErrorKind),
}

/// The endpoint of a URL: the host, as it is resolved and as its certificate is verified, the port, and whether to use TLS.
pub(crate) struct Endpoint<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) is_tls: bool,
}

impl<'a> Endpoint<'a> {
    pub(crate) fn of(url: &'a Uri) -> Self {
        let is_tls = url.scheme_str() == Some("https");
        // An IPv6 address is in brackets.
        let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        Self { host, port: url.port_u16().unwrap_or(if is_tls { 443 } else { 80 }), is_tls }
    }

    /// Connects to the first address that answers.
    ///
    /// # Errors
    /// Why none does.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn connect(&self) -> Result<TcpStream, ConnectError> {
        let found = lookup_host((self.host, self.port)).await;
        let found: Vec<SocketAddr> = found.map_err(|_| ConnectError::NotResolved)?.collect();
        let allowed = found.iter().filter(|at| address::is_allowed(at.ip())).take(MAX_ADDRESSES);
        let mut last =
            if found.is_empty() { ConnectError::NoAddress } else { ConnectError::NotAllowed };
        for address in allowed {
            match TcpStream::connect(address).await {
                Ok(socket) => return Ok(socket),
                Err(error) => last = ConnectError::Refused(error.kind()),
            }
        }
        Err(last)
    }
}

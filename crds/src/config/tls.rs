//! TLS of the public listener.

use std::{
    net::{Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// TLS on a listener of its own. The files are read again when they change; a pair that does not match leaves the old one in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Tls {
    /// Address of the listener.
    pub listen: SocketAddr,
    /// File with the certificate and its chain (PEM).
    pub certificate_file: PathBuf,
    /// File with the private key (PEM).
    pub key_file: PathBuf,
    /// File with the certificate authorities of clients (PEM). Clients may then present a certificate of theirs, for `access.certificates` of a
    /// channel. An unreadable or empty file leaves the old authorities in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
    /// Lowest version of TLS.
    pub min_version: TlsVersion,
    /// Protocols that are offered to clients, the preferred one first. Browsers choose `h2` if it is there.
    pub alpn: Vec<Alpn>,
    /// Whether the address `listen` of the broker serves plain HTTP as well.
    pub plaintext: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8443)),
            certificate_file: PathBuf::new(),
            key_file: PathBuf::new(),
            client_ca_file: None,
            min_version: TlsVersion::default(),
            alpn: vec![Alpn::Http2, Alpn::Http1],
            plaintext: false,
        }
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    Tls13,
}

/// A protocol above TLS (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Alpn {
    /// HTTP/2.
    #[serde(rename = "h2")]
    Http2,
    /// HTTP/1.1.
    #[serde(rename = "http/1.1")]
    Http1,
}

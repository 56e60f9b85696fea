//! Connections: a socket or a port of a pod, with TLS or without.

use std::{io, path::Path, sync::Arc};

use http::Uri;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    failure::Failure,
    kubernetes::{PodPort, PortForwardError},
};

/// What carries HTTP.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{0}")]
    Socket(#[source] io::Error),
    #[error("{0}")]
    Pod(#[from] PortForwardError),
    #[error("the TLS handshake failed: {0}")]
    Handshake(#[source] io::Error),
    #[error(
        "the certificate is not valid: {0}. Name its authority with --ca-file, or use a host name that it is for"
    )]
    Certificate(rustls::CertificateError),
}

impl ConnectError {
    /// Whether the same connection may succeed later.
    pub(crate) fn is_temporary(&self) -> bool {
        !matches!(self, Self::Certificate(_))
    }

    fn of_handshake(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(why)) => Self::Certificate(why.clone()),
            _ => Self::Handshake(error),
        }
    }
}

/// Opens connections to one host.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    route: Route,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

#[derive(Clone, Debug)]
enum Route {
    Host(String, u16),
    Pod(Box<PodPort>),
}

impl Connector {
    /// To the host of `url`. `ca_file` has certificate authorities (PEM) beside those of the system.
    ///
    /// # Errors
    /// The file cannot be used.
    pub(crate) fn new(url: &Uri, ca_file: Option<&Path>) -> Result<Self, Failure> {
        let is_tls = url.scheme_str() == Some("https");
        // An IPv6 address is in brackets.
        let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tls = if is_tls { Some(tls(host, ca_file)?) } else { None };
        Ok(Self { route: Route::Host(host.to_owned(), port), tls })
    }

    /// To a port of a pod; with TLS for the host `tls_host` if there is one.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn to_pod(
        port: PodPort,
        tls_host: Option<&str>,
        ca_file: Option<&Path>,
    ) -> Result<Self, Failure> {
        let tls = tls_host.map(|host| tls(host, ca_file)).transpose()?;
        Ok(Self { route: Route::Pod(Box::new(port)), tls })
    }

    /// # Errors
    /// There is no connection.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn open(&self) -> Result<Box<dyn ByteStream>, ConnectError> {
        let stream: Box<dyn ByteStream> = match &self.route {
            Route::Host(host, port) => {
                let socket = TcpStream::connect((host.as_str(), *port)).await;
                Box::new(socket.map_err(ConnectError::Socket)?)
            }
            Route::Pod(port) => Box::new(port.open().await?),
        };
        let Some((config, server)) = &self.tls else {
            return Ok(stream);
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(server.clone(), stream).await;
        Ok(Box::new(stream.map_err(ConnectError::of_handshake)?))
    }
}

fn tls(
    host: &str,
    ca_file: Option<&Path>,
) -> Result<(Arc<ClientConfig>, ServerName<'static>), Failure> {
    let server = ServerName::try_from(host.to_owned())
        .map_err(|_| Failure::usage(format!("{host} is no host name for TLS")))?;
    Ok((Arc::new(tls_config(ca_file)?), server))
}

fn tls_config(ca_file: Option<&Path>) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = ca_file {
        let unusable = |why: String| {
            Failure::usage(format!(
                "--ca-file {}: {why}; it must hold certificates (PEM)",
                file.display()
            ))
        };
        let certificates = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| unusable(error.to_string()))?;
        if certificates.is_empty() {
            return Err(unusable("it has no certificate".into()));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::failed(format!("no TLS: {error}")))?;
    let mut config = versions.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

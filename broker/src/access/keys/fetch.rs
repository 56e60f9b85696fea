//! Fetches the JWK set of an issuer from its URL.
//!
//! One request on its own connection, without redirects, bounded in time and size. An error is reported as the host and a kind of error,
//! without anything of the response: a URL that points to an internal service must not reveal what that answers.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use eventcast_crds::broker_status::AccessReason;
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::state::Failure;
use crate::outbound::{self, Endpoint, SYSTEM_ROOTS};

/// How long a fetch may take, from the resolution of the name to the end of the body.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a JWK set.
const MAX_BODY_BYTES: usize = 256 << 10;

/// A JWK set as it was fetched.
pub(super) struct Fetched {
    pub(super) content: Bytes,
    /// How long the server lets it be cached.
    pub(super) max_age: Option<Duration>,
}

/// Where keys are fetched from.
#[derive(Clone)]
pub(super) struct KeyUrl {
    url: Uri,
    ca_file: Option<PathBuf>,
}

/// Why a fetch failed, as it is reported.
type FetchError = (AccessReason, String);

fn unreachable(what: impl Into<String>) -> FetchError {
    (AccessReason::KeysUnreachable, what.into())
}

impl KeyUrl {
    /// `None` if `url` is not a URL with a host.
    pub(super) fn new(url: &str, ca_file: Option<PathBuf>) -> Option<Self> {
        let url: Uri = url.parse().ok()?;
        url.host()?;
        Some(Self { url, ca_file })
    }

    /// Fetches the keys.
    ///
    /// # Errors
    /// Which host failed, and how.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn fetch(&self) -> Result<Fetched, Failure> {
        let fetched = timeout(FETCH_TIMEOUT, self.request()).await;
        let late = || Err(unreachable(format!("no answer within {FETCH_TIMEOUT:?}")));
        fetched.unwrap_or_else(|_| late()).map_err(|(reason, what)| Failure {
            reason,
            detail: format!("{}: {what}", self.url.host().unwrap_or_default()),
        })
    }

    async fn request(&self) -> Result<Fetched, FetchError> {
        let endpoint = Endpoint::of(&self.url);
        let socket = endpoint.connect().await.map_err(|error| unreachable(error.to_string()))?;
        let response = if endpoint.is_tls {
            let config = Arc::new(tls_config(self.ca_file.as_ref())?);
            let server = ServerName::try_from(endpoint.host.to_owned())
                .map_err(|_| unreachable("the host name is not valid for TLS"))?;
            let tls = TlsConnector::from(config).connect(server, socket).await;
            self.get(tls.map_err(|error| unreachable(tls_failure(&error)))?).await?
        } else {
            self.get(socket).await?
        };
        read(response).await
    }

    /// Sends the request on `stream`.
    async fn get<S>(&self, stream: S) -> Result<Response<Incoming>, FetchError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let failed = |_| unreachable("the connection ended before the answer");
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        // It ends with the response or with the sender, both of which end with this fetch.
        tokio::spawn(async move { connection.await.ok() });
        let authority = self.url.authority().map_or("", |authority| authority.as_str());
        let request = Request::get(self.url.path_and_query().map_or("/", |path| path.as_str()))
            .header(header::HOST, authority)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(header::USER_AGENT, concat!("eventcast/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|_| unreachable("the URL cannot be requested"))?;
        sender.send_request(request).await.map_err(failed)
    }
}

/// Trusts the authorities of `ca_file`, or those of the system.
fn tls_config(ca_file: Option<&PathBuf>) -> Result<ClientConfig, FetchError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let file = path.display();
            let content = std::fs::read(path).map_err(|error| {
                let what = format!("cannot read the authorities in {file}: {}", error.kind());
                (AccessReason::SecretMissing, what)
            })?;
            let certificates = CertificateDer::pem_slice_iter(&content).filter_map(Result::ok);
            roots.add_parsable_certificates(certificates);
            if roots.is_empty() {
                let what = format!("{file} has no certificate in PEM");
                return Err((AccessReason::KeysInvalid, what));
            }
        }
        None => {
            roots.roots.clone_from(&SYSTEM_ROOTS.roots);
            if roots.is_empty() {
                return Err(unreachable(
                    "this system has no certificate authorities: set caSecret",
                ));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(outbound::crypto())
        .with_safe_default_protocol_versions()
        .map_err(|_| unreachable("TLS cannot be set up"))?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The kind of a failed handshake. Details of certificates are for the log of the server.
fn tls_failure(error: &std::io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => {
            "its certificate is not trusted: set caSecret to its authority, or check name and dates"
        }
        Some(_) => "TLS failed",
        None => "the connection ended during the TLS handshake",
    }
}

async fn read(response: Response<Incoming>) -> Result<Fetched, FetchError> {
    match response.status() {
        StatusCode::OK => {}
        status if status.is_redirection() => {
            let what = "it answers with a redirect, which is not followed: set jwksUrl to where the keys are";
            return Err(unreachable(what));
        }
        status => return Err(unreachable(format!("status {}", status.as_u16()))),
    }
    let max_age = max_age(response.headers());
    let body = Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await;
    let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => (AccessReason::KeysInvalid, "the answer is larger than 256 KiB".into()),
        None => unreachable("the connection ended within the answer"),
    })?;
    Ok(Fetched { content: body.to_bytes(), max_age })
}

/// `max-age` of `Cache-Control`.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(header::CACHE_CONTROL).iter();
    let mut directives = values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    let seconds = directives.find_map(|directive| {
        let (name, value) = directive.trim().split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| value.trim_matches('"').parse().ok())?
    });
    seconds.map(Duration::from_secs)
}

//! The HTTP client of the export. It runs on the runtime of the program, because the thread that exports has none.

use std::{error::Error, fmt, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use parking_lot::Mutex;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Handle,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

use crate::Chain;

/// The largest response that is read.
const MAX_RESPONSE_BYTES: usize = 64 << 10;
/// The interval of log lines about exports that fail.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Sends each request on a connection of its own: there is one every few seconds at most.
pub(super) struct Client {
    runtime: Handle,
    target: Arc<Target>,
    failures: Mutex<Failures>,
}

struct Target {
    host: String,
    port: u16,
    /// `None` without TLS.
    tls: Option<TlsConnector>,
    timeout: Duration,
}

/// Failed exports that were not logged yet.
#[derive(Default)]
struct Failures {
    count: u64,
    logged: Option<Instant>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({}:{})", self.target.host, self.target.port)
    }
}

impl Client {
    /// For requests to the host of `endpoint`, which may take `timeout`. Uses the present runtime.
    ///
    /// # Errors
    /// The file with certificate authorities cannot be used.
    pub(super) fn new(
        endpoint: &Uri,
        ca_file: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, String> {
        let is_tls = endpoint.scheme_str() == Some("https");
        // An IPv6 address is in brackets.
        let host = endpoint.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = endpoint.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tls = is_tls.then(|| connector(ca_file)).transpose()?;
        let target = Arc::new(Target { host, port, tls, timeout });
        Ok(Self { runtime: Handle::current(), target, failures: Mutex::default() })
    }

    /// Logs the first failure, and later ones once in [`FAILURE_LOG_INTERVAL`].
    fn failed(&self, error: &str) {
        let mut failures = self.failures.lock();
        failures.count += 1;
        let now = Instant::now();
        if failures.logged.is_some_and(|last| now < last + FAILURE_LOG_INTERVAL) {
            return;
        }
        let left_out = Some(std::mem::take(&mut failures.count) - 1).filter(|n| *n > 0);
        failures.logged = Some(now);
        tracing::warn!(error, left_out, "cannot export traces: spans are lost");
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let target = Arc::clone(&self.target);
        let sending = self.runtime.spawn(async move {
            match timeout(target.timeout, target.send(request)).await {
                Ok(answer) => answer.map_err(|error| Chain(&*error).to_string()),
                Err(_) => Err("the collector did not answer in time".to_owned()),
            }
        });
        let answer = match sending.await {
            Ok(answer) => answer,
            Err(_) => return Err("the program ends".into()),
        };
        match &answer {
            Ok(response) if !response.status().is_success() => {
                self.failed(&format!("the collector answered {}", response.status()));
            }
            Ok(_) => *self.failures.lock() = Failures::default(),
            Err(error) => self.failed(error),
        }
        answer.map_err(Into::into)
    }
}

impl Target {
    async fn send(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, Box<dyn Error + Send + Sync>> {
        let socket = TcpStream::connect((&*self.host, self.port)).await?;
        match &self.tls {
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone())?;
                exchange(tls.connect(name, socket).await?, request).await
            }
            None => exchange(socket, request).await,
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, Box<dyn Error + Send + Sync>> {
    let (mut head, body) = request.into_parts();
    let authority = head.uri.authority().map(ToString::to_string).unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    head.headers.insert(header::HOST, HeaderValue::from_str(host)?);
    head.uri = head.uri.path_and_query().map_or_else(Uri::default, |path| path.clone().into());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::from_parts(head, Full::new(body));
    let exchange = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        // What the body of a refusal says is not read: the status is enough.
        let body = match head.status {
            StatusCode::OK => Limited::new(body, MAX_RESPONSE_BYTES).collect().await?.to_bytes(),
            _ => Bytes::new(),
        };
        Ok::<_, Box<dyn Error + Send + Sync>>(Response::from_parts(head, body))
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        closed = connection => {
            closed?;
            exchange.await
        }
    }
}

fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(file) => {
            let cannot = |error: &dyn fmt::Display| format!("{}: {error}", file.display());
            for certificate in CertificateDer::pem_file_iter(file).map_err(|e| cannot(&e))? {
                let certificate = certificate.map_err(|e| cannot(&e))?;
                roots.add(certificate).map_err(|e| cannot(&e))?;
            }
        }
    }
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

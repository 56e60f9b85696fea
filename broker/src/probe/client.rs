//! The HTTP client of probes: one request on its own connection, over the negotiated version of HTTP, without redirects.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response, Uri, header};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::certificate::{CertificateStatus, Observer, Offer};
use crate::outbound::{ConnectError, Endpoint};

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("the TLS handshake failed: {0}")]
    Tls(String),
    #[error("the connection was closed before an answer")]
    Closed,
    #[error("the URL cannot be requested")]
    Url,
}

/// A body of this many zeros. The response shows whether its size is accepted.
pub(super) struct Zeros(u64);

/// A part of such a body.
static PART: [u8; 16 << 10] = [0; 16 << 10];

impl Body for Zeros {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0 == 0 {
            return Poll::Ready(None);
        }
        let length = usize::try_from(self.0).unwrap_or(usize::MAX).min(PART.len());
        self.0 -= length as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PART[..length])))))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

/// A connection that is ready for its request.
pub(super) struct Connection {
    sender: Sender,
    /// Whether clients accept the certificate; `None` without TLS.
    pub(super) certificate: Option<CertificateStatus>,
}

enum Sender {
    Http1(http1::SendRequest<Zeros>),
    Http2(http2::SendRequest<Zeros>),
}

impl Connection {
    /// Connects to the host of `url`. Without TLS, it is HTTP/1.1.
    ///
    /// # Errors
    /// See [`Failure`].
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn open(url: &Uri, offer: Offer) -> Result<Self, Failure> {
        let endpoint = Endpoint::of(url);
        let socket = endpoint.connect().await?;
        if !endpoint.is_tls {
            return Ok(Self { sender: Sender::http1(socket).await?, certificate: None });
        }
        let observer = Observer::new();
        let config = observer.config(offer).map_err(|error| Failure::Tls(error.to_string()))?;
        let server = ServerName::try_from(endpoint.host.to_owned()).map_err(|_| Failure::Url)?;
        let tls = TlsConnector::from(Arc::new(config)).connect(server, socket).await;
        let tls = tls.map_err(|error| Failure::Tls(error.to_string()))?;
        let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        let sender = if is_http2 { Sender::http2(tls).await? } else { Sender::http1(tls).await? };
        Ok(Self { sender, certificate: observer.status() })
    }

    /// The version of HTTP.
    pub(super) fn version(&self) -> &'static str {
        match self.sender {
            Sender::Http1(_) => "HTTP/1.1",
            Sender::Http2(_) => "HTTP/2",
        }
    }

    /// Sends a request for `url` with the query `ticket`, as a browser does, or with a body of `body` bytes.
    ///
    /// # Errors
    /// See [`Failure`].
    ///
    /// # Cancel safety
    /// The request may have been sent.
    pub(super) async fn request(
        &mut self,
        method: Method,
        url: &Uri,
        ticket: &str,
        body: u64,
    ) -> Result<Response<Incoming>, Failure> {
        let target = format!("{}?ticket={ticket}", url.path());
        let authority = url.authority().map_or("", |authority| authority.as_str());
        let request = Request::builder()
            .method(method)
            .header(header::USER_AGENT, concat!("eventcast-probe/", env!("CARGO_PKG_VERSION")))
            .header(header::CACHE_CONTROL, "no-cache")
            .header(header::ACCEPT, if body == 0 { "text/event-stream" } else { "*/*" })
            .header(header::ACCEPT_ENCODING, "gzip, deflate, br, zstd");
        let request = match self.sender {
            Sender::Http1(_) => request.uri(target).header(header::HOST, authority),
            Sender::Http2(_) => request
                .uri(format!("{}://{authority}{target}", url.scheme_str().unwrap_or("https"))),
        };
        let request = match body {
            0 => request,
            _ => request.header(header::CONTENT_TYPE, "text/plain"),
        };
        let request = request.body(Zeros(body)).map_err(|_| Failure::Url)?;
        let response = match &mut self.sender {
            Sender::Http1(sender) => sender.send_request(request).await,
            Sender::Http2(sender) => sender.send_request(request).await,
        };
        response.map_err(|_| Failure::Closed)
    }
}

impl Sender {
    async fn http1<S>(stream: S) -> Result<Self, Failure>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|_| Failure::Closed)?;
        // It ends with the sender and the response, both of which end with the probe.
        tokio::spawn(async move { connection.await.ok() });
        Ok(Self::Http1(sender))
    }

    async fn http2<S>(stream: S) -> Result<Self, Failure>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(|_| Failure::Closed)?;
        tokio::spawn(async move { connection.await.ok() });
        Ok(Self::Http2(sender))
    }
}

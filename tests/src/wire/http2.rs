//! HTTP/2 with prior knowledge, or with TLS by ALPN, below what a client library would hide: windows, resets, settings.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};

use super::{READ_TIMEOUT, RawResponse, Source};
use crate::{
    http::{Head, Version},
    tls::Socket,
};

/// A connection.
#[derive(Debug)]
pub struct Http2Connection {
    sender: SendRequest<Bytes>,
    base: String,
    /// Ends with what ended the connection.
    pub connection: JoinHandle<Result<(), h2::Error>>,
}

impl Http2Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nothing listens there, or the other side does not speak HTTP/2.
    pub async fn connect(address: &str) -> Result<Self> {
        let socket = timeout(READ_TIMEOUT, TcpStream::connect(address)).await??;
        socket.set_nodelay(true)?;
        let mut settings = Builder::new();
        // a test may leave hundreds of streams unread, and one of them for good
        settings.data_frame_budget(1 << 30).initial_connection_window_size(64 << 20);
        let socket = timeout(READ_TIMEOUT, Socket::of(socket, Version::Http2.alpn())).await??;
        Self::over(socket, &settings).await
    }

    /// Makes a connection of a socket, with other settings than usual.
    ///
    /// # Errors
    /// When the other side does not speak HTTP/2.
    pub async fn over(socket: impl Into<Socket>, settings: &Builder) -> Result<Self> {
        let socket = socket.into();
        let authority = socket.tcp().peer_addr()?;
        let base = format!("{}://{authority}", if socket.is_secure() { "https" } else { "http" });
        let (sender, connection) =
            timeout(READ_TIMEOUT, settings.handshake::<_, Bytes>(socket)).await??;
        Ok(Self { sender, base, connection: tokio::spawn(connection) })
    }

    /// Sends a request and reads the head of its answer.
    ///
    /// # Errors
    /// When no response arrives.
    pub async fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<RawResponse> {
        let answer = timeout(READ_TIMEOUT, self.send(method, target, headers, body)).await??;
        let answer = timeout(READ_TIMEOUT, answer).await.context("no answer")??;
        let (head, body) = answer.into_parts();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
        let head = Head { status: head.status.as_u16(), headers: headers.collect() };
        Ok(RawResponse { head, source: Source::Http2(body, None), buffer: Vec::new() })
    }

    /// Sends a request; dropping the future of its answer resets the stream.
    ///
    /// # Errors
    /// When the connection has ended, or the request is none.
    pub async fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<h2::client::ResponseFuture> {
        let uri: Uri = format!("{}{target}", self.base).parse()?;
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(method.as_bytes())?;
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_2;
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes())?;
            request.headers_mut().append(name, HeaderValue::from_bytes(value.as_bytes())?);
        }
        self.sender = self.sender.clone().ready().await?;
        let (answer, mut stream) = self.sender.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            // It fails if the other side has answered already and does not want the body.
            drop(stream.send_data(Bytes::copy_from_slice(body), true));
        }
        Ok(answer)
    }

    /// Streams that the other side lets us have at once.
    #[must_use]
    pub fn max_streams(&self) -> usize {
        self.sender.current_max_send_streams()
    }
}

/// The next DATA frame, and room for as much again.
pub(super) async fn read(body: &mut h2::RecvStream) -> Result<Option<Vec<u8>>> {
    let Some(data) = body.data().await.transpose()? else {
        return Ok(None);
    };
    body.flow_control().release_capacity(data.len())?;
    Ok(Some(data.to_vec()))
}

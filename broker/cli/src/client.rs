//! The HTTP client: HTTP/1.1, a connection for each request, no redirects. Every step has a time limit.

mod connect;

pub(crate) use connect::{ConnectError, Connector};

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
pub(crate) use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::{credential::Credential, failure::Failure};

/// Time until a connection is ready, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time until the head of an answer: longer than a broker waits for NATS.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Time until an answer has been read.
const BODY_TIMEOUT: Duration = Duration::from_secs(120);
/// The largest answer: twice what a broker holds of answers (`query.answerBytes`).
const MAX_ANSWER_BYTES: usize = 128 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("cannot connect to {0}: {1}")]
    Connect(String, ConnectError),
    #[error("cannot connect to {0} within {CONNECT_TIMEOUT:?}")]
    ConnectTimeout(String),
    #[error("{0} closed the connection before it answered")]
    Closed(String),
    #[error("{0} did not answer within {HEAD_TIMEOUT:?}")]
    HeadTimeout(String),
    #[error("the answer of {0} ended early, or is larger than {MAX_ANSWER_BYTES} bytes")]
    Body(String),
    #[error("{}", .0.message())]
    Credential(Failure),
}

impl ClientError {
    /// Whether the same request may be answered later.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Connect(_, error) => error.is_temporary(),
            Self::Credential(_) => false,
            _ => true,
        }
    }
}

/// A request, but for its host and credential.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Sends requests to one host.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    connector: Connector,
    /// The value of `Host`.
    authority: String,
    credential: Credential,
}

impl Client {
    pub(crate) fn new(connector: Connector, authority: String, credential: Credential) -> Self {
        Self { connector, authority, credential }
    }

    /// Whether requests carry a credential.
    pub(crate) fn has_credential(&self) -> bool {
        self.credential.is_given()
    }

    /// Sends a request. The body of the response is read by the caller; dropping it closes the connection.
    ///
    /// # Errors
    /// See [`ClientError`].
    ///
    /// # Cancel safety
    /// The request may have been sent.
    pub(crate) async fn send(&self, request: Request) -> Result<Response<Incoming>, ClientError> {
        let authority = || self.authority.clone();
        let mut headers = request.headers;
        if let Some(value) = self.credential.authorization().map_err(ClientError::Credential)? {
            headers.insert(header::AUTHORIZATION, value);
        }
        let host = HeaderValue::from_str(&self.authority);
        headers.insert(header::HOST, host.map_err(|_| ClientError::Closed(authority()))?);
        let agent = HeaderValue::from_static(concat!("eventcast/", env!("CARGO_PKG_VERSION")));
        headers.insert(header::USER_AGENT, agent);
        let opened = timeout(CONNECT_TIMEOUT, self.connector.open()).await;
        let stream = opened
            .map_err(|_| ClientError::ConnectTimeout(authority()))?
            .map_err(|error| ClientError::Connect(authority(), error))?;
        let closed = |_| ClientError::Closed(authority());
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(closed)?;
        // It ends with the sender and the body.
        tokio::spawn(async move { connection.await.ok() });
        let mut sent = http::Request::new(Full::new(request.body));
        *sent.method_mut() = request.method;
        *sent.uri_mut() = request.target.parse().map_err(|_| ClientError::Closed(authority()))?;
        *sent.headers_mut() = headers;
        let answered = timeout(HEAD_TIMEOUT, sender.send_request(sent)).await;
        answered.map_err(|_| ClientError::HeadTimeout(authority()))?.map_err(closed)
    }

    /// Reads the body of an answer that ends.
    ///
    /// # Errors
    /// It does not end in time, or is too large.
    pub(crate) async fn read(&self, body: Incoming) -> Result<Bytes, ClientError> {
        let read = timeout(BODY_TIMEOUT, Limited::new(body, MAX_ANSWER_BYTES).collect()).await;
        let failed = || ClientError::Body(self.authority.clone());
        Ok(read.map_err(|_| failed())?.map_err(|_| failed())?.to_bytes())
    }
}

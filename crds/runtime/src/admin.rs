//! The HTTP server of the admin port: probes for the kubelet and metrics for Prometheus.

use std::{convert::Infallible, io, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{Duration, sleep},
};

use crate::{Chain, listener::is_broken, openmetrics};

/// Concurrent connections. Only probes and scrapers connect.
const MAX_ADMIN_CONNECTIONS: usize = 64;
/// How long to wait after a failed `accept`, for example when file descriptors run out.
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How long a request head may take to arrive.
const ADMIN_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A response of the admin port.
pub type Answer = Response<Full<Bytes>>;

/// Serves until the future is dropped. `answer` maps the path of a `GET` and its headers to a response; `None` is a 404.
///
/// # Errors
/// The listener is broken and will never accept again.
pub async fn serve(
    listener: TcpListener,
    answer: impl Fn(&str, &HeaderMap) -> Option<Answer> + Send + Sync + 'static,
) -> io::Result<()> {
    let permits = Arc::new(Semaphore::new(MAX_ADMIN_CONNECTIONS));
    let answer = Arc::new(answer);
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return Ok(());
        };
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) if is_broken(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the admin port");
                sleep(ACCEPT_RETRY_PAUSE).await;
                continue;
            }
        };
        let answer = Arc::clone(&answer);
        let service = service_fn(move |request: Request<Incoming>| {
            let is_read = request.method() == Method::GET || request.method() == Method::HEAD;
            let response = if is_read {
                answer(request.uri().path(), request.headers()).unwrap_or_else(|| {
                    text(
                        StatusCode::NOT_FOUND,
                        "not found: this port serves /livez, /readyz and /metrics\n",
                    )
                })
            } else {
                let mut refused =
                    text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed: use GET\n");
                refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
                refused
            };
            async move { Ok::<_, Infallible>(response) }
        });
        tokio::spawn(async move {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(ADMIN_HEAD_TIMEOUT);
            if let Err(error) = builder.serve_connection(TokioIo::new(socket), service).await {
                tracing::debug!(error = %Chain(&error), "a connection on the admin port failed");
            }
            drop(permit);
        });
    }
}

/// A response in JSON, with status 200.
#[must_use]
pub fn json(body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Metrics in OpenMetrics, with status 200.
#[must_use]
pub fn openmetrics(body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    let kind = HeaderValue::from_static(openmetrics::CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A response in plain text, with the content type of the Prometheus text format.
#[must_use]
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

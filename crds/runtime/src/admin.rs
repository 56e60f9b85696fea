//! The HTTP server of the admin port: probes for the kubelet and metrics for Prometheus. It only reads.

use std::{future::ready, io};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use tokio::net::TcpListener;

pub use crate::http_server::{Answer, json, text};
use crate::{http_server, openmetrics};

/// Serves until the future is dropped. `answer` maps the path of a `GET` and its headers to a response; `None` is a 404.
///
/// # Errors
/// The listener is broken and will never accept again.
pub async fn serve(
    listener: TcpListener,
    answer: impl Fn(&str, &HeaderMap) -> Option<Answer> + Send + Sync + 'static,
) -> io::Result<()> {
    let handle = move |request: http::Request<_>| {
        let is_read = request.method() == Method::GET || request.method() == Method::HEAD;
        ready(if is_read {
            answer(request.uri().path(), request.headers()).unwrap_or_else(|| {
                text(
                    StatusCode::NOT_FOUND,
                    "not found: this port serves /livez, /readyz and /metrics\n",
                )
            })
        } else {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed: use GET\n");
            refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            refused
        })
    };
    http_server::serve(listener, "admin", handle).await
}

/// Metrics in OpenMetrics, with status 200.
#[must_use]
pub fn openmetrics(body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    let kind = HeaderValue::from_static(openmetrics::CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

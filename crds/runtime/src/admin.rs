//! The HTTP server of the admin port: probes for the kubelet and metrics for Prometheus. It only reads.

use std::{future::ready, io};

use http::{HeaderValue, Method, StatusCode, header};
use tokio::net::TcpListener;

use crate::http_server;
pub use crate::http_server::{Answer, json, text};

/// Serves until the future is dropped. `answer` maps the path of a `GET` to a response; `None` is a 404.
///
/// # Errors
/// The listener is broken and will never accept again.
pub async fn serve(
    listener: TcpListener,
    answer: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static,
) -> io::Result<()> {
    let handle = move |request: http::Request<_>| {
        let is_read = request.method() == Method::GET || request.method() == Method::HEAD;
        ready(if is_read {
            answer(request.uri().path()).unwrap_or_else(|| {
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

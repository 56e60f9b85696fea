//! The admin listener: probes and metrics, for kubelets and scrapers, never on a public port.

use std::{convert::Infallible, io, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{Duration, sleep},
};

use crate::{Chain, listener::is_broken};

/// Probes and scrapers, not the world.
const MAX_CONNECTIONS: usize = 64;

/// What is answered.
pub type Answer = Response<Full<Bytes>>;

/// Serves until dropped: `answer` is given the path of each `GET`, and `None` from it is a 404.
///
/// # Errors
/// The listener is broken.
pub async fn serve(
    listener: TcpListener,
    answer: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static,
) -> io::Result<()> {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let answer = Arc::new(answer);
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return Ok(());
        };
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) if is_broken(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection of the admin port");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let answer = Arc::clone(&answer);
        let service = service_fn(move |request: Request<Incoming>| {
            let read = request.method() == Method::GET || request.method() == Method::HEAD;
            let response = if read {
                answer(request.uri().path()).unwrap_or_else(|| {
                    text(StatusCode::NOT_FOUND, "/livez, /readyz and /metrics are here\n")
                })
            } else {
                text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n")
            };
            async move { Ok::<_, Infallible>(response) }
        });
        tokio::spawn(async move {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
            if let Err(error) = builder.serve_connection(TokioIo::new(socket), service).await {
                tracing::debug!(error = %Chain(&error), "an admin connection ended");
            }
            drop(permit);
        });
    }
}

/// An answer in plain text, as Prometheus reads it.
#[must_use]
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

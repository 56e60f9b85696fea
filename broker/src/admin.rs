//! The admin listener: `/livez`, `/readyz`, `/metrics`. Never on the public port.

use std::{convert::Infallible, sync::Arc};

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
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;

/// Probes and scrapers, not the world.
const MAX_CONNECTIONS: usize = 64;

/// Serves until dropped; `unready` makes `/readyz` fail.
pub(crate) async fn serve(listener: TcpListener, broker: Arc<Broker>, unready: CancellationToken) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let Ok((socket, _)) = listener.accept().await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (broker, unready) = (Arc::clone(&broker), unready.clone());
        let service = service_fn(move |request| {
            let response = answer(&broker, &unready, &request);
            async move { Ok::<_, Infallible>(response) }
        });
        tokio::spawn(async move {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
            if let Err(error) = builder.serve_connection(TokioIo::new(socket), service).await {
                tracing::debug!(%error, "an admin connection ended");
            }
            drop(permit);
        });
    }
}

fn answer(
    broker: &Broker,
    unready: &CancellationToken,
    request: &Request<Incoming>,
) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" if unready.is_cancelled() => {
            text(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
        }
        "/readyz" if !broker.ready() => {
            text(StatusCode::SERVICE_UNAVAILABLE, "the log of a channel was not read yet\n")
        }
        "/readyz" => text(StatusCode::OK, "ok\n"),
        "/metrics" => {
            let (bytes, pages) = broker.pages.size();
            broker.metrics.page_cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            broker.metrics.page_cache_pages.set(i64::try_from(pages).unwrap_or(i64::MAX));
            text(StatusCode::OK, broker.metrics.render())
        }
        _ => text(StatusCode::NOT_FOUND, "/livez, /readyz and /metrics are here\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

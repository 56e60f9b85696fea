//! A small HTTP/1.1 server for ports that only the kubelet, Prometheus and administrators connect to.

use std::{convert::Infallible, io, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{Duration, sleep},
};

use crate::{Chain, listener::is_broken};

/// Concurrent connections. Only probes, scrapers and administrators connect.
const MAX_CONNECTIONS: usize = 64;
/// How long to wait after a failed `accept`, for example when file descriptors run out.
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How long a request head may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A response with its whole body.
pub type Answer = Response<Full<Bytes>>;

/// Serves until the future is dropped. `name` says in logs which port it is.
///
/// # Errors
/// The listener is broken and will never accept again.
pub(crate) async fn serve<F>(
    listener: TcpListener,
    name: &'static str,
    handle: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
) -> io::Result<()>
where
    F: Future<Output = Answer> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let handle = Arc::new(handle);
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return Ok(());
        };
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) if is_broken(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the {name} port");
                sleep(ACCEPT_RETRY_PAUSE).await;
                continue;
            }
        };
        let handle = Arc::clone(&handle);
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = handle(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        tokio::spawn(async move {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
            if let Err(error) = builder.serve_connection(TokioIo::new(socket), service).await {
                tracing::debug!(error = %Chain(&error), "a connection on the {name} port failed");
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

/// A response in plain text, with the content type of the Prometheus text format.
#[must_use]
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

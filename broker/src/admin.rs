//! The admin listener's answers: `/livez`, `/readyz`, `/metrics`.

use std::{io, sync::Arc};

use eventcast_runtime::admin::{self, Answer, text};
use http::StatusCode;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;

/// Serves until dropped; `unready` makes `/readyz` fail.
///
/// # Errors
/// The listener is broken.
pub(crate) async fn serve(
    listener: TcpListener,
    broker: Arc<Broker>,
    unready: CancellationToken,
) -> io::Result<()> {
    admin::serve(listener, move |path| answer(&broker, &unready, path)).await
}

fn answer(broker: &Broker, unready: &CancellationToken, path: &str) -> Option<Answer> {
    Some(match path {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" if unready.is_cancelled() => {
            text(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
        }
        "/readyz" => match broker.ready() {
            Ok(()) => text(StatusCode::OK, "ok\n"),
            Err(waits) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{waits}\n")),
        },
        "/metrics" => {
            let (bytes, pages) = broker.pages.size();
            broker.metrics.page_cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            broker.metrics.page_cache_pages.set(i64::try_from(pages).unwrap_or(i64::MAX));
            text(StatusCode::OK, broker.metrics.render())
        }
        _ => return None,
    })
}

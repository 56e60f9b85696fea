//! The paths of the control port: `GET /connections`, `POST /connections/close`, `POST /drain`. `/log-level` is in the runtime.

mod connections;

use std::{io, sync::Arc};

use bytes::Bytes;
use eventcast_runtime::control::{self, ControlListeners, Handled, Refused, body, only};
use http::{Method, Request};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;

/// Serves the control port until the future is dropped. `shutdown` begins a drain.
///
/// # Errors
/// A listener is broken.
pub(crate) async fn serve(
    listeners: ControlListeners,
    broker: Arc<Broker>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let handle = move |request| {
        let (broker, shutdown) = (Arc::clone(&broker), shutdown.clone());
        async move { handle(&broker, &shutdown, request).await }
    };
    control::serve(listeners, handle).await
}

async fn handle(broker: &Broker, shutdown: &CancellationToken, request: Request<Bytes>) -> Handled {
    match request.uri().path() {
        "/connections" => {
            only(&request, &[Method::GET])?;
            connections::list(broker, request.uri().query().unwrap_or_default()).await
        }
        "/connections/close" => {
            only(&request, &[Method::POST])?;
            connections::close(broker, request.body())
        }
        "/drain" => {
            only(&request, &[Method::POST])?;
            drain(broker, shutdown)
        }
        _ => Err(Refused::not_found(
            "this port serves /connections, /connections/close, /drain and /log-level",
        )),
    }
}

/// The answer to `POST /drain`: what the drain does.
#[derive(Serialize)]
struct Drain {
    /// Whether a drain had already begun.
    draining: bool,
    /// Open streams of clients.
    streams: usize,
    /// How long new requests are still accepted, while `/readyz` fails.
    delay_seconds: u64,
    /// How long closing the streams takes after that.
    drain_seconds: u64,
    /// When the process ends at the latest.
    grace_seconds: u64,
}

/// Ends the process as SIGTERM does.
fn drain(broker: &Broker, shutdown: &CancellationToken) -> Handled {
    let config = broker.config();
    let plan = Drain {
        draining: shutdown.is_cancelled(),
        streams: broker.sessions.count_of_clients(),
        delay_seconds: config.shutdown.delay_seconds,
        drain_seconds: config.shutdown.drain_seconds,
        grace_seconds: config.shutdown.grace_seconds,
    };
    if !plan.draining {
        tracing::info!(streams = plan.streams, "draining, as asked for at the control port");
        shutdown.cancel();
    }
    body(&plan)
}

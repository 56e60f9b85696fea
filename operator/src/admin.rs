//! The paths of the operator's admin port: `/livez`, `/readyz`, `/metrics`.

use std::{io, sync::Arc};

use eventcast_runtime::admin::{self, Answer, text};
use http::StatusCode;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// What `/readyz` reports. Clones share one state.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Clone, Debug)]
enum State {
    Ready,
    /// Something is missing that may still come; the text says what.
    NotReady(String),
    /// The process is about to exit; the text says why.
    Failed(String),
}

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State::NotReady("starting".into()))))
    }
}

impl Readiness {
    /// Sets the reason why the operator is not ready; `None` makes it ready. Has no effect after [`fail`](Self::fail).
    pub fn set(&self, reason: Option<String>) {
        let mut state = self.0.lock();
        if !matches!(*state, State::Failed(_)) {
            *state = reason.map_or(State::Ready, State::NotReady);
        }
    }

    /// Makes `/readyz` fail until the process exits.
    pub fn fail(&self, reason: String) {
        *self.0.lock() = State::Failed(reason);
    }
}

/// Serves the admin port until the future is dropped.
///
/// # Errors
/// The listener is broken.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    readiness: Readiness,
) -> io::Result<()> {
    admin::serve(listener, move |path, _| answer(&metrics, &readiness, path)).await
}

fn answer(metrics: &Metrics, readiness: &Readiness, path: &str) -> Option<Answer> {
    Some(match path {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match &*readiness.0.lock() {
            State::Ready => text(StatusCode::OK, "ok\n"),
            State::NotReady(reason) | State::Failed(reason) => {
                text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n"))
            }
        },
        "/metrics" => text(StatusCode::OK, metrics.render()),
        _ => return None,
    })
}

//! The admin listener's answers: `/livez`, `/readyz`, `/metrics`.

use std::{io, sync::Arc};

use eventcast_runtime::admin::{self, Answer, text};
use http::StatusCode;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// What keeps the operator from its work. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Clone, Debug)]
enum State {
    Ready,
    /// Something is missing, in words.
    Missing(String),
    /// The process ends, for this reason.
    Failed(String),
}

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State::Missing("starting".into()))))
    }
}

impl Readiness {
    /// Says what is missing, or that nothing is; not after a failure.
    pub fn set(&self, missing: Option<String>) {
        let mut state = self.0.lock();
        if !matches!(*state, State::Failed(_)) {
            *state = missing.map_or(State::Ready, State::Missing);
        }
    }

    /// Says why the process ends.
    pub fn fail(&self, why: String) {
        *self.0.lock() = State::Failed(why);
    }
}

/// Serves until dropped.
///
/// # Errors
/// The listener is broken.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    readiness: Readiness,
) -> io::Result<()> {
    admin::serve(listener, move |path| answer(&metrics, &readiness, path)).await
}

fn answer(metrics: &Metrics, readiness: &Readiness, path: &str) -> Option<Answer> {
    Some(match path {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match &*readiness.0.lock() {
            State::Ready => text(StatusCode::OK, "ok\n"),
            State::Missing(why) | State::Failed(why) => {
                text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"))
            }
        },
        "/metrics" => text(StatusCode::OK, metrics.render()),
        _ => return None,
    })
}

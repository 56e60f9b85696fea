//! The admin listener's answers: `/livez`, `/readyz`, `/metrics`.

use std::sync::Arc;

use eventcast_crds::process::admin::{self, Answer, text};
use http::StatusCode;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// What keeps the operator from its work, in words; none: nothing does.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Mutex<Option<String>>>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some("starting".into()))))
    }
}

impl Readiness {
    /// Says what is missing, or that nothing is.
    pub fn set(&self, missing: Option<String>) {
        *self.0.lock() = missing;
    }
}

/// Serves until dropped.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, readiness: Readiness) {
    admin::serve(listener, move |path| answer(&metrics, &readiness, path)).await;
}

fn answer(metrics: &Metrics, readiness: &Readiness, path: &str) -> Option<Answer> {
    Some(match path {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match &*readiness.0.lock() {
            None => text(StatusCode::OK, "ok\n"),
            Some(missing) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")),
        },
        "/metrics" => text(StatusCode::OK, metrics.render()),
        _ => return None,
    })
}

//! A file with the log filter, for programs without a configuration file: a mounted ConfigMap changes the filter without a restart.

use std::{path::Path, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use crate::telemetry;

/// How often the file is read.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Uses the filter in `file`, also when it changes. If the file is missing or empty, the filter of the command line applies; if its
/// content is invalid, the last one stays. Never returns.
///
/// # Cancel safety
/// Safe.
pub async fn follow(file: &Path) {
    let mut tick = interval(POLL_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = String::new();
    loop {
        tick.tick().await;
        let text = tokio::fs::read_to_string(file).await.unwrap_or_default();
        let text = text.trim();
        if text == seen {
            continue;
        }
        text.clone_into(&mut seen);
        match telemetry::set_filter(Some(text).filter(|text| !text.is_empty())) {
            Ok(()) => tracing::info!(filter = text, "applied the log filter of the file"),
            Err(error) => tracing::error!(
                %error,
                file = %file.display(),
                "rejected the log filter of the file; keeping the last one"
            ),
        }
    }
}

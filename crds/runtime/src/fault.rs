//! Fault injection for tests, only in builds with debug assertions. It lets tests check that a panic of any critical task is
//! noticed.

use std::borrow::Cow;

/// Runs `future`. With debug assertions, panics as soon as the file named by `EVENTCAST_FAULT_FILE` has a line that equals `task`.
#[cfg(debug_assertions)]
pub async fn inject<F: Future>(task: Cow<'static, str>, future: F) -> F::Output {
    use tokio::time::{Duration, sleep};

    const FAULT_POLL_INTERVAL: Duration = Duration::from_millis(20);

    let Some(file) = std::env::var_os("EVENTCAST_FAULT_FILE") else {
        return future.await;
    };
    let named = async {
        loop {
            let text = tokio::fs::read_to_string(&file).await.unwrap_or_default();
            if text.lines().any(|line| line == task) {
                return;
            }
            sleep(FAULT_POLL_INTERVAL).await;
        }
    };
    tokio::select! {
        output = future => output,
        () = named => panic!("a fault was injected"),
    }
}

/// Returns `future` unchanged.
#[cfg(not(debug_assertions))]
pub fn inject<F: Future>(_task: Cow<'static, str>, future: F) -> F {
    future
}

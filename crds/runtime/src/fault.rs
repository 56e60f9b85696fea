//! Faults for tests, in builds with debug assertions only: the one way to see that the panic of any critical task is noticed, for
//! which there must not be a real cause.

use std::borrow::Cow;

/// `future` itself; with debug assertions it panics as soon as a line of the file that `EVENTCAST_FAULT_FILE` names is `task`.
#[cfg(debug_assertions)]
pub async fn inject<F: Future>(task: Cow<'static, str>, future: F) -> F::Output {
    use tokio::time::{Duration, sleep};

    let Some(file) = std::env::var_os("EVENTCAST_FAULT_FILE") else {
        return future.await;
    };
    let named = async {
        loop {
            let text = tokio::fs::read_to_string(&file).await.unwrap_or_default();
            if text.lines().any(|line| line == task) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        output = future => output,
        () = named => panic!("a fault was injected"),
    }
}

/// `future` itself.
#[cfg(not(debug_assertions))]
pub fn inject<F: Future>(_task: Cow<'static, str>, future: F) -> F {
    future
}

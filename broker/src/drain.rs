//! How a broker ends: not ready, deaf, empty, gone. Pure schedule, thin loop.

use std::{sync::Arc, time::Duration};

use eventcast_crds::config::Shutdown;
use eventcast_wire::closing::CloseReason;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::fanout::sessions::Sessions;

/// Closes at this rhythm at most, however many at a time.
const STEP: Duration = Duration::from_millis(20);

/// How many of `count` streams to have closed once `elapsed` of `whole` has gone by.
fn due(count: usize, elapsed: Duration, whole: Duration) -> usize {
    if elapsed >= whole {
        return count;
    }
    // elapsed < whole, so the quotient is below count
    let (e, w) = (elapsed.as_millis(), whole.as_millis().max(1));
    usize::try_from(count as u128 * e / w).unwrap_or(count)
}

/// The switches that the phases turn.
pub(crate) struct Switches {
    /// `/readyz` fails.
    pub(crate) unready: CancellationToken,
    /// The listener closes.
    pub(crate) deaf: CancellationToken,
    /// Connections finish what they do.
    pub(crate) drain: CancellationToken,
}

/// Goes through the phases; returns when all connections have ended, or at the end of the grace.
pub(crate) async fn shut_down(
    config: &Shutdown,
    switches: &Switches,
    sessions: &Arc<Sessions>,
    connections: &TaskTracker,
) {
    let end = Instant::now() + Duration::from_secs(config.grace_seconds);
    switches.unready.cancel();
    tracing::info!(streams = sessions.all().len(), "shutting down: not ready any more");
    sleep(Duration::from_secs(config.delay_seconds)).await;
    switches.deaf.cancel();
    switches.drain.cancel();
    connections.close();
    // Who comes on a connection that is still open is told to go elsewhere.
    let mut streams = sessions.shut();
    fastrand::shuffle(&mut streams);
    let (count, began) = (streams.len(), Instant::now());
    let whole = Duration::from_secs(config.drain_seconds);
    tracing::info!(streams = count, "shutting down: closing streams");
    let mut closed = 0;
    while closed < count {
        let target = due(count, began.elapsed(), whole);
        for session in &streams[closed..target] {
            session.close(CloseReason::Draining);
        }
        closed = target;
        sleep_until((Instant::now() + STEP).min(began + whole + STEP)).await;
    }
    if timeout_at(end, connections.wait()).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "the grace is over: ending with connections open"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_pace_is_even_and_ends_with_all(count in 0usize..100_000, whole in 0u64..600, at in 0u64..700) {
            let (whole, at) = (Duration::from_secs(whole), Duration::from_secs(at));
            let now = due(count, at, whole);
            prop_assert!(now <= count);
            prop_assert!(now <= due(count, at + Duration::from_secs(1), whole));
            prop_assert_eq!(due(count, whole, whole), count);
            if at < whole {
                let share = count as f64 * at.as_secs_f64() / whole.as_secs_f64();
                prop_assert!((now as f64 - share).abs() <= 1.0);
            }
        }
    }
}

//! Drains the broker at shutdown, and closes the streams of a channel that moves to other brokers: at an even pace, so that clients
//! reconnect elsewhere without loss.

use std::{sync::Arc, time::Duration};

use eventcast_crds::config::Shutdown;
use eventcast_wire::closing::CloseReason;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::sessions::{Session, Sessions};

/// How often streams are closed, as many at a time as are due.
const SHED_INTERVAL: Duration = Duration::from_millis(20);

/// How often a drain checks whether all streams have ended.
const ENDED_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// How often late streams of a channel that has moved are closed.
const LATE_STREAMS_INTERVAL: Duration = Duration::from_secs(1);

/// The phases of a shutdown. Each token is cancelled when its phase begins.
#[derive(Default)]
pub(crate) struct Phases {
    /// `/readyz` fails.
    pub(crate) unready: CancellationToken,
    /// The listener closes.
    pub(crate) stop_accepting: CancellationToken,
    /// Connections complete their requests and close.
    pub(crate) drain: CancellationToken,
}

/// Goes through the phases. Returns when all connections have ended, or at the end of the grace period.
pub(crate) async fn shut_down(
    config: &Shutdown,
    phases: &Phases,
    sessions: &Sessions,
    connections: &TaskTracker,
) {
    let end = Instant::now() + Duration::from_secs(config.grace_seconds);
    phases.unready.cancel();
    tracing::info!(streams = sessions.count(), "shutting down: not ready any more");
    sleep(Duration::from_secs(config.delay_seconds)).await;
    phases.stop_accepting.cancel();
    phases.drain.cancel();
    connections.close();
    // From now on a subscriber that arrives on an open connection is told to reconnect elsewhere.
    let streams = sessions.begin_drain();
    tracing::info!(streams = streams.len(), "shutting down: closing streams");
    let drain = shed(streams, Duration::from_secs(config.drain_seconds));
    tokio::select! {
        () = drain => {}
        () = ended(sessions) => {}
    }
    if timeout_at(end, connections.wait()).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "the grace period is over: exiting with open connections"
        );
    }
}

/// Returns when no stream is left: clients that disconnect by themselves make a drain shorter.
async fn ended(sessions: &Sessions) {
    while sessions.count() > 0 {
        sleep(ENDED_CHECK_INTERVAL).await;
    }
}

/// Closes `streams` in random order and at an even pace, the last of them after `duration`.
///
/// # Cancel safety
/// Streams that are not closed yet stay open.
async fn shed(mut streams: Vec<Arc<Session>>, duration: Duration) {
    fastrand::shuffle(&mut streams);
    close_evenly(&streams, duration, |session| {
        session.close(CloseReason::Draining);
    })
    .await;
}

/// Closes the streams of `channel`, which is moving to other brokers: at an even pace over `duration`, and then any that are still opened.
/// Never returns.
///
/// # Cancel safety
/// Streams that are not closed yet stay open.
pub(crate) async fn move_away(sessions: &Sessions, channel: &str, duration: Duration) {
    let close = |session: &Session| {
        // Otherwise the client would send its next request over the same connection, to this broker.
        session.connection().leave();
        session.close(CloseReason::Moving);
    };
    close_evenly(&sessions.of_channel_by_connection(channel), duration, close).await;
    loop {
        // Requests that were under way when the move began.
        sessions.select(channel, None).iter().for_each(|session| close(session));
        sleep(LATE_STREAMS_INTERVAL).await;
    }
}

/// Calls `close` for each of `streams` at an even pace, the last call after `duration`.
async fn close_evenly(streams: &[Arc<Session>], duration: Duration, close: impl Fn(&Session)) {
    let began = Instant::now();
    let mut closed = 0;
    while closed < streams.len() {
        let target = due(streams.len(), began.elapsed(), duration);
        streams[closed..target].iter().for_each(|session| close(session));
        closed = target;
        sleep_until((Instant::now() + SHED_INTERVAL).min(began + duration + SHED_INTERVAL)).await;
    }
}

/// How many of `count` streams must be closed once `elapsed` of `duration` has passed.
fn due(count: usize, elapsed: Duration, duration: Duration) -> usize {
    if elapsed >= duration {
        return count;
    }
    // elapsed < duration, so the quotient is below count.
    let (elapsed, duration) = (elapsed.as_millis(), duration.as_millis().max(1));
    usize::try_from(count as u128 * elapsed / duration).unwrap_or(count)
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

//! When keys are fetched: periodically, and at once when a token names an unknown key. Such tokens cause at most one fetch in [`COOLDOWN`],
//! whatever keys they name.

use std::{sync::Arc, time::Duration};

use eventcast_crds::broker_status::AccessReason;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::{Instant, sleep, timeout},
};

use super::{
    KeyOrigin, KeySet,
    fetch::Fetched,
    state::{Failure, KeyState},
};

/// The time between two fetches, if the server does not say how long keys may be cached.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(300);
/// The bounds of what a server may say.
const MIN_INTERVAL: Duration = Duration::from_secs(60);
const MAX_INTERVAL: Duration = Duration::from_secs(3600);
/// The pause after the first failed fetch. It doubles with each further one.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// The least time between two fetches that tokens cause.
const COOLDOWN: Duration = Duration::from_secs(30);
/// Longer than a fetch takes.
const WAIT_TIMEOUT: Duration = Duration::from_secs(7);
/// Requests that may wait for a fetch.
const MAX_WAITING: usize = 256;

/// Fetches that tokens cause.
pub(super) struct FetchRequests {
    progress: Mutex<Progress>,
    wanted: Notify,
    /// Counts the fetches that have ended.
    ended: watch::Sender<u64>,
    waiting: Semaphore,
}

#[derive(Default)]
struct Progress {
    /// When a token last caused a fetch.
    last: Option<Instant>,
    is_running: bool,
}

/// The outcome of a fetch that a token with an unknown key asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refetch {
    /// A fetch has ended.
    Ended,
    /// It is too early for another fetch.
    TooEarly,
    /// Too many requests wait for one, or it does not end.
    Busy,
}

impl Default for FetchRequests {
    fn default() -> Self {
        Self {
            progress: Mutex::default(),
            wanted: Notify::new(),
            ended: watch::Sender::new(0),
            waiting: Semaphore::new(MAX_WAITING),
        }
    }
}

impl FetchRequests {
    /// Causes a fetch and waits for its end, or joins the one that runs.
    ///
    /// # Cancel safety
    /// Safe: the fetch continues.
    pub(super) async fn refetch(&self) -> Refetch {
        let mut ended = self.ended.subscribe();
        {
            let mut progress = self.progress.lock();
            if !progress.is_running {
                if progress.last.is_some_and(|last| last.elapsed() < COOLDOWN) {
                    return Refetch::TooEarly;
                }
                *progress = Progress { last: Some(Instant::now()), is_running: true };
                self.wanted.notify_one();
            }
        }
        let Ok(_waiting) = self.waiting.try_acquire() else { return Refetch::Busy };
        match timeout(WAIT_TIMEOUT, ended.changed()).await {
            Ok(Ok(())) => Refetch::Ended,
            Ok(Err(_)) | Err(_) => Refetch::Busy,
        }
    }

    fn finish(&self) {
        self.progress.lock().is_running = false;
        self.ended.send_modify(|count| *count += 1);
    }
}

/// Keeps the keys of `state` up to date. Never returns.
pub(super) async fn keep_fresh<F>(
    state: Arc<KeyState>,
    requests: Arc<FetchRequests>,
    mut fetch: impl FnMut() -> F,
) where
    F: Future<Output = Result<Fetched, Failure>>,
{
    let mut failures = 0;
    loop {
        let pause = match apply(fetch().await, &state) {
            Ok(max_age) => {
                failures = 0;
                max_age.map_or(DEFAULT_INTERVAL, |age| age.clamp(MIN_INTERVAL, MAX_INTERVAL))
            }
            Err(failure) => {
                tracing::warn!(
                    reason = failure.reason.as_str(),
                    detail = failure.detail,
                    "the keys of an issuer cannot be fetched"
                );
                state.failed(failure);
                failures += 1;
                let doubled = MIN_BACKOFF.saturating_mul(2_u32.saturating_pow(failures - 1));
                doubled.min(MAX_BACKOFF)
            }
        };
        requests.finish();
        // Jitter: brokers that were started together must not fetch together.
        let pause = pause.mul_f64(0.8 + 0.4 * fastrand::f64());
        tokio::select! {
            () = sleep(pause) => {}
            () = requests.wanted.notified() => {}
        }
    }
}

fn apply(fetched: Result<Fetched, Failure>, state: &KeyState) -> Result<Option<Duration>, Failure> {
    let Fetched { content, max_age } = fetched?;
    let keys = KeySet::parse(&content, KeyOrigin::Url).map_err(|why| Failure {
        reason: AccessReason::KeysInvalid,
        detail: format!("the answer cannot be used: {why}"),
    })?;
    state.succeeded(keys, &content);
    Ok(max_age)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use bytes::Bytes;
    use jsonwebtoken::Algorithm;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn set(kid: &str) -> Fetched {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let text =
            format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","x":"{x}","kid":"{kid}"}}]}}"#);
        Fetched { content: Bytes::from(text), max_age: None }
    }

    fn failure() -> Failure {
        Failure { reason: AccessReason::KeysUnreachable, detail: "login.example.com: x".into() }
    }

    /// Keys that are kept fresh with what `answer` says to each fetch, and the number of fetches.
    fn start(
        answer: impl Fn(u32) -> Result<Fetched, Failure> + Send + 'static,
    ) -> (Arc<KeyState>, Arc<FetchRequests>, Arc<AtomicU32>) {
        let (state, requests) = (Arc::new(KeyState::default()), Arc::new(FetchRequests::default()));
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let fetch = move || {
            let outcome = answer(counted.fetch_add(1, Ordering::Relaxed));
            async move { outcome }
        };
        tokio::spawn(keep_fresh(Arc::clone(&state), Arc::clone(&requests), fetch));
        (state, requests, count)
    }

    fn has(state: &KeyState, kid: &str) -> bool {
        state.keys().is_some_and(|keys| keys.find(Some(kid), Algorithm::EdDSA).is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_unknown_keys_causes_one_fetch_in_half_a_minute() {
        let (state, requests, count) = start(|i| Ok(set(if i < 2 { "old" } else { "new" })));
        sleep(Duration::from_millis(1)).await;
        assert!(has(&state, "old"));
        let began = Instant::now();
        let mut ended = 0;
        while began.elapsed() < Duration::from_millis(29_900) {
            let refetches = (0..500).map(|_| requests.refetch());
            let outcomes = futures_util::future::join_all(refetches).await;
            ended += outcomes.iter().filter(|outcome| **outcome == Refetch::Ended).count();
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(count.load(Ordering::Relaxed), 2, "the first, and one for all of them");
        assert_eq!(ended, MAX_WAITING);
        sleep(Duration::from_millis(200)).await;
        assert_eq!(requests.refetch().await, Refetch::Ended);
        assert!(has(&state, "new"), "a real rotation is seen in spite of the flood");
        assert!(!has(&state, "old"), "a key that was removed is none any more");
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_fetched_from_time_to_time_as_the_server_says() {
        for (max_age, least, most) in
            [(None, 10, 15), (Some(1), 50, 75), (Some(86_400), 1, 1), (Some(1200), 2, 4)]
        {
            let (_, _, count) = start(move |_| {
                Ok(Fetched { max_age: max_age.map(Duration::from_secs), ..set("a") })
            });
            sleep(HOUR - Duration::from_secs(800)).await;
            sleep(Duration::from_secs(800)).await;
            let count = count.load(Ordering::Relaxed) - 1;
            assert!((least - 1..=most).contains(&count), "{max_age:?}: {count}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_good_keys_are_used_for_a_day_and_reported_after_a_quarter_of_an_hour() {
        let (state, _, count) = start(|i| if i == 0 { Ok(set("a")) } else { Err(failure()) });
        sleep(Duration::from_secs(14 * 60)).await;
        assert!(has(&state, "a"));
        assert_eq!(state.problem(), None);
        sleep(Duration::from_secs(120)).await;
        assert_eq!(state.problem().unwrap().0, AccessReason::KeysStale);
        sleep(HOUR * 23 + HOUR / 2).await;
        assert!(has(&state, "a"));
        let a_day = count.load(Ordering::Relaxed);
        assert!((1200..2400).contains(&a_day), "about once a minute: {a_day}");
        sleep(HOUR / 2).await;
        assert!(!has(&state, "a"), "after a day nobody knows whether they are still good");
        assert_eq!(state.problem().unwrap().0, AccessReason::KeysUnreachable);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_were_never_loaded_are_reported_at_once_and_tried_often() {
        let (state, _, _) = start(|i| if i < 4 { Err(failure()) } else { Ok(set("a")) });
        sleep(Duration::from_millis(1)).await;
        assert!(state.keys().is_none());
        assert_eq!(state.problem().unwrap().0, AccessReason::KeysUnreachable);
        sleep(Duration::from_secs(20)).await;
        assert!(has(&state, "a"));
        assert_eq!(state.problem(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_that_cannot_be_used_is_a_failure_and_changes_nothing() {
        let bad = |i: u32| match i {
            0 => Ok(set("a")),
            1 => Ok(Fetched { content: "<html>".into(), max_age: None }),
            2 => Ok(Fetched { content: r#"{"keys":[]}"#.into(), max_age: None }),
            _ => Err(failure()),
        };
        let (state, requests, _) = start(bad);
        sleep(Duration::from_millis(1)).await;
        for _ in 0..3 {
            assert_eq!(requests.refetch().await, Refetch::Ended);
            assert!(has(&state, "a") && !state.is_certain());
            sleep(COOLDOWN).await;
        }
    }
}

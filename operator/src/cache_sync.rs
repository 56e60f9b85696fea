//! Whether watches have listed all objects, so that their caches are complete. Any number of tasks may wait for it, unlike for a store of kube,
//! which wakes only the last of those that wait.

use std::time::Duration;

use kube::runtime::watcher;
use tokio::{sync::watch, time::timeout};

/// The watches of a scope.
#[derive(Debug, Default)]
pub struct CacheSync {
    watches: Vec<watch::Receiver<bool>>,
}

impl CacheSync {
    /// Adds a watch, which says with [`mark_when_listed`] when it has.
    pub fn add(&mut self) -> watch::Sender<bool> {
        let (sender, receiver) = watch::channel(false);
        self.watches.push(receiver);
        sender
    }

    /// Waits until all watches have listed their objects, for at most `limit`. Returns whether they have.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn wait(&self, limit: Duration) -> bool {
        let all = async {
            for watch in &self.watches {
                if watch.clone().wait_for(|listed| *listed).await.is_err() {
                    return false; // the watch has ended
                }
            }
            true
        };
        timeout(limit, all).await.unwrap_or(false)
    }
}

/// Marks a watch as complete once it has listed all objects. To be called with each event after it has changed the cache.
pub fn mark_when_listed<K>(
    listed: watch::Sender<bool>,
) -> impl FnMut(&Result<watcher::Event<K>, watcher::Error>) {
    move |event| {
        if matches!(event, Ok(watcher::Event::InitDone)) {
            listed.send_replace(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use k8s_openapi::api::core::v1::Pod;
    use tokio::time::{Instant, sleep};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(120);

    #[tokio::test(start_paused = true)]
    async fn all_waiting_tasks_resume_once_all_watches_have_listed() {
        let mut listed = CacheSync::default();
        let mut first = mark_when_listed::<Pod>(listed.add());
        let mut second = mark_when_listed::<Pod>(listed.add());
        let began = Instant::now();
        let watches = async {
            sleep(Duration::from_secs(1)).await;
            first(&Ok(watcher::Event::Init));
            first(&Ok(watcher::Event::InitDone));
            sleep(Duration::from_secs(1)).await;
            second(&Ok(watcher::Event::InitDone));
        };
        let waiting = join_all((0..10).map(|_| listed.wait(LIMIT)));
        let ((), complete) = tokio::join!(watches, waiting);
        assert_eq!(complete, [true; 10]);
        assert_eq!(began.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn no_task_waits_longer_than_the_limit_or_for_a_watch_that_has_ended() {
        let mut listed = CacheSync::default();
        let first = mark_when_listed::<Pod>(listed.add());
        assert!(!listed.wait(LIMIT).await);
        drop(first);
        let began = Instant::now();
        assert!(!listed.wait(LIMIT).await);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}

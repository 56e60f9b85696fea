//! Removes events from memory within two seconds after the stream has deleted them, whatever the reason.
//!
//! Every [`POLL_INTERVAL`] the stream's leader is asked for its state; [`deletions`](super::deletions) derives what was deleted.
//! While NATS does not answer, only the age of events is known, and events older than the stream's `max_age` are evicted
//! (docs/adr/0009).

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use async_nats::jetstream::stream::Info;
use eventcast_crds::stream::epoch_of;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Incarnation, Log,
    deletions::{Action, Deletions, Extent},
    page::Page,
    stream::StreamError,
};

/// How often the state of the stream is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(600);
/// How long one poll may take.
const POLL_TIMEOUT: Duration = Duration::from_millis(400);
/// How long the server may take to list deleted sequences.
const DELETED_LIST_TIMEOUT: Duration = Duration::from_secs(2);

/// What is known about the limits of the stream and its deletions.
#[derive(Default)]
pub(super) struct RetentionState {
    pub(super) deletions: Deletions,
    max_age: Duration,
    /// Bytes of a message with its headers; `None` if the stream has no limit or was not polled yet.
    pub(super) max_message_bytes: Option<usize>,
}

/// When to remove events below the stream's first sequence from memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remove {
    /// At once: events were erased, or nothing was served in the meantime.
    AtOnce,
    /// After a grace period, so that a subscriber that is slightly behind still receives them.
    AfterGrace,
}

/// Polls the stream. Never returns; cancel safe.
pub(super) async fn run(log: &Log) {
    loop {
        let jitter = fastrand::u64(0..100);
        sleep(POLL_INTERVAL - Duration::from_millis(jitter)).await;
        if log.poll_deletions(Remove::AfterGrace).await.is_err() {
            log.evict_by_age();
        }
    }
}

impl Log {
    /// Asks for the state of the stream and removes from memory what it has deleted.
    ///
    /// # Errors
    /// The tail is detached, or NATS did not answer. Nothing was removed.
    pub(super) async fn poll_deletions(&self, remove: Remove) -> Result<(), StreamError> {
        let incarnation = self.tail.incarnation().ok_or(StreamError::NoAnswer)?;
        let attachment = self.attachment().ok_or(StreamError::NoAnswer)?;
        let polled = self.fetch_info(POLL_TIMEOUT).await;
        if matches!(polled, Err(StreamError::Missing)) {
            self.withhold();
        }
        let info = polled?;
        // The attachment detects a recreated stream by itself.
        if self.attachment() != Some(attachment) || epoch_of(&info) != incarnation.epoch {
            return Ok(());
        }
        self.remove_deleted(incarnation, &info, remove).await
    }

    /// Removes from memory what the stream of `info` has deleted.
    pub(super) async fn remove_deleted(
        &self,
        incarnation: Incarnation,
        info: &Info,
        remove: Remove,
    ) -> Result<(), StreamError> {
        let mut extent = Extent::of(&info.state);
        let action = {
            let mut known = self.retention.lock();
            known.max_age = info.config.max_age;
            known.max_message_bytes =
                usize::try_from(info.config.max_message_size).ok().filter(|n| *n > 0);
            known.deletions.enter(incarnation.number);
            known.deletions.compare(extent)
        };
        let mut list = Vec::new();
        if action == Action::FetchList {
            let info = self.fetch_deleted().await?;
            if epoch_of(&info) != incarnation.epoch {
                return Ok(());
            }
            extent = Extent::of(&info.state);
            list = info.state.deleted.unwrap_or_default();
        }
        let mut known = self.retention.lock();
        if !known.deletions.is_of(incarnation.number) {
            return Ok(());
        }
        let new = known.deletions.add(&list);
        let floor =
            known.deletions.advance_floor(extent.first, remove == Remove::AtOnce, Instant::now());
        known.deletions.cleared += u64::from(action == Action::ClearMemory);
        drop(known);
        if action == Action::ClearMemory {
            self.tail.clear();
            self.pages.remove_if(|_, _| true);
        }
        let moved = self.tail.remove(floor, &new);
        if moved || !new.is_empty() {
            let holds_new = |page: &Page| new.iter().any(|s| page.check_at(*s).is_some());
            self.pages.remove_if(|low, page| low < floor || holds_new(page));
        }
        if moved || !new.is_empty() || action == Action::ClearMemory {
            self.count_drop();
        }
        Ok(())
    }

    /// Whether the stream still holds every event of `page`, as far as is known. `cleared` is the value of [`Deletions::cleared`]
    /// from before the page was read: if it has changed, nothing is known.
    pub(super) fn still_holds(&self, page: &Page, cleared: u64) -> bool {
        let first = self.tail.first_sequence();
        let known = self.retention.lock();
        known.deletions.cleared == cleared
            && page
                .events
                .iter()
                .all(|e| e.sequence >= first && !known.deletions.contains(e.sequence))
    }

    /// Stops serving because the stream is missing, until the tail is attached again. Readers discard what they hold.
    pub(super) fn withhold(&self) {
        self.tail.withhold();
        self.count_drop();
    }

    /// Stops serving the current incarnation because the stream was recreated.
    pub(super) fn invalidate(&self) {
        self.tail.invalidate();
        self.count_drop();
    }

    pub(super) fn count_drop(&self) {
        self.drops.fetch_add(1, SeqCst);
    }

    /// Evicts events that are older than the stream's `max_age`, while NATS does not answer.
    fn evict_by_age(&self) {
        let max_age = self.retention.lock().max_age;
        let Some(nanos) = i64::try_from(max_age.as_nanos()).ok().filter(|n| *n > 0) else {
            return;
        };
        let oldest = crate::clock::now_nanos() - nanos;
        self.tail.evict_before(oldest);
        let is_old = |page: &Page| page.events.first().is_some_and(|e| e.nanos < oldest);
        self.pages.remove_if(|_, page| is_old(page));
        // Even if nothing was in memory: a slow reader may hold a page that the cache has evicted.
        self.count_drop();
    }

    /// The state of the stream with the list of sequences that are deleted between its first and its last.
    pub(super) async fn fetch_deleted(&self) -> Result<Info, StreamError> {
        let no_answer = |_| StreamError::NoAnswer;
        let stream =
            self.nats.history.get_stream_no_info(&self.settings.stream).await.map_err(no_answer)?;
        let request = stream.info_builder().with_deleted(true).fetch();
        let info =
            timeout(DELETED_LIST_TIMEOUT, request).await.map_err(|_| StreamError::NoAnswer)?;
        Ok(info.map_err(|_| StreamError::NoAnswer)?.info)
    }
}

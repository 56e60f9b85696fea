//! Memory follows the log: what the stream has dropped, for whatever reason, is forgotten here within two seconds.
//!
//! The leader is asked for the stream's extent every [`INTERVAL`]; [`dropped`](super::dropped) tells what that means. While NATS
//! does not answer, the age of events alone is known, and memory keeps none that are too old (docs/adr/0009).

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use async_nats::jetstream::stream::Info;
use eventcast_crds::stream::epoch_of;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Incarnation, Log,
    dropped::{Action, Dropped, Extent},
    page::Page,
    stream::StreamError,
};

/// How often the stream is asked.
const INTERVAL: Duration = Duration::from_millis(600);
/// How long an answer may take.
const INFO_TIMEOUT: Duration = Duration::from_millis(400);
/// A list of deleted sequences takes the server longer.
const LIST_TIMEOUT: Duration = Duration::from_secs(2);

/// What is known of the stream's limits and deletions.
#[derive(Default)]
pub(super) struct Retained {
    pub(super) dropped: Dropped,
    max_age: Duration,
    /// Bytes of a message with its headers; none where the stream has no limit, or was not asked yet.
    pub(super) max_message_bytes: Option<usize>,
}

/// When memory forgets what lies before the stream's first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forget {
    /// As soon as it is known: somebody has erased it, or nobody was read to meanwhile.
    AtOnce,
    /// After a grace: whoever is a moment behind still gets it.
    AfterGrace,
}

/// Asks again and again. Never returns; cancel safe.
pub(super) async fn follow(log: &Log) {
    loop {
        let jitter = fastrand::u64(0..100);
        sleep(INTERVAL - Duration::from_millis(jitter)).await;
        if log.follow_once(Forget::AfterGrace).await.is_err() {
            log.forget_by_age();
        }
    }
}

impl Log {
    /// Asks what the stream holds, and forgets what it does not.
    ///
    /// # Errors
    /// The stream was not asked, or did not answer; nothing was forgotten.
    pub(super) async fn follow_once(&self, forget: Forget) -> Result<(), StreamError> {
        let incarnation = self.tail.incarnation().ok_or(StreamError::NoAnswer)?;
        let attachment = self.attachment().ok_or(StreamError::NoAnswer)?;
        let asked = self.ask_info(INFO_TIMEOUT).await;
        if matches!(asked, Err(StreamError::Missing)) {
            self.withhold();
        }
        let info = asked?;
        // Of another log the tail learns by itself.
        if self.attachment() != Some(attachment) || epoch_of(&info) != incarnation.epoch {
            return Ok(());
        }
        self.forget_dropped(incarnation, &info, forget).await
    }

    /// Forgets what the stream of `info` does not hold any more.
    pub(super) async fn forget_dropped(
        &self,
        incarnation: Incarnation,
        info: &Info,
        forget: Forget,
    ) -> Result<(), StreamError> {
        let mut extent = Extent::of(&info.state);
        let action = {
            let mut known = self.retained.lock();
            known.max_age = info.config.max_age;
            known.max_message_bytes =
                usize::try_from(info.config.max_message_size).ok().filter(|n| *n > 0);
            known.dropped.enter(incarnation.number);
            known.dropped.compare(extent)
        };
        let mut list = Vec::new();
        if action == Action::AskForList {
            let info = self.ask_deleted().await?;
            if epoch_of(&info) != incarnation.epoch {
                return Ok(());
            }
            extent = Extent::of(&info.state);
            list = info.state.deleted.unwrap_or_default();
        }
        let mut known = self.retained.lock();
        if !known.dropped.is_of(incarnation.number) {
            return Ok(());
        }
        let new = known.dropped.learn(&list);
        let floor = known.dropped.begin_at(extent.first, forget == Forget::AtOnce, Instant::now());
        known.dropped.cleared += u64::from(action == Action::ForgetAll);
        drop(known);
        if action == Action::ForgetAll {
            self.tail.forget_all();
            self.pages.forget(|_, _| true);
        }
        let moved = self.tail.forget(floor, &new);
        if moved || !new.is_empty() {
            self.pages
                .forget(|low, page| low < floor || new.iter().any(|s| page.check_at(*s).is_some()));
        }
        if moved || !new.is_empty() || action == Action::ForgetAll {
            self.drops.fetch_add(1, SeqCst);
        }
        Ok(())
    }

    /// Whether the log still holds every event of `page`, as far as is known. Of a page that was read while `cleared` was what
    /// [`Dropped::cleared`] is, it is known.
    pub(super) fn still_holds(&self, page: &Page, cleared: u64) -> bool {
        let first = self.tail.first();
        let known = self.retained.lock();
        known.dropped.cleared == cleared
            && page
                .events
                .iter()
                .all(|e| e.sequence >= first && !known.dropped.contains(e.sequence))
    }

    /// The stream is not there: nothing is served until the tail is attached again, and what was read for somebody is dropped.
    pub(super) fn withhold(&self) {
        self.tail.withhold();
        self.drops.fetch_add(1, SeqCst);
    }

    /// The log is another one: nothing of the old one is served.
    pub(super) fn invalidate(&self) {
        self.tail.invalidate();
        self.drops.fetch_add(1, SeqCst);
    }

    /// While nobody can ask: what is older than the stream keeps is kept in memory no longer either.
    fn forget_by_age(&self) {
        let max_age = self.retained.lock().max_age;
        let Some(nanos) = i64::try_from(max_age.as_nanos()).ok().filter(|n| *n > 0) else {
            return;
        };
        let oldest = crate::clock::now_nanos() - nanos;
        self.tail.evict_before(oldest);
        self.pages.forget(|_, page| page.events.first().is_some_and(|e| e.nanos < oldest));
        self.drops.fetch_add(1, SeqCst);
    }

    /// The state of the stream with the list of what is deleted inside it.
    pub(super) async fn ask_deleted(&self) -> Result<Info, StreamError> {
        let no_answer = |_| StreamError::NoAnswer;
        let stream =
            self.nats.history.get_stream_no_info(&self.names.stream).await.map_err(no_answer)?;
        let asked = stream.info_builder().with_deleted(true).fetch();
        let info = timeout(LIST_TIMEOUT, asked).await.map_err(|_| StreamError::NoAnswer)?;
        Ok(info.map_err(|_| StreamError::NoAnswer)?.info)
    }
}

//! Reads pages: 256 consecutive sequences below the tail, read once, framed once, shared by all subscribers that replay.
//!
//! A page is proven complete, either by a message after its end from the same replica, or by the stream's leader. Concurrent
//! readers of a page share one load. The number of concurrent loads is bounded per channel.

use std::{collections::HashMap, sync::Arc, time::Duration};

use eventcast_crds::stream::epoch_of;
use eventcast_runtime::Chain;
use eventcast_wire::{cursor::Epoch, event::Event, trace_context::TraceContext};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::sleep};

use super::{
    Incarnation, Log,
    direct::{RawMessage, ReadError, ReplyEnd},
    message::{self, Stored},
    page::{self, Page},
    page_cache::Key,
    retention::Remove,
};
use crate::spans::PageSpan;

/// Attempts of one load. When all of them fail, its readers retry.
const MAX_LOAD_ATTEMPTS: u32 = 4;
/// How long the leader may take to report the state of the stream after a page was read.
const PAGE_INFO_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a page could not be read. A reader may retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PageError {
    #[error("failed to read a page of the log")]
    Unreadable,
    #[error("the stream was recreated")]
    Recreated,
}

impl PageError {
    /// The attribute of a span.
    fn label(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Recreated => "recreated",
        }
    }
}

type PageLoad = Shared<BoxFuture<'static, Result<Arc<Page>, PageError>>>;

/// The page loads of one log that are in progress.
pub(super) type PageLoads = Mutex<HashMap<Key, PageLoad>>;

/// Removes a load that has ended, even if it panicked: else every later reader of the page would get its failure.
struct LoadGuard<'a> {
    log: &'a Log,
    key: &'a Key,
}

impl Drop for LoadGuard<'_> {
    fn drop(&mut self) {
        self.log.page_loads.lock().remove(self.key);
    }
}

impl Log {
    /// The page that contains `sequence`, up to the head of the tail. `sequence` is at most the head's.
    ///
    /// # Errors
    /// NATS did not return the page, or the stream was recreated. All readers that wait for the page get the error.
    ///
    /// # Cancel safety
    /// Safe: the load continues in its own task.
    pub(crate) async fn page(
        self: &Arc<Self>,
        incarnation: u64,
        sequence: u64,
    ) -> Result<Arc<Page>, PageError> {
        self.page_in_trace(incarnation, sequence, None).await
    }

    /// As [`page`](Self::page), for a reader in a trace.
    pub(crate) async fn page_in_trace(
        self: &Arc<Self>,
        incarnation: u64,
        sequence: u64,
        trace: Option<&TraceContext>,
    ) -> Result<Arc<Page>, PageError> {
        let current = self.served_incarnation(incarnation).ok_or(PageError::Recreated)?;
        let key = self.key(current, sequence);
        if let Some(page) = self.find_in_memory(&key) {
            return Ok(page);
        }
        let load = self.load_shared(&key, current, trace);
        load.await
    }

    /// The page that contains `sequence`, if the cache or the tail has it.
    pub(crate) fn page_in_memory(&self, incarnation: u64, sequence: u64) -> Option<Arc<Page>> {
        self.find_in_memory(&self.key(self.served_incarnation(incarnation)?, sequence))
    }

    fn find_in_memory(&self, key: &Key) -> Option<Arc<Page>> {
        if let Some(page) = self.pages.get(key) {
            return Some(page);
        }
        let cleared = self.retention.lock().deletions.cleared;
        let events = self.tail.range(key.number, key.low, key.high)?;
        let page = Arc::new(Page::from_tail(key.low, key.high, events));
        // The page of the head still grows.
        if page::is_complete(key.low, key.high) {
            self.put(key, &page, cleared);
        }
        Some(page)
    }

    /// Caches a page. Returns false if the stream has deleted some of it since it was read; `cleared` is the value of
    /// [`Deletions::cleared`](super::deletions::Deletions::cleared) from before. The page is cached before it is checked, so that a
    /// deletion in between finds it in the cache.
    fn put(&self, key: &Key, page: &Arc<Page>, cleared: u64) -> bool {
        self.pages.put(key.clone(), Arc::clone(page));
        let is_current = self.still_holds(page, cleared);
        if !is_current {
            self.pages.remove(key);
        }
        is_current
    }

    fn served_incarnation(&self, incarnation: u64) -> Option<Incarnation> {
        self.tail.served().filter(|i| i.number == incarnation)
    }

    fn key(&self, incarnation: Incarnation, sequence: u64) -> Key {
        let (low, high) = page::bounds(sequence, self.tail.bounds().1);
        let Incarnation { number, epoch, .. } = incarnation;
        Key { channel: self.pages.number, epoch, number, low, high }
    }

    /// The load of `key`. The first reader starts it, the others join.
    fn load_shared(
        self: &Arc<Self>,
        key: &Key,
        incarnation: Incarnation,
        trace: Option<&TraceContext>,
    ) -> PageLoad {
        let mut loads = self.page_loads.lock();
        let log = Arc::clone(self);
        let begin = || {
            let (sender, result) = oneshot::channel();
            let of = key.clone();
            let mut span = PageSpan::begin(&log.settings.channel, key.low, key.high, trace);
            tokio::spawn(async move {
                let guard = LoadGuard { log: &log, key: &of };
                let result = log.load_and_cache(incarnation, &of, &mut span).await;
                drop(guard);
                if let Some(span) = span {
                    span.end(result.as_ref().err().map(|error| error.label()));
                }
                // All readers may have left.
                drop(sender.send(result));
            });
            result.map(|result| result.unwrap_or(Err(PageError::Unreadable))).boxed().shared()
        };
        loads.entry(key.clone()).or_insert_with(begin).clone()
    }

    /// Loads a page and caches it. Repeats that if the stream deletes some of it in the meantime.
    async fn load_and_cache(
        &self,
        incarnation: Incarnation,
        key: &Key,
        span: &mut Option<PageSpan>,
    ) -> Result<Arc<Page>, PageError> {
        for _ in 0..MAX_LOAD_ATTEMPTS {
            let cleared = self.retention.lock().deletions.cleared;
            let page = self.load(incarnation, key.low, key.high, span).await?;
            if self.put(key, &page, cleared) {
                return Ok(page);
            }
        }
        Err(PageError::Unreadable)
    }

    async fn load(
        &self,
        incarnation: Incarnation,
        low: u64,
        high: u64,
        span: &mut Option<PageSpan>,
    ) -> Result<Arc<Page>, PageError> {
        let permit = self.load_permits.acquire().await.map_err(|_| PageError::Unreadable)?;
        let mut tries = 0;
        let (read, first_sequence) = loop {
            if self.tail.incarnation().is_none_or(|i| i.number != incarnation.number) {
                return Err(PageError::Recreated);
            }
            if let Some(span) = span {
                span.tried();
            }
            match self.read_proven(incarnation, low, high).await {
                Ok(read) => break read,
                Err(error) => {
                    self.metrics().page_load("retried");
                    tries += 1;
                    if tries == MAX_LOAD_ATTEMPTS {
                        self.metrics().page_load("failed");
                        tracing::warn!(channel = self.settings.channel, low, high, error = %Chain(&error), "failed to read a page of the log");
                        return Err(PageError::Unreadable);
                    }
                    sleep(Duration::from_millis(fastrand::u64(20..=50) << tries)).await;
                }
            }
        };
        drop(permit);
        self.metrics().page_load("read");
        let events = read.iter().map(|m| self.decode(m, incarnation.epoch)).collect();
        Ok(Arc::new(Page::from_log(low, high, events, first_sequence)))
    }

    /// Reads every message of `low..=high`, proven complete and proven to be of the stream that the tail is attached to: the tail
    /// stayed attached, and the stream still has its epoch. Leaves out messages that the leader reports as deleted, because a
    /// replica that is behind may still have them. Returns also the first sequence of the stream if that is after `low`, else 0.
    async fn read_proven(
        &self,
        incarnation: Incarnation,
        low: u64,
        high: u64,
    ) -> Result<(Vec<RawMessage>, u64), ReadError> {
        let attachment = self.attachment().ok_or(ReadError::Detached)?;
        let mut read = self.read_all(low, high).await?;
        // Fetched after the read, so that messages that retention deletes in the meantime do not look like single deletions.
        let info = self.fetch_info(PAGE_INFO_TIMEOUT).await.map_err(|_| ReadError::Timeout)?;
        if self.attachment() != Some(attachment) || epoch_of(&info) != incarnation.epoch {
            return Err(ReadError::Detached);
        }
        let known = self.remove_deleted(incarnation, &info, Remove::AfterGrace).await;
        known.map_err(|_| ReadError::Timeout)?;
        let first = info.state.first_sequence;
        let known = self.retention.lock();
        read.retain(|m| m.sequence >= first && !known.deletions.contains(m.sequence));
        Ok((read, if first > low { first.min(high + 1) } else { 0 }))
    }

    /// Reads every message of `low..=high`, proven complete.
    async fn read_all(&self, low: u64, high: u64) -> Result<Vec<RawMessage>, ReadError> {
        let (mut at, mut out) = (low, Vec::new());
        while at <= high {
            let (messages, ending) = self.batch_get(at, high - at + 2).await?;
            for m in messages {
                if m.sequence > high {
                    return Ok(out);
                }
                at = m.sequence + 1;
                out.push(m);
            }
            if at > high || matches!(ending, ReplyEnd::Pending(n) if n > 0) {
                continue; // done, or cut off by the size limit of one reply
            }
            // The replica is behind, or the messages are deleted. Only the leader knows.
            match self.leader_get(at).await? {
                Some(m) if m.sequence > high => return Ok(out),
                Some(m) => {
                    self.metrics().page_load("stale");
                    at = m.sequence + 1;
                    out.push(m);
                    sleep(Duration::from_millis(5)).await;
                }
                None if self.all_deleted(at, high).await? => return Ok(out),
                None => return Err(ReadError::Outdated),
            }
        }
        Ok(out)
    }

    fn decode(&self, m: &RawMessage, epoch: Epoch) -> Event {
        let stored = Stored {
            sequence: m.sequence,
            nanos: m.nanos,
            subject: &m.subject,
            headers: m.headers.as_ref(),
            payload: &m.payload,
        };
        message::event(&stored, &self.settings, epoch, None).0
    }
}

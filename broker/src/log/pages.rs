//! Pages: 256 consecutive sequences below the tail, read once, framed once, shared by everyone who replays.
//!
//! A page is complete: proven so by a message beyond its end, which only one who is past it can have, or by the leader.
//! Loads are single-flight and bounded per channel; the cache is one for all channels.

use std::{collections::HashMap, sync::Arc, time::Duration};

use eventcast_crds::stream::epoch_of;
use eventcast_runtime::Chain;
use eventcast_wire::{cursor::Epoch, event::Event};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::sleep};

use super::{
    Incarnation, Log,
    direct::{Ending, Raw, ReadError},
    message::{self, Stored},
    page::{self, Page},
    page_cache::Key,
    retention::Forget,
};

/// Tries before a load is given up; its readers try again.
const TRIES: u32 = 4;

/// Why a page could not be read; it may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PageError {
    #[error("failed to read a page of the log")]
    Unreadable,
    #[error("the log is another one now")]
    Renewed,
}

type Flight = Shared<BoxFuture<'static, Result<Arc<Page>, PageError>>>;

/// Pages of one log on their way.
pub(super) type Flights = Mutex<HashMap<Key, Flight>>;

/// Ends a flight, also where the load panics: its failure would be the answer for that page for ever.
struct Landing<'a> {
    log: &'a Log,
    key: &'a Key,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.log.flights.lock().remove(self.key);
    }
}

impl Log {
    /// The page that holds `sequence`, as far as the tail's head. `sequence` is at most the head's.
    ///
    /// # Errors
    /// NATS did not give it, or the log was recreated meanwhile. All who wait for a page are told together.
    ///
    /// # Cancel safety
    /// Safe: the load goes on by itself.
    pub(crate) async fn page(
        self: &Arc<Self>,
        incarnation: u64,
        sequence: u64,
    ) -> Result<Arc<Page>, PageError> {
        let current = self.current(incarnation).ok_or(PageError::Renewed)?;
        let key = self.key(current, sequence);
        if let Some(page) = self.held(&key) {
            return Ok(page);
        }
        let flight = self.flight(&key, current);
        flight.await
    }

    /// The page that holds `sequence`, if it can be had from memory.
    pub(crate) fn held_page(&self, incarnation: u64, sequence: u64) -> Option<Arc<Page>> {
        self.held(&self.key(self.current(incarnation)?, sequence))
    }

    fn held(&self, key: &Key) -> Option<Arc<Page>> {
        if let Some(page) = self.pages.get(key) {
            return Some(page);
        }
        let cleared = self.retained.lock().dropped.cleared;
        let events = self.tail.span(key.number, key.low, key.high)?;
        let page = Arc::new(Page::of_tail(key.low, key.high, events));
        // The page of the head grows: another one in a moment.
        if page::is_whole(key.low, key.high) {
            self.put(key, &page, cleared);
        }
        Some(page)
    }

    /// Caches a page; false where the log has dropped some of it since it was read, when `cleared` was what it is by
    /// [`Dropped::cleared`](super::dropped::Dropped::cleared). What is dropped later finds it in the cache.
    fn put(&self, key: &Key, page: &Arc<Page>, cleared: u64) -> bool {
        self.pages.put(key.clone(), Arc::clone(page));
        let good = self.still_holds(page, cleared);
        if !good {
            self.pages.remove(key);
        }
        good
    }

    fn current(&self, incarnation: u64) -> Option<Incarnation> {
        self.tail.served().filter(|i| i.number == incarnation)
    }

    fn key(&self, incarnation: Incarnation, sequence: u64) -> Key {
        let (low, high) = page::bounds(sequence, self.tail.bounds().1);
        let Incarnation { number, epoch, .. } = incarnation;
        Key { shelf: self.pages.number, epoch, number, low, high }
    }

    /// The load of `key`, begun by the first who asks.
    fn flight(self: &Arc<Self>, key: &Key, incarnation: Incarnation) -> Flight {
        let mut flights = self.flights.lock();
        let log = Arc::clone(self);
        let begin = || {
            let (tell, told) = oneshot::channel();
            let of = key.clone();
            tokio::spawn(async move {
                let landing = Landing { log: &log, key: &of };
                let result = log.load_current(incarnation, &of).await;
                drop(landing);
                // Whoever waited may be gone.
                drop(tell.send(result));
            });
            told.map(|result| result.unwrap_or(Err(PageError::Unreadable))).boxed().shared()
        };
        flights.entry(key.clone()).or_insert_with(begin).clone()
    }

    /// Loads a page and caches it; again, where the log drops some of it meanwhile.
    async fn load_current(
        &self,
        incarnation: Incarnation,
        key: &Key,
    ) -> Result<Arc<Page>, PageError> {
        for _ in 0..TRIES {
            let cleared = self.retained.lock().dropped.cleared;
            let page = self.load(incarnation, key.low, key.high).await?;
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
    ) -> Result<Arc<Page>, PageError> {
        let permit = self.loads.acquire().await.map_err(|_| PageError::Unreadable)?;
        let mut tries = 0;
        let (read, first_sequence) = loop {
            if self.tail.incarnation().is_none_or(|i| i.number != incarnation.number) {
                return Err(PageError::Renewed);
            }
            match self.read_proven(incarnation, low, high).await {
                Ok(read) => break read,
                Err(error) => {
                    self.metrics.page_load("retried");
                    tries += 1;
                    if tries == TRIES {
                        self.metrics.page_load("failed");
                        tracing::warn!(channel = self.names.channel, low, high, error = %Chain(&error), "cannot read a page");
                        return Err(PageError::Unreadable);
                    }
                    sleep(Duration::from_millis(fastrand::u64(20..=50) << tries)).await;
                }
            }
        };
        drop(permit);
        self.metrics.page_load("read");
        let events = read.iter().map(|m| self.framed(m, incarnation.epoch)).collect();
        Ok(Arc::new(Page::read(low, high, events, first_sequence)))
    }

    /// Every message of `low..=high`, proven complete and of the log that the tail is attached to: it was attached all the
    /// time, and the stream still has its epoch. Without what the leader says is dropped: a replica that is behind may still
    /// have it. And where the stream begins, if that is after `low`; else 0.
    async fn read_proven(
        &self,
        incarnation: Incarnation,
        low: u64,
        high: u64,
    ) -> Result<(Vec<Raw>, u64), ReadError> {
        let attachment = self.attachment().ok_or(ReadError::Detached)?;
        let mut read = self.read_all(low, high).await?;
        // After the reading, so that what retention took meanwhile is not mistaken for single deletions.
        let info = self.ask_info(Duration::from_secs(1)).await.map_err(|_| ReadError::Timeout)?;
        if self.attachment() != Some(attachment) || epoch_of(&info) != incarnation.epoch {
            return Err(ReadError::Detached);
        }
        let known = self.forget_dropped(incarnation, &info, Forget::AfterGrace).await;
        known.map_err(|_| ReadError::Timeout)?;
        let first = info.state.first_sequence;
        let retained = self.retained.lock();
        read.retain(|m| m.sequence >= first && !retained.dropped.contains(m.sequence));
        Ok((read, if first > low { first.min(high + 1) } else { 0 }))
    }

    /// Every message of `low..=high`, proven complete.
    async fn read_all(&self, low: u64, high: u64) -> Result<Vec<Raw>, ReadError> {
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
            if at > high || matches!(ending, Ending::Pending(n) if n > 0) {
                continue; // done, or cut by the limit of one answer
            }
            // A replica that is behind, or really gone: only the leader can tell.
            match self.leader_get(at).await? {
                Some(m) if m.sequence > high => return Ok(out),
                Some(m) => {
                    self.metrics.page_load("stale");
                    at = m.sequence + 1;
                    out.push(m);
                    sleep(Duration::from_millis(5)).await;
                }
                None if self.all_gone(at, high).await? => return Ok(out),
                None => return Err(ReadError::Outdated),
            }
        }
        Ok(out)
    }

    fn framed(&self, m: &Raw, epoch: Epoch) -> Event {
        let stored = Stored {
            sequence: m.sequence,
            nanos: m.nanos,
            subject: &m.subject,
            headers: m.headers.as_ref(),
            payload: &m.payload,
        };
        message::event(&stored, &self.names, epoch, None).0
    }
}

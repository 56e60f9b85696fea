//! Where a reader begins: what a client asks for, as a position in the log, and the gap it must be told.

use std::{str::FromStr, sync::Arc, time::Duration};

use eventcast_crds::stream::epoch_of;
use eventcast_wire::{
    cursor::{Check, Cursor},
    filter::Filter,
    gap::{Gap, GapReason},
};
use tokio::time::{sleep, timeout};

use super::{Incarnation, Log, PageError, Position};

/// How long a cursor ahead of this broker may wait for the tail to catch up: it was minted by another one.
const AHEAD: Duration = Duration::from_secs(3);

/// How long a reader waits for the tail to show what this broker has acknowledged.
const OWN_WRITES_TIMEOUT: Duration = Duration::from_secs(1);

/// How old the answer about the stream's beginning may be: a herd with expired cursors asks together.
const FIRST_AGE: Duration = Duration::from_millis(50);

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// After everything.
    Latest,
    /// From the first event.
    Earliest,
    /// After a cursor, as the client sent it.
    Cursor(String),
    /// The newest so many that pass the filter.
    Last(usize),
    /// From a time on, in nanoseconds since 1970.
    Since(i64),
}

impl Start {
    /// The kind, as a metric's label.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::Earliest => "earliest",
            Self::Cursor(_) => "cursor",
            Self::Last(_) => "last",
            Self::Since(_) => "since",
        }
    }
}

/// A position, and what is to be told before reading goes on from it.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The life of the log that both are of.
    pub(crate) incarnation: Incarnation,
    pub(crate) position: Position,
    pub(crate) gap: Option<Gap>,
}

/// The log cannot say now; later it can.
#[derive(Debug, thiserror::Error)]
#[error("the log cannot be read now")]
pub(crate) struct Unavailable;

impl From<PageError> for Unavailable {
    fn from(_: PageError) -> Self {
        Self
    }
}

impl Log {
    /// Turns what a client asks for into a position, to which its cursor brings a client back. `scan` bounds the events that
    /// `Start::Last` looks at.
    ///
    /// # Errors
    /// The log was never read, is another one since a moment, or what lies below the tail cannot be read now.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn resolve(
        self: &Arc<Self>,
        start: &Start,
        filter: &Filter,
        scan: usize,
    ) -> Result<Resolved, Unavailable> {
        self.read_own_writes().await;
        let position = match start {
            Start::Latest => self.tail.head().ok_or(Unavailable)?,
            Start::Earliest => self.earliest()?,
            Start::Last(n) => self.last(*n, filter, scan).await?,
            Start::Since(nanos) => self.since(*nanos).await?,
            Start::Cursor(text) => return self.after(text).await,
        };
        self.resolved(position, None)
    }

    /// Incarnations only follow one another: where that of `position` is still the present one, all that was asked for it and
    /// `gap` was asked of the same log.
    fn resolved(&self, position: Position, gap: Option<Gap>) -> Result<Resolved, Unavailable> {
        let current = self.tail.incarnation().filter(|i| i.number == position.incarnation);
        Ok(Resolved { incarnation: current.ok_or(Unavailable)?, position, gap })
    }

    /// Waits until the tail shows what was acknowledged to publishers of this broker: who has published reads it at once.
    async fn read_own_writes(&self) {
        let is_shown = || {
            let (incarnation, sequence) = *self.acknowledged.lock();
            !self.live()
                || self.tail.bounds().1 >= sequence
                || self.tail.last_number() != incarnation
        };
        if is_shown() {
            return;
        }
        let mut changes = self.tail.changes();
        let wait = async { while !is_shown() && changes.changed().await.is_ok() {} };
        if timeout(OWN_WRITES_TIMEOUT, wait).await.is_err() {
            tracing::debug!(channel = self.names.channel, "the tail is behind its own publishers");
        }
    }

    fn earliest(&self) -> Result<Position, Unavailable> {
        self.tail.beginning().ok_or(Unavailable)
    }

    async fn after(self: &Arc<Self>, text: &str) -> Result<Resolved, Unavailable> {
        let Ok(cursor) = Cursor::from_str(text) else {
            return self.reset(text, GapReason::InvalidCursor).await;
        };
        let incarnation = self.tail.incarnation().ok_or(Unavailable)?;
        let at =
            |check| Position { incarnation: incarnation.number, sequence: cursor.sequence, check };
        if cursor.epoch != incarnation.epoch || !self.reaches(cursor.sequence).await? {
            return self.foreign(&cursor, text).await;
        }
        let first = self.tail.first();
        if cursor.sequence < first {
            let first =
                if cursor.sequence + 1 < first { self.newest_first(first).await } else { first };
            return self.past_expiry(at(cursor.check), text, first);
        }
        let (found, beginning) = match self.tail.check_at(cursor.sequence) {
            Some(found) => (found, first),
            None => {
                let page = self.page(incarnation.number, cursor.sequence).await?;
                (page.check_at(cursor.sequence), page.first_sequence)
            }
        };
        match found {
            Some(check) if check == cursor.check => self.resolved(at(check), None),
            Some(_) => self.foreign(&cursor, text).await,
            // Another replica may still know the event: the cursor stays as it is.
            None => self.past_expiry(at(cursor.check), text, beginning),
        }
    }

    /// Where the stream begins now. It is known to begin at `known` or later, but up to two seconds late; who is told of a loss
    /// is told all of it at once.
    async fn newest_first(&self, known: u64) -> u64 {
        let info = self.info_since(FIRST_AGE).await;
        info.map_or(known, |info| info.state.first_sequence.max(known))
    }

    /// A cursor that does not fit what we have read. It is of a log that is gone, unless we are the ones who are behind: then
    /// the stream has an event for it, and the client must not be sent back.
    async fn foreign(&self, cursor: &Cursor, text: &str) -> Result<Resolved, Unavailable> {
        let info = self.ask_info(Duration::from_secs(1)).await.map_err(|_| Unavailable)?;
        if epoch_of(&info) == cursor.epoch {
            let there = self.leader_get(cursor.sequence.max(1)).await.map_err(|_| Unavailable)?;
            let ours = self.tail.incarnation().is_some_and(|i| i.epoch == cursor.epoch);
            let we_are_behind = match there {
                Some(m) if m.sequence == cursor.sequence => m.check() == cursor.check,
                _ if cursor.sequence > info.state.last_sequence => false,
                // Whoever minted it knew before us that the event is gone.
                _ if ours && cursor.check == Check::ABSENT => {
                    let head = self.tail.head().ok_or(Unavailable)?;
                    let at = Position { sequence: cursor.sequence, check: cursor.check, ..head };
                    return self.past_expiry(at, text, self.tail.first());
                }
                _ => !ours,
            };
            if we_are_behind {
                return Err(Unavailable);
            }
        }
        self.reset(text, GapReason::NewIncarnation).await
    }

    /// Whether the log has come to `sequence`: waits for the tail, then asks the leader.
    async fn reaches(&self, sequence: u64) -> Result<bool, Unavailable> {
        let reached = || self.tail.bounds().1 >= sequence;
        if reached() {
            return Ok(true);
        }
        let mut changes = self.tail.changes();
        let wait = async { while !reached() && changes.changed().await.is_ok() {} };
        if timeout(AHEAD, wait).await.is_ok() {
            return Ok(reached());
        }
        let info = self.ask_info(Duration::from_secs(1)).await.map_err(|_| Unavailable)?;
        if info.state.last_sequence < sequence { Ok(false) } else { Err(Unavailable) }
    }

    /// The position of a cursor whose event is gone: nothing is missing unless the stream begins after its successor, at
    /// `first`.
    fn past_expiry(&self, at: Position, text: &str, first: u64) -> Result<Resolved, Unavailable> {
        if at.sequence + 1 >= first {
            return self.resolved(at, None);
        }
        let position = Position { sequence: first - 1, check: Check::ABSENT, ..at };
        let lost = Some(position.sequence - at.sequence);
        self.told(text, position, lost, GapReason::Expired)
    }

    /// A cursor that says nothing about this log: delivery goes on from its first event.
    async fn reset(&self, text: &str, reason: GapReason) -> Result<Resolved, Unavailable> {
        let position = self.earliest()?;
        self.told(text, position, None, reason)
    }

    fn told(
        &self,
        requested: &str,
        position: Position,
        lost: Option<u64>,
        reason: GapReason,
    ) -> Result<Resolved, Unavailable> {
        let epoch = self.tail.incarnation().ok_or(Unavailable)?.epoch;
        let resumed_at = position.cursor(epoch).to_string();
        // Whatever a client sent comes back to it, but bounded.
        let requested = requested.chars().take(64).collect();
        self.resolved(position, Some(Gap { requested, resumed_at, lost, reason }))
    }

    async fn last(
        self: &Arc<Self>,
        n: usize,
        filter: &Filter,
        scan: usize,
    ) -> Result<Position, Unavailable> {
        let head = self.tail.head().ok_or(Unavailable)?;
        let (mut left, mut budget, mut at) = (n, scan, head.sequence);
        while at > 0 && budget > 0 {
            let page = self.page(head.incarnation, at).await?;
            for event in page.events.iter().rev().filter(|e| e.sequence <= at) {
                budget = budget.saturating_sub(1);
                if filter.passes(event) && !crate::clock::has_expired(event) {
                    left -= 1;
                }
                if left == 0 || budget == 0 {
                    return self.at(head, event.sequence - 1).await;
                }
            }
            if page.first_sequence > page.low {
                return self.at(head, page.first_sequence - 1).await;
            }
            at = page.low - 1;
        }
        self.at(head, at).await
    }

    async fn since(self: &Arc<Self>, nanos: i64) -> Result<Position, Unavailable> {
        let head = self.tail.head().ok_or(Unavailable)?;
        let sequence = self.sequence_since(nanos).await?.saturating_sub(1);
        self.at(head, sequence).await
    }

    /// The position after `sequence`, which is at most the head's, in the log of `head`: with the check of the event there, or
    /// its cursor would be taken for one of another log.
    async fn at(self: &Arc<Self>, head: Position, sequence: u64) -> Result<Position, Unavailable> {
        let check = match self.tail.check_at(sequence) {
            _ if sequence < self.tail.first() => None,
            Some(known) => known,
            None => self.page(head.incarnation, sequence).await?.check_at(sequence),
        };
        Ok(Position { sequence, check: check.unwrap_or(Check::ABSENT), ..head })
    }

    /// The first sequence whose event was stored at `nanos` or later; one past the head if there is none. Servers' clocks
    /// differ, so around a change of leader it is approximate.
    pub(crate) async fn sequence_since(&self, nanos: i64) -> Result<u64, Unavailable> {
        let time = jiff::Timestamp::from_nanosecond(i128::from(nanos)).map_err(|_| Unavailable)?;
        for pause in [10, 50, 200] {
            if let Some(sequence) = self.tail.first_since(nanos) {
                return Ok(sequence);
            }
            let (_, high) = self.tail.bounds();
            let found = self.first_since(&time.to_string()).await.map_err(|_| Unavailable)?;
            if let Some(sequence) = found {
                return Ok(sequence.min(high + 1));
            }
            // A replica that is behind knows nothing that new: only the leader can say that there is nothing.
            let newest = self.leader_newest().await.map_err(|_| Unavailable)?;
            if newest.is_none_or(|newest| newest < nanos) {
                return Ok(high + 1);
            }
            sleep(Duration::from_millis(pause)).await;
        }
        Err(Unavailable)
    }
}

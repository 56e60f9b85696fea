//! Resolves the start that a client asks for to a position in the log, and to the gap before it, if events are lost.

use std::{str::FromStr, sync::Arc, time::Duration};

use eventcast_crds::stream::epoch_of;
use eventcast_wire::{
    cursor::{Check, Cursor},
    filter::Filter,
    gap::{Gap, GapReason},
};
use tokio::time::{sleep, timeout};

use super::{Incarnation, Log, PageError, Position};

/// How long a client with a cursor ahead of the tail waits for the tail to catch up. Another broker, which is ahead of this one,
/// minted the cursor.
const CURSOR_AHEAD_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a client waits for the tail to show the events that this broker has acknowledged to publishers.
const OWN_WRITES_TIMEOUT: Duration = Duration::from_secs(1);

/// How old the cached first sequence may be: many clients with expired cursors may reconnect at once and should share one request.
const FIRST_SEQUENCE_MAX_AGE: Duration = Duration::from_millis(50);
/// How long the leader may take to report the state of the stream for a cursor that does not match.
const CURSOR_INFO_TIMEOUT: Duration = Duration::from_secs(1);
/// Characters of an unusable cursor that are echoed to its client.
const MAX_ECHOED_CURSOR_CHARS: usize = 64;

/// Where a client wants to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// After the newest event.
    Latest,
    /// At the first event of the stream.
    Earliest,
    /// After a cursor, as the client sent it.
    Cursor(String),
    /// At the newest `n` events that pass the filter.
    Last(usize),
    /// At a time, in nanoseconds since 1970.
    Since(i64),
}

impl Start {
    /// The label of a metric.
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

/// Where a client starts, and the gap before it, if events are lost.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The incarnation of both.
    pub(crate) incarnation: Incarnation,
    pub(crate) position: Position,
    pub(crate) gap: Option<Gap>,
}

/// The log cannot be read at the moment. A client may retry.
#[derive(Debug, thiserror::Error)]
#[error("the log is unavailable at the moment")]
pub(crate) struct Unavailable;

impl From<PageError> for Unavailable {
    fn from(_: PageError) -> Self {
        Self
    }
}

impl Log {
    /// Resolves `start` to a position. The cursor of the position leads back to it. `scan` bounds the events that [`Start::Last`]
    /// examines.
    ///
    /// # Errors
    /// The log was not read yet, was recreated in the meantime, or cannot be read below the tail at the moment.
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
            Start::Earliest => self.resolve_earliest()?,
            Start::Last(n) => self.resolve_last(*n, filter, scan).await?,
            Start::Since(nanos) => self.resolve_since(*nanos).await?,
            Start::Cursor(text) => return self.resolve_cursor(text).await,
        };
        self.resolved(position, None)
    }

    /// Checks that `position` is of the current incarnation. Incarnation numbers only increase, so then everything that led to
    /// `position` and `gap` was read from the same stream.
    fn resolved(&self, position: Position, gap: Option<Gap>) -> Result<Resolved, Unavailable> {
        let current = self.tail.incarnation().filter(|i| i.number == position.incarnation);
        Ok(Resolved { incarnation: current.ok_or(Unavailable)?, position, gap })
    }

    /// Waits until the tail has the events that this broker has acknowledged, so that a client reads its own writes.
    async fn read_own_writes(&self) {
        let is_current = || {
            let (incarnation, sequence) = *self.acknowledged.lock();
            !self.is_live()
                || self.tail.bounds().1 >= sequence
                || self.tail.incarnation_number() != incarnation
        };
        if is_current() {
            return;
        }
        let mut changes = self.tail.changes();
        let wait = async { while !is_current() && changes.changed().await.is_ok() {} };
        if timeout(OWN_WRITES_TIMEOUT, wait).await.is_err() {
            tracing::debug!(
                channel = self.settings.channel,
                "the tail lags behind acknowledged events"
            );
        }
    }

    fn resolve_earliest(&self) -> Result<Position, Unavailable> {
        self.tail.start().ok_or(Unavailable)
    }

    async fn resolve_cursor(self: &Arc<Self>, text: &str) -> Result<Resolved, Unavailable> {
        let Ok(cursor) = Cursor::from_str(text) else {
            return self.reset(text, GapReason::InvalidCursor).await;
        };
        let incarnation = self.tail.incarnation().ok_or(Unavailable)?;
        let at =
            |check| Position { incarnation: incarnation.number, sequence: cursor.sequence, check };
        if cursor.epoch != incarnation.epoch || !self.reaches(cursor.sequence).await? {
            return self.resolve_mismatch(&cursor, text).await;
        }
        let first = self.tail.first_sequence();
        if cursor.sequence < first {
            let is_missing_events = cursor.sequence + 1 < first;
            let first =
                if is_missing_events { self.fetch_first_sequence(first).await } else { first };
            return self.past_expiry(at(cursor.check), text, first);
        }
        let (found, first) = match self.tail.check_at(cursor.sequence) {
            Some(found) => (found, first),
            None => {
                let page = self.page(incarnation.number, cursor.sequence).await?;
                (page.check_at(cursor.sequence), page.first_sequence)
            }
        };
        match found {
            Some(check) if check == cursor.check => self.resolved(at(check), None),
            Some(_) => self.resolve_mismatch(&cursor, text).await,
            // The cursor keeps its check, because another broker may still have the event.
            None => self.past_expiry(at(cursor.check), text, first),
        }
    }

    /// The first sequence of the stream. `known` is up to two seconds old, and a gap must cover everything that is lost.
    async fn fetch_first_sequence(&self, known: u64) -> u64 {
        let info = self.cached_info(FIRST_SEQUENCE_MAX_AGE).await;
        info.map_or(known, |info| info.state.first_sequence.max(known))
    }

    /// Resolves a cursor that does not match what this broker has read. The cursor is of an earlier incarnation, unless this broker
    /// is behind: then the stream has an event for it, and the client must not be sent back to the start.
    async fn resolve_mismatch(&self, cursor: &Cursor, text: &str) -> Result<Resolved, Unavailable> {
        let info = self.fetch_info(CURSOR_INFO_TIMEOUT).await.map_err(|_| Unavailable)?;
        if epoch_of(&info) == cursor.epoch {
            let found = self.leader_get(cursor.sequence.max(1)).await.map_err(|_| Unavailable)?;
            let same_epoch = self.tail.incarnation().is_some_and(|i| i.epoch == cursor.epoch);
            let is_behind = match found {
                Some(m) if m.sequence == cursor.sequence => m.check() == cursor.check,
                _ if cursor.sequence > info.state.last_sequence => false,
                // The broker that minted the cursor learned of the deletion before this one.
                _ if same_epoch && cursor.check == Check::ABSENT => {
                    let head = self.tail.head().ok_or(Unavailable)?;
                    let at = Position { sequence: cursor.sequence, check: cursor.check, ..head };
                    return self.past_expiry(at, text, self.tail.first_sequence());
                }
                _ => !same_epoch,
            };
            if is_behind {
                return Err(Unavailable);
            }
        }
        self.reset(text, GapReason::NewIncarnation).await
    }

    /// Whether the log has reached `sequence`. Waits for the tail, then asks the leader.
    async fn reaches(&self, sequence: u64) -> Result<bool, Unavailable> {
        let reached = || self.tail.bounds().1 >= sequence;
        if reached() {
            return Ok(true);
        }
        let mut changes = self.tail.changes();
        let wait = async { while !reached() && changes.changed().await.is_ok() {} };
        if timeout(CURSOR_AHEAD_TIMEOUT, wait).await.is_ok() {
            return Ok(reached());
        }
        let info = self.fetch_info(CURSOR_INFO_TIMEOUT).await.map_err(|_| Unavailable)?;
        if info.state.last_sequence < sequence { Ok(false) } else { Err(Unavailable) }
    }

    /// The position of a cursor whose event is deleted. Events are lost only if the first sequence of the stream, `first`, is after
    /// the next one.
    fn past_expiry(&self, at: Position, text: &str, first: u64) -> Result<Resolved, Unavailable> {
        if at.sequence + 1 >= first {
            return self.resolved(at, None);
        }
        let position = Position { sequence: first - 1, check: Check::ABSENT, ..at };
        let lost = Some(position.sequence - at.sequence);
        self.with_gap(text, position, lost, GapReason::Expired)
    }

    /// The position for a cursor that is not of this log: before the first event.
    async fn reset(&self, text: &str, reason: GapReason) -> Result<Resolved, Unavailable> {
        let position = self.resolve_earliest()?;
        self.with_gap(text, position, None, reason)
    }

    fn with_gap(
        &self,
        requested: &str,
        position: Position,
        lost: Option<u64>,
        reason: GapReason,
    ) -> Result<Resolved, Unavailable> {
        let epoch = self.tail.incarnation().ok_or(Unavailable)?.epoch;
        let resumed_at = position.cursor(epoch).to_string();
        let requested = requested.chars().take(MAX_ECHOED_CURSOR_CHARS).collect();
        self.resolved(position, Some(Gap { requested, resumed_at, lost, reason }))
    }

    async fn resolve_last(
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
                    return self.position_after(head, event.sequence - 1).await;
                }
            }
            if page.first_sequence > page.low {
                return self.position_after(head, page.first_sequence - 1).await;
            }
            at = page.low - 1;
        }
        self.position_after(head, at).await
    }

    async fn resolve_since(self: &Arc<Self>, nanos: i64) -> Result<Position, Unavailable> {
        let head = self.tail.head().ok_or(Unavailable)?;
        let sequence = self.sequence_since(nanos).await?.saturating_sub(1);
        self.position_after(head, sequence).await
    }

    /// The position after `sequence`, which is at most that of `head`. It has the check of the event there: with another check, its
    /// cursor would not match the log.
    async fn position_after(
        self: &Arc<Self>,
        head: Position,
        sequence: u64,
    ) -> Result<Position, Unavailable> {
        let check = match self.tail.check_at(sequence) {
            _ if sequence < self.tail.first_sequence() => None,
            Some(known) => known,
            None => self.page(head.incarnation, sequence).await?.check_at(sequence),
        };
        Ok(Position { sequence, check: check.unwrap_or(Check::ABSENT), ..head })
    }

    /// The first sequence whose event was stored at `nanos` or later; the one after the head if there is none. It is approximate
    /// around a change of leader, because the clocks of servers differ.
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
            // A replica that is behind may lack the newest messages. Only the leader can say that there are none.
            let newest = self.leader_newest().await.map_err(|_| Unavailable)?;
            if newest.is_none_or(|newest| newest < nanos) {
                return Ok(high + 1);
            }
            sleep(Duration::from_millis(pause)).await;
        }
        Err(Unavailable)
    }
}

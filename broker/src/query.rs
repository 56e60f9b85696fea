//! Bounded scans of past events: reads a range of the log page by page and applies a filter, until a limit, the end of the range,
//! or the budget of one request.

mod history;
mod stats;

pub(crate) use history::{History, Order};
pub(crate) use stats::{Stats, StatsRequest};

use std::sync::Arc;

use eventcast_wire::{
    cursor::{Check, Cursor},
    event::Event,
    filter::Filter,
    gap::{Gap, GapReason},
};

use crate::log::{Incarnation, Log, Resolved, Start, Unavailable};

/// How much one request may read from the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanBudget {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// A range of the log.
pub(crate) struct Range {
    incarnation: Incarnation,
    /// The first sequence.
    low: u64,
    /// The last sequence.
    high: u64,
    /// What is lost before `low`, if the client asked for it.
    gap: Option<Gap>,
    /// Whether the client named the start of the range. Then events that are missing there are a gap.
    has_explicit_start: bool,
}

/// The end of a range.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// The newest event.
    Head,
    /// Before a time, in nanoseconds since 1970.
    Time(i64),
    /// Before a cursor.
    Cursor(Cursor),
}

impl Range {
    /// Resolves the range from `start` to `until`. `budget` bounds the events that [`Start::Last`] examines.
    ///
    /// # Errors
    /// The log cannot be read at the moment.
    pub(crate) async fn resolve(
        log: &Arc<Log>,
        start: &Start,
        until: Until,
        filter: &Filter,
        budget: ScanBudget,
    ) -> Result<Self, Unavailable> {
        let Resolved { incarnation, position, gap } =
            log.resolve(start, filter, budget.events).await?;
        let (_, head) = log.tail().bounds();
        let high = match until {
            Until::Head => head,
            Until::Time(nanos) => log.sequence_since(nanos).await?.saturating_sub(1),
            Until::Cursor(c) if c.epoch != incarnation.epoch => 0,
            Until::Cursor(c) => c.sequence.saturating_sub(1).min(head),
        };
        let has_explicit_start = matches!(start, Start::Cursor(_) | Start::Since(_));
        Ok(Self { incarnation, low: position.sequence + 1, high, gap, has_explicit_start })
    }
}

/// The outcome of a scan.
struct Scanned {
    events: usize,
    /// Whether the whole range was read.
    complete: bool,
    /// Sequence and check of the last event that was read.
    at: Option<(u64, Check)>,
    gap: Option<Gap>,
}

impl Scanned {
    /// Where the next scan continues, unless the range is complete.
    fn cursor(&self, incarnation: Incarnation) -> Option<String> {
        let (sequence, check) = self.at.filter(|_| !self.complete)?;
        Some(Cursor { epoch: incarnation.epoch, sequence, check }.to_string())
    }
}

/// Calls `visit` with the events of `range`, in order or in reverse, until it returns false or the budget is used up.
async fn scan(
    log: &Arc<Log>,
    range: Range,
    reverse: bool,
    budget: ScanBudget,
    mut visit: impl FnMut(&Arc<Event>) -> bool,
) -> Result<Scanned, Unavailable> {
    let Range { incarnation, low, high, gap, has_explicit_start } = range;
    let mut scanned = Scanned { events: 0, complete: false, at: None, gap };
    let (mut left, mut bytes) = (low..high.saturating_add(1), 0);
    while !left.is_empty() {
        let sequence = if reverse { left.end - 1 } else { left.start };
        let page = log.page(incarnation.number, sequence).await?;
        let first = page.first_sequence.max(log.tail().first_sequence());
        if first > left.start {
            if has_explicit_start && scanned.gap.is_none() {
                scanned.gap = Some(expired(incarnation, left.start, first));
            }
            left.start = first.min(left.end);
        }
        let from = page.events.partition_point(|e| e.sequence < left.start);
        let to = page.events.partition_point(|e| e.sequence < left.end).max(from);
        let events = &page.events[from..to];
        let mut forward = events.iter();
        while let Some(event) = if reverse { forward.next_back() } else { forward.next() } {
            scanned.events += 1;
            scanned.at = Some((event.sequence, event.check));
            bytes += event.chunk.wire().len();
            let enough = !visit(event);
            if reverse {
                left.end = event.sequence;
            } else {
                left.start = event.sequence + 1;
            }
            if enough || scanned.events >= budget.events || bytes >= budget.bytes {
                scanned.complete = left.is_empty();
                return Ok(scanned);
            }
        }
        if reverse {
            left.end = page.low.max(left.start);
        } else {
            left.start = (page.high + 1).min(left.end);
        }
    }
    scanned.complete = true;
    Ok(scanned)
}

fn expired(incarnation: Incarnation, from: u64, first: u64) -> Gap {
    let cursor =
        |sequence| Cursor { epoch: incarnation.epoch, sequence, check: Check::ABSENT }.to_string();
    Gap {
        requested: cursor(from - 1),
        resumed_at: cursor(first - 1),
        lost: Some(first - from),
        reason: GapReason::Expired,
    }
}

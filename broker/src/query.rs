//! Bounded readings of the past: what lies in a range of the log and passes a filter, page by page, until a limit, the
//! end, or the budget of one request.

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

/// What one request may read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// A stretch of the log.
pub(crate) struct Range {
    incarnation: Incarnation,
    /// The first sequence.
    low: u64,
    /// The last sequence.
    high: u64,
    /// What retention took before `low`.
    gap: Option<Gap>,
    /// Whether the client named the beginning: then what it lacks is a gap.
    named: bool,
}

/// An end of a range.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// The head.
    Head,
    /// Before a time, in nanoseconds since 1970.
    Time(i64),
    /// Before a cursor.
    Cursor(Cursor),
}

impl Range {
    /// The stretch from `start` to `until`.
    pub(crate) async fn resolve(
        log: &Arc<Log>,
        start: &Start,
        until: Until,
        filter: &Filter,
        budget: Budget,
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
        let named = matches!(start, Start::Cursor(_) | Start::Since(_));
        Ok(Self { incarnation, low: position.sequence + 1, high, gap, named })
    }
}

/// How far a reading went.
struct Scanned {
    events: usize,
    /// The range was read to its end.
    complete: bool,
    /// The last event or place that was looked at.
    at: Option<(u64, Check)>,
    gap: Option<Gap>,
}

impl Scanned {
    fn cursor(&self, incarnation: Incarnation) -> Option<String> {
        let (sequence, check) = self.at.filter(|_| !self.complete)?;
        Some(Cursor { epoch: incarnation.epoch, sequence, check }.to_string())
    }
}

/// Shows `see` the events of `range` in order, or in reverse, until it has had enough (`false`) or the budget is spent.
async fn scan(
    log: &Arc<Log>,
    range: Range,
    reverse: bool,
    budget: Budget,
    mut see: impl FnMut(&Arc<Event>) -> bool,
) -> Result<Scanned, Unavailable> {
    let Range { incarnation, low, high, gap, named } = range;
    let mut scanned = Scanned { events: 0, complete: false, at: None, gap };
    let (mut left, mut bytes) = (low..high.saturating_add(1), 0);
    while !left.is_empty() {
        let probe = if reverse { left.end - 1 } else { left.start };
        let page = log.page(incarnation.number, probe).await?;
        let first = page.first_sequence.max(log.tail().first_sequence());
        if first > left.start {
            if named && scanned.gap.is_none() {
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
            let enough = !see(event);
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

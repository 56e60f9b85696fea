//! Settles the part of a batch that a sink has written: the outcome of each sequence. Pure.

use std::ops::Range;

use eventcast_wire::filter::Filter;

use super::Batch;
use crate::{delivery::DeliveryLedger, log::Position};

/// The outcomes of the sequences between two positions.
pub(in crate::fanout) struct Account {
    /// Complete: it counts every sequence up to `position`.
    pub(in crate::fanout) ledger: DeliveryLedger,
    /// The position after the part that was taken.
    pub(in crate::fanout) position: Position,
    /// The first event that was sent, to measure its latency; `None` for a whole page: that is a replay, whose latency means nothing.
    pub(in crate::fanout) first_sent: Option<usize>,
    /// The last event that was sent: its id is now the cursor of the client.
    pub(in crate::fanout) last_sent: Option<usize>,
}

/// How much of a range a sink took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fanout) enum Taken {
    /// All of it.
    All,
    /// Everything up to the first event that passes the filter.
    UpToOne,
}

impl Batch {
    /// Accounts for the events in `range`, which follow `start`. The last of them may be written in part only.
    pub(in crate::fanout) fn account(
        &self,
        start: &Position,
        range: Range<usize>,
        filter: &Filter,
        taken: Taken,
    ) -> Account {
        let mut ledger = DeliveryLedger::default();
        let (mut end, mut candidates, mut first_sent, mut last_sent) = (range.end, 0, None, None);
        let whole = (taken == Taken::All && range.start == 0)
            .then(|| self.whole_until(filter, range.end))
            .flatten();
        if let Some(bytes) = whole {
            candidates = range.end as u64;
            ledger.sent_all(candidates, bytes as u64);
            last_sent = range.end.checked_sub(1);
        } else {
            for at in range {
                let event = &self.events()[at];
                if !self.is_candidate(event) {
                    continue;
                }
                candidates += 1;
                if !filter.passes(event) {
                    continue;
                }
                ledger.sent(event);
                first_sent = first_sent.or(Some(at));
                last_sent = Some(at);
                if taken == Taken::UpToOne {
                    end = at + 1;
                    break;
                }
            }
        }
        let position = self.position_after(start, end);
        ledger.settle(1, candidates, position.sequence - start.sequence);
        Account { ledger, position, first_sent, last_sent }
    }

    /// The position after the first `count` events of the batch, which follow `start`.
    fn position_after(&self, start: &Position, count: usize) -> Position {
        let events = self.events();
        if count == events.len() { self.end } else { start.at(&events[count - 1]) }
    }
}

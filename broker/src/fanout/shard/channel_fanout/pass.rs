//! A pass: one batch of events on its way to the caught-up subscribers of a channel.

use std::sync::Arc;

use eventcast_wire::event::Event;

use super::Connections;
use crate::{
    delivery::{DeliveryLedger, Outcome},
    fanout::{
        batch::{Batch, Slices, WRITE_BYTES},
        shard::{Key, connection::ShardConnection, index::Index},
    },
    log::Position,
    spans::FanoutSpan,
};

/// Events that are being written to the members.
pub(super) struct Pass {
    pub(super) batch: Batch,
    pub(super) start: Position,
    /// [`ChannelFanout::last_sent`](super::ChannelFanout::last_sent) before the pass.
    pub(super) last_sent: Option<Position>,
    /// Filtered members that are sent at least one event.
    pub(super) selected: Vec<Key>,
    /// What each unfiltered member is sent.
    pub(super) everything: DeliveryLedger,
    /// Events that a filter could select.
    candidates: u64,
    /// Members whose cursors have passed the batch, and what they were sent.
    pub(super) passed: u64,
    pub(super) ledger: DeliveryLedger,
    /// Members whose sockets did not accept everything.
    pub(super) blocked: u32,
    span: Option<Box<FanoutSpan>>,
}

impl Pass {
    /// Begins a pass of `channel` over `batch`, which follows `start`, and marks in the connections of filtered members the events that
    /// each is sent. Returns the last event of the batch, too.
    pub(super) fn begin(
        channel: &str,
        start: Position,
        batch: Batch,
        last_sent: Option<Position>,
        index: &Index,
        connections: &mut Connections,
    ) -> (Self, Option<Position>) {
        let span = FanoutSpan::begin(channel, batch.events());
        let mut everything = DeliveryLedger::default();
        let (mut selected, mut candidates, mut last) = (Vec::new(), 0, None);
        for (at, event) in batch.events().iter().enumerate() {
            if !batch.is_candidate(event) {
                continue;
            }
            candidates += 1;
            everything.sent(event);
            last = Some(start.at(event));
            index.select(event, |key| {
                if let Some(connection) = connections.get_mut(key as usize) {
                    if connection.pending_events == 0 {
                        selected.push(key);
                    }
                    connection.pending_events |= 1 << at;
                }
            });
        }
        // The cursors of filtered members that are sent nothing have passed the batch already.
        let passed = (index.len() - selected.len()) as u64;
        let ledger = DeliveryLedger::default();
        let pass = Self {
            batch,
            start,
            last_sent,
            selected,
            everything,
            candidates,
            passed,
            ledger,
            blocked: 0,
            span,
        };
        (pass, last)
    }

    /// What became of the batch for all members.
    pub(super) fn settle(mut self) -> DeliveryLedger {
        let sequences = self.batch.end.sequence - self.start.sequence;
        self.ledger.settle(self.passed, self.candidates, sequences);
        if let Some(span) = self.span {
            span.end(self.ledger.count(Outcome::Delivered), self.blocked);
        }
        self.ledger
    }
}

/// The events of a pass that one filtered member is sent.
pub(super) struct Selection<'a> {
    pub(super) slices: Slices<'a>,
    pub(super) ledger: DeliveryLedger,
    pub(super) first: Option<&'a Arc<Event>>,
    pub(super) last: Option<&'a Arc<Event>>,
}

impl<'a> Selection<'a> {
    /// Takes the pending events of `connection`.
    pub(super) fn take(batch: &'a Batch, connection: &mut ShardConnection) -> Self {
        let pending = std::mem::take(&mut connection.pending_events);
        let mut selection = Self {
            slices: Slices::default(),
            ledger: DeliveryLedger::default(),
            first: None,
            last: None,
        };
        let events = batch.events().iter().enumerate();
        for (_, event) in events.filter(|(at, _)| pending >> at & 1 == 1) {
            selection.slices.add(event.chunk.bytes(connection.form()));
            selection.ledger.sent(event);
            selection.first = selection.first.or(Some(event));
            selection.last = Some(event);
        }
        selection
    }
}

/// Keeps as many events as one write takes.
pub(super) fn truncate_to_one_write(events: &mut Vec<Arc<Event>>) {
    let mut bytes = 0;
    let fits = events.iter().take_while(|event| {
        let before = bytes;
        bytes += event.chunk.wire().len();
        before < WRITE_BYTES
    });
    let count = fits.count();
    events.truncate(count);
}

//! What a pass adds to the counters, summed up before it is told: a counter for each delivery would cost more than the delivery's
//! share of the loop.

use std::sync::Arc;

use eventcast_wire::{
    event::{Event, Kind},
    gap::GapReason,
};
use prometheus::local::LocalHistogram;
use tokio::time::Instant;

use crate::metrics::ChannelMetrics;

/// Sends for which one look at the clock does.
const LOOKS: u32 = 16;

/// What one subscriber is written.
#[derive(Clone, Copy, Default)]
pub(super) struct Share {
    delivered: u64,
    invalid: u64,
    bytes: u64,
}

/// What all were written.
#[derive(Default)]
pub(super) struct Tally {
    /// Whose cursors passed the pass' events.
    pub(super) subscribers: u64,
    pub(super) share: Share,
}

/// How late events are written.
pub(super) struct Latency {
    uses: u32,
    now: Instant,
    nanos: i64,
    tail_to_write: LocalHistogram,
    log_to_write: LocalHistogram,
}

impl Share {
    pub(super) fn add(&mut self, event: &Event) {
        match event.kind {
            Kind::Invalid => self.invalid += 1,
            _ => self.delivered += 1,
        }
        self.bytes += event.chunk.wire().len() as u64;
    }

    pub(super) fn sum(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.invalid += other.invalid;
        self.bytes += other.bytes;
    }
}

impl Tally {
    /// Counts a pass over so many `sequences`, of which `candidates` hold an event that anybody could get.
    pub(super) fn count(&self, metrics: &ChannelMetrics, sequences: u64, candidates: u64) {
        let Self { subscribers, share } = self;
        let (passed, candidates) = (subscribers * sequences, subscribers * candidates);
        metrics.delivered.inc_by(share.delivered);
        metrics.filtered.inc_by(candidates - share.delivered - share.invalid);
        metrics.absent.inc_by(passed - candidates);
        metrics.bytes_out.inc_by(share.bytes);
        for _ in 0..share.invalid {
            metrics.gap(GapReason::InvalidEvent, Some(1));
        }
    }
}

impl Latency {
    pub(super) fn new(metrics: &Arc<ChannelMetrics>) -> Self {
        Self {
            uses: 0,
            now: Instant::now(),
            nanos: 0,
            tail_to_write: metrics.tail_to_write.local(),
            log_to_write: metrics.log_to_write.local(),
        }
    }

    /// `event` was just written.
    pub(super) fn observe(&mut self, event: &Event) {
        let Some(received) = event.received else { return };
        if self.uses.is_multiple_of(LOOKS) {
            (self.now, self.nanos) = (Instant::now(), crate::clock::now_nanos());
        }
        self.uses = self.uses.wrapping_add(1);
        let tail = self.now.saturating_duration_since(Instant::from_std(received)).as_secs_f64();
        self.tail_to_write.observe(tail);
        #[expect(clippy::cast_precision_loss, reason = "a latency")]
        let log = (self.nanos - event.nanos).max(0) as f64 / 1e9;
        self.log_to_write.observe(log);
    }

    /// The pass is over.
    pub(super) fn flush(&mut self) {
        self.tail_to_write.flush();
        self.log_to_write.flush();
        self.uses = 0;
    }
}

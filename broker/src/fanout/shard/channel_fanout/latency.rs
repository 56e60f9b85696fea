//! Write latencies, summed up for a pass: an observation of the shared histograms for each delivery would cost more than the rest
//! of the loop.

use std::sync::Arc;

use eventcast_wire::{event::Event, trace_context::TraceContext};
use prometheus::local::LocalHistogram;
use tokio::time::Instant;

use crate::{
    clock::now_nanos,
    metrics::{ChannelMetrics, Exemplars},
};

/// Writes for which the clock is read once.
const WRITES_PER_CLOCK_READ: u32 = 16;

/// The latencies of the present pass.
pub(super) struct PassLatency {
    writes: u32,
    now: Instant,
    now_nanos: i64,
    tail_to_write: LocalHistogram,
    log_to_write: LocalHistogram,
    /// The first observation in a sampled trace.
    exemplar: Option<(f64, TraceContext)>,
    exemplars: Arc<Exemplars>,
}

impl PassLatency {
    pub(super) fn new(metrics: &Arc<ChannelMetrics>) -> Self {
        Self {
            writes: 0,
            now: Instant::now(),
            now_nanos: 0,
            tail_to_write: metrics.tail_to_write.local(),
            log_to_write: metrics.log_to_write.local(),
            exemplar: None,
            exemplars: Arc::clone(&metrics.log_to_write_exemplars),
        }
    }

    /// `event` was just written.
    pub(super) fn observe(&mut self, event: &Event) {
        let Some(received) = event.received else { return };
        if self.writes.is_multiple_of(WRITES_PER_CLOCK_READ) {
            (self.now, self.now_nanos) = (Instant::now(), now_nanos());
        }
        self.writes = self.writes.wrapping_add(1);
        let tail = self.now.saturating_duration_since(Instant::from_std(received)).as_secs_f64();
        self.tail_to_write.observe(tail);
        #[expect(clippy::cast_precision_loss, reason = "a latency")]
        let log = (self.now_nanos - event.nanos).max(0) as f64 / 1e9;
        self.log_to_write.observe(log);
        if let Some(trace) = &event.trace {
            self.exemplar.get_or_insert((log, **trace));
        }
    }

    /// Adds the observations of the pass to the shared histograms.
    pub(super) fn flush(&mut self) {
        self.tail_to_write.flush();
        self.log_to_write.flush();
        self.writes = 0;
        if let Some((seconds, trace)) = self.exemplar.take() {
            self.exemplars.record(seconds, &trace);
        }
    }
}

//! Exemplars: for each bucket of a histogram, the last observation in a sampled trace.

use eventcast_runtime::openmetrics::Exemplar;
use eventcast_wire::trace_context::TraceContext;
use parking_lot::Mutex;

use crate::clock::now_millis;

/// The exemplars of one histogram. Takes no memory until there is one.
pub(crate) struct Exemplars {
    bounds: &'static [f64],
    last: Mutex<Vec<Option<Observation>>>,
}

#[derive(Clone, Copy)]
struct Observation {
    trace: TraceContext,
    value: f64,
    millis: i64,
}

impl Exemplars {
    /// The exemplars of a histogram whose buckets have these upper bounds.
    pub(super) const fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, last: Mutex::new(Vec::new()) }
    }

    /// `value` was observed in `trace`.
    pub(crate) fn record(&self, value: f64, trace: &TraceContext) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        let mut last = self.last.lock();
        last.resize(self.bounds.len() + 1, None);
        last[bucket] = Some(Observation { trace: *trace, value, millis: now_millis() });
    }

    /// The exemplar of a bucket.
    pub(super) fn get(&self, bucket: usize) -> Option<Exemplar> {
        let Observation { trace, value, millis } = self.last.lock().get(bucket).copied()??;
        #[expect(clippy::cast_precision_loss, reason = "a time with milliseconds fits")]
        let seconds = millis as f64 / 1000.0;
        Some(Exemplar {
            trace_id: trace.trace_id_text(),
            span_id: trace.span_id_text(),
            value,
            seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_keeps_its_last_observation() {
        let exemplars = Exemplars::new(&[0.5, 1.0]);
        assert_eq!(exemplars.get(0), None);
        for (n, value) in [(1, 0.25), (2, 0.5), (3, 0.75), (4, 99.0)] {
            let trace = TraceContext { trace_id: [n; 16], span_id: [n; 8], flags: 1 };
            exemplars.record(value, &trace);
        }
        let found: Vec<_> =
            (0..4).map(|n| exemplars.get(n).map(|e| (e.value, e.span_id))).collect();
        let of = |value, digit: &str| Some((value, format!("0{digit}").repeat(8)));
        assert_eq!(found, [of(0.5, "2"), of(0.75, "3"), of(99.0, "4"), None]);
    }
}

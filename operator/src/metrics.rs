//! What operators see of the operator. One [`Metrics`] is made in `main` and passed down. No label names a channel: there may be
//! thousands.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use eventcast_runtime::telemetry;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::{kind::Kind, status::reasons};

/// The registry and the families.
pub struct Metrics {
    registry: Registry,
    panics: IntCounter,
    /// Panics that `panics` has counted.
    told: AtomicU64,
    reconciles: IntCounterVec,
    failures: IntCounterVec,
    repairs: IntCounterVec,
    writes: IntCounterVec,
    streams: IntCounterVec,
    watch_errors: IntCounterVec,
    channels: IntGaugeVec,
    /// Time of one visit.
    pub reconcile_seconds: Histogram,
    /// 1 while this process leads.
    pub leader: IntGauge,
    /// 1 while NATS can be reached.
    pub nats_connected: IntGauge,
    /// Fields in which CRD and operator differ.
    pub schema_differences: IntGauge,
}

impl Metrics {
    /// All families, registered.
    ///
    /// # Errors
    /// Two families have one name: a mistake in this file.
    pub fn new() -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let name = |name: &str| format!("eventcast_operator_{name}");
        let counters = |n: &str, help: &str, labels: &[&str]| {
            let c = IntCounterVec::new(Opts::new(name(n), help), labels)?;
            registry.register(Box::new(c.clone())).map(|()| c)
        };
        let gauges = |n: &str, help: &str, labels: &[&str]| {
            let g = IntGaugeVec::new(Opts::new(name(n), help), labels)?;
            registry.register(Box::new(g.clone())).map(|()| g)
        };
        let gauge = |n: &str, help: &str| {
            let g = IntGauge::new(name(n), help)?;
            registry.register(Box::new(g.clone())).map(|()| g)
        };
        let buckets = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
        let panics = IntCounter::new(name("panics_total"), "Panics of any thread or task.")?;
        registry.register(Box::new(panics.clone()))?;
        let seconds = Histogram::with_opts(
            HistogramOpts::new(name("reconcile_seconds"), "Time of one visit to a channel.")
                .buckets(buckets),
        )?;
        registry.register(Box::new(seconds.clone()))?;
        gauges("build_info", "Always 1; the version is in the label.", &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        let metrics = Self {
            panics,
            told: AtomicU64::new(0),
            reconciles: counters("reconciles_total", "Visits to channels.", &["result"])?,
            failures: counters(
                "failures_total",
                "What kept channels from being ready.",
                &["reason"],
            )?,
            repairs: counters(
                "drift_repairs_total",
                "Objects that somebody else had changed or deleted.",
                &["kind"],
            )?,
            writes: counters("api_writes_total", "Writes to the API server.", &["kind", "verb"])?,
            streams: counters("stream_changes_total", "What was done to streams.", &["change"])?,
            watch_errors: counters("watch_errors_total", "Watches that failed.", &["kind"])?,
            channels: gauges("channels", "Channels, by whether they are ready.", &["ready"])?,
            reconcile_seconds: seconds,
            leader: gauge("leader", "1 while this process leads.")?,
            nats_connected: gauge("nats_connected", "1 while NATS can be reached.")?,
            schema_differences: gauge(
                "schema_differences",
                "Fields in which the CRD of the cluster and the operator differ.",
            )?,
            registry,
        };
        // So that every family is served from the start, and a rate over it begins at 0.
        for result in ["ok", "error"] {
            metrics.reconciles.with_label_values(&[result]);
        }
        for reason in reasons::FAILURES {
            metrics.failures.with_label_values(&[reason]);
        }
        for change in ["created", "recreated", "adopted", "updated", "deleted"] {
            metrics.streams.with_label_values(&[change]);
        }
        for kind in Kind::ALL.map(Kind::as_str) {
            metrics.repairs.with_label_values(&[kind]);
            metrics.watch_errors.with_label_values(&[kind]);
            metrics.writes.with_label_values(&[kind, "apply"]);
        }
        metrics.set_channels(0, 0);
        Ok(Arc::new(metrics))
    }

    /// A visit ended.
    pub fn reconciled(&self, went_well: bool) {
        self.reconciles.with_label_values(&[if went_well { "ok" } else { "error" }]).inc();
    }

    /// Something keeps a channel from being ready; `reason` is one of the conditions' reasons.
    pub fn failed(&self, reason: &'static str) {
        self.failures.with_label_values(&[reason]).inc();
    }

    /// An object was as somebody else had left it.
    pub fn repaired(&self, kind: &'static str) {
        self.repairs.with_label_values(&[kind]).inc();
    }

    /// A write to the API server.
    pub fn wrote(&self, kind: &'static str, verb: &'static str) {
        self.writes.with_label_values(&[kind, verb]).inc();
    }

    /// Something was done to a stream.
    pub fn stream_changed(&self, change: &'static str) {
        self.streams.with_label_values(&[change]).inc();
    }

    /// A watch failed.
    pub fn watch_failed(&self, kind: &'static str) {
        self.watch_errors.with_label_values(&[kind]).inc();
    }

    /// How many channels there are.
    pub fn set_channels(&self, ready: usize, not_ready: usize) {
        for (label, count) in [("true", ready), ("false", not_ready)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.channels.with_label_values(&[label]).set(count);
        }
    }

    /// Everything, in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let panics = telemetry::panics();
        self.panics.inc_by(panics.saturating_sub(self.told.fetch_max(panics, Relaxed)));
        let mut out = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            Ok(()) => out,
            Err(e) => format!("# cannot render: {e}\n").into_bytes(),
        }
    }
}

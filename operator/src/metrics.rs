//! Prometheus metrics of the operator. No label holds the name of a channel: a cluster may have thousands. There are few pools.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use eventcast_runtime::{process_metrics::ProcessMetrics, telemetry};
use parking_lot::Mutex;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use crate::{
    autopilot::{AutopilotEvent, Autoscaled, Balanced, GivenUp},
    kind::Kind,
    rollouts::Counts,
    spans,
    status::{conditions, reasons},
};

/// How many channels a pool serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolFill {
    /// Channels that it serves.
    pub channels: usize,
    /// Channels that it may serve.
    pub max: usize,
}

/// The registry and its metric families. The process has one.
pub struct Metrics {
    registry: Registry,
    process: ProcessMetrics,
    panics: IntCounter,
    /// How many panics `panics` already includes.
    counted_panics: AtomicU64,
    reconciles: IntCounterVec,
    failures: IntCounterVec,
    repairs: IntCounterVec,
    writes: IntCounterVec,
    streams: IntCounterVec,
    watch_errors: IntCounterVec,
    channels: IntGaugeVec,
    looks: IntCounterVec,
    scalings: IntCounterVec,
    episodes: IntCounterVec,
    imbalance: Gauge,
    autopilot: IntGaugeVec,
    rollouts: IntGaugeVec,
    pool_channels: IntGaugeVec,
    pool_max_channels: IntGaugeVec,
    /// The pools that have series.
    pools: Mutex<BTreeSet<String>>,
    /// Duration of one reconciliation.
    pub reconcile_seconds: Histogram,
    /// 1 while this process is the leader.
    pub leader: IntGauge,
    /// 1 while the operator is connected to NATS.
    pub nats_connected: IntGauge,
    /// Number of fields in which the installed CRD and the operator's CRD differ.
    pub schema_differences: IntGauge,
}

impl Metrics {
    /// Registers all families.
    ///
    /// # Errors
    /// Two families have the same name: a bug in this file.
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
        let imbalance = Gauge::new(
            name("imbalance_ratio"),
            "Streams of the fullest broker divided by the mean of its channel: the largest of all channels that are balanced.",
        )?;
        registry.register(Box::new(imbalance.clone()))?;
        let buckets = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
        let panics = IntCounter::new(name("panics_total"), "Panics in any thread or task.")?;
        registry.register(Box::new(panics.clone()))?;
        let seconds = Histogram::with_opts(
            HistogramOpts::new(
                name("reconcile_seconds"),
                "Duration of one reconciliation of a channel.",
            )
            .buckets(buckets),
        )?;
        registry.register(Box::new(seconds.clone()))?;
        let metrics = Self {
            panics,
            counted_panics: AtomicU64::new(0),
            reconciles: counters("reconciles_total", "Reconciliations of channels.", &["result"])?,
            failures: counters(
                "failures_total",
                "Reconciliations that left a channel not ready, by the reason of its condition.",
                &["reason"],
            )?,
            repairs: counters(
                "drift_repairs_total",
                "Objects restored after another client changed or deleted them.",
                &["kind"],
            )?,
            writes: counters(
                "api_writes_total",
                "Writes to the API server. Without changes there are none.",
                &["kind", "verb"],
            )?,
            streams: counters(
                "stream_changes_total",
                "Changes of JetStream streams. recreated: the stream had been deleted, and its events are lost.",
                &["change"],
            )?,
            watch_errors: counters(
                "watch_errors_total",
                "Watches that failed and were restarted.",
                &["kind"],
            )?,
            channels: gauges("channels", "EventChannels, by whether they are ready.", &["ready"])?,
            looks: counters(
                "looks_total",
                "Counts of the subscribers of the brokers of a channel, by whether all brokers have answered.",
                &["result"],
            )?,
            scalings: counters(
                "scalings_total",
                "Changes of the number of brokers of a channel.",
                &["direction"],
            )?,
            episodes: counters(
                "episodes_total",
                "Times that streams were balanced over the brokers of a channel, by how it ended.",
                &["end"],
            )?,
            imbalance,
            rollouts: gauges("rollouts", "Channels by the state of their rollout.", &["state"])?,
            pool_channels: gauges(
                "pool_channels",
                "Channels that a pool serves, by its namespace and name.",
                &["pool"],
            )?,
            pool_max_channels: gauges(
                "pool_max_channels",
                "Channels that a pool may serve.",
                &["pool"],
            )?,
            pools: Mutex::default(),
            autopilot: gauges(
                "autopilot_channels",
                "Channels by the reasons of their conditions Autoscaled and Balanced.",
                &["condition", "reason"],
            )?,
            reconcile_seconds: seconds,
            leader: gauge("leader", "1 while this process is the leader.")?,
            nats_connected: gauge("nats_connected", "1 while the operator is connected to NATS.")?,
            schema_differences: gauge(
                "schema_differences",
                "Fields in which the installed CRDs and those of the operator differ.",
            )?,
            process: ProcessMetrics::register(&registry, "operator", env!("CARGO_PKG_VERSION"))?,
            registry,
        };
        // Every series exists from the start, so that a rate over it begins at 0.
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
        for (family, labels) in [
            (&metrics.looks, &["complete", "incomplete"][..]),
            (&metrics.scalings, &["up", "down"]),
            (&metrics.episodes, &["balanced", "interrupted", "futile", "orders-not-followed"]),
        ] {
            for label in labels {
                family.with_label_values(&[label]);
            }
        }
        metrics.set_autopilot(1.0, &HashMap::new());
        metrics.set_rollouts(&Counts::default());
        metrics.set_channels(0, 0);
        Ok(Arc::new(metrics))
    }

    /// Counts a reconciliation.
    pub fn reconciled(&self, succeeded: bool) {
        self.reconciles.with_label_values(&[if succeeded { "ok" } else { "error" }]).inc();
    }

    /// Counts a reconciliation that left a channel not ready, for one of the [`reasons`].
    pub fn failed(&self, reason: &'static str) {
        self.failures.with_label_values(&[reason]).inc();
    }

    /// Counts an object that was restored after another client changed it.
    pub fn repaired(&self, kind: &'static str) {
        self.repairs.with_label_values(&[kind]).inc();
    }

    /// Counts a write to the API server.
    pub fn wrote(&self, kind: &'static str, verb: &'static str) {
        self.writes.with_label_values(&[kind, verb]).inc();
        spans::wrote();
    }

    /// Counts a change of a stream.
    pub fn stream_changed(&self, change: &'static str) {
        self.streams.with_label_values(&[change]).inc();
        spans::wrote();
    }

    /// Counts a watch that failed.
    pub fn watch_failed(&self, kind: &'static str) {
        self.watch_errors.with_label_values(&[kind]).inc();
    }

    /// Counts a look at the brokers of a channel.
    pub fn looked(&self, is_complete: bool) {
        let result = if is_complete { "complete" } else { "incomplete" };
        self.looks.with_label_values(&[result]).inc();
    }

    /// Counts what the autopilot has done.
    pub fn autopilot_event(&self, event: &AutopilotEvent) {
        let (family, label) = match event {
            AutopilotEvent::ScaledUp { .. } => (&self.scalings, "up"),
            AutopilotEvent::ScaledDown { .. } => (&self.scalings, "down"),
            AutopilotEvent::Rebalanced { .. } => (&self.episodes, "balanced"),
            AutopilotEvent::RebalanceInterrupted { .. } => (&self.episodes, "interrupted"),
            AutopilotEvent::RebalanceGivenUp { why: GivenUp::Futile, .. } => {
                (&self.episodes, "futile")
            }
            AutopilotEvent::RebalanceGivenUp { why: GivenUp::OrdersNotFollowed, .. } => {
                (&self.episodes, "orders-not-followed")
            }
            AutopilotEvent::WouldScale { .. }
            | AutopilotEvent::WouldRebalance { .. }
            | AutopilotEvent::Rebalancing { .. }
            | AutopilotEvent::ForeignAutoscaler { .. } => return,
        };
        family.with_label_values(&[label]).inc();
    }

    /// Sets the largest imbalance of a channel, and the numbers of channels by condition and reason.
    pub fn set_autopilot(&self, imbalance: f64, channels: &HashMap<(&str, &str), i64>) {
        self.imbalance.set(imbalance);
        let autoscaled = Autoscaled::ALL.map(|reason| (conditions::AUTOSCALED, reason.as_str()));
        let balanced = Balanced::ALL.map(|reason| (conditions::BALANCED, reason.as_str()));
        for (condition, reason) in autoscaled.into_iter().chain(balanced) {
            let count = channels.get(&(condition, reason)).copied().unwrap_or(0);
            self.autopilot.with_label_values(&[condition, reason]).set(count);
        }
    }

    /// Sets the numbers of channels by the state of their rollout.
    pub fn set_rollouts(&self, counts: &Counts) {
        let Counts { up_to_date, rolling_out, queued, halted, held } = *counts;
        for (state, count) in [
            ("up-to-date", up_to_date),
            ("rolling-out", rolling_out),
            ("queued", queued),
            ("halted", halted),
            ("held", held),
        ] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.rollouts.with_label_values(&[state]).set(count);
        }
    }

    /// Sets how many channels each pool serves and may serve, by `<namespace>/<name>`. The series of all other pools end.
    pub fn set_pools(&self, pools: &BTreeMap<String, PoolFill>) {
        let mut known = self.pools.lock();
        let families = [&self.pool_channels, &self.pool_max_channels];
        for gone in known.iter().filter(|pool| !pools.contains_key(*pool)) {
            for family in families {
                // An error says that there is no such series.
                drop(family.remove_label_values(&[gone]));
            }
        }
        for (pool, PoolFill { channels, max }) in pools {
            for (family, value) in families.into_iter().zip([channels, max]) {
                family.with_label_values(&[pool]).set(i64::try_from(*value).unwrap_or(i64::MAX));
            }
        }
        *known = pools.keys().cloned().collect();
    }

    /// Sets the number of channels.
    pub fn set_channels(&self, ready: usize, not_ready: usize) {
        for (label, count) in [("true", ready), ("false", not_ready)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.channels.with_label_values(&[label]).set(count);
        }
    }

    /// Renders all metrics in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        self.process.update();
        let panics = telemetry::panics();
        self.panics.inc_by(panics.saturating_sub(self.counted_panics.fetch_max(panics, Relaxed)));
        let mut out = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            Ok(()) => out,
            Err(e) => format!("# cannot render: {e}\n").into_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use eventcast_runtime::metrics_reference::{ANY, markdown};
    use expect_test::expect_file;

    use super::*;

    /// What stands before the table.
    const REFERENCE: &str = "# Metrics of the operator

`/metrics` on the admin port of the operator. How to read them: [Running a broker, and its metrics](../OPERATIONS.md#metrics). Generated from the code by `make docs`.
No label holds the name of a channel. The values of `reason` are those of [conditions](conditions.md). Series of pools exist while there are pools.

";

    /// `docs/reference/metrics-operator.md` lists every family. `make docs` writes it.
    #[test]
    fn the_reference_is_up_to_date() {
        let metrics = Metrics::new().unwrap();
        let fill = PoolFill { channels: 0, max: 0 };
        metrics.set_pools(&[(ANY.to_owned(), fill)].into());
        let text = REFERENCE.to_owned() + &markdown(&metrics.registry.gather());
        expect_file!["../../docs/reference/metrics-operator.md"].assert_eq(&text);
    }

    #[test]
    fn the_series_of_a_pool_end_with_it() {
        let metrics = Metrics::new().unwrap();
        let pools = |names: &[&str]| {
            let fill = PoolFill { channels: 3, max: 10 };
            names.iter().map(|name| ((*name).to_owned(), fill)).collect::<BTreeMap<_, _>>()
        };
        let series = || -> Vec<_> {
            let text = String::from_utf8(metrics.render()).unwrap();
            text.lines().filter(|line| line.contains("{pool=")).map(str::to_owned).collect()
        };
        metrics.set_pools(&pools(&["eu/a", "eu/b"]));
        assert_eq!(series().len(), 4);
        metrics.set_pools(&pools(&["eu/b"]));
        assert_eq!(
            series(),
            [
                "eventcast_operator_pool_channels{pool=\"eu/b\"} 3",
                "eventcast_operator_pool_max_channels{pool=\"eu/b\"} 10",
            ]
        );
    }
}

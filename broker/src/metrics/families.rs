//! The metric families of one channel while they are created.

use std::sync::Arc;

use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, core::Collector, proto::MetricFamily,
};

use super::{ChannelMetrics, Exemplars};

/// Seconds, from 50 microseconds to 10 seconds.
pub(super) const LATENCIES: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];

/// Seconds of requests that scan the log, from a millisecond to 10 seconds.
pub(super) const SCANS: [f64; 10] = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The histograms that have exemplars.
pub(super) const EXEMPLARY: [&str; 2] = ["eventcast_publish_seconds", "eventcast_fanout_seconds"];

/// All families of one channel.
#[derive(Clone)]
pub(super) struct Series {
    families: Arc<Vec<Box<dyn Collector>>>,
    subscribers: IntGauge,
    publish: Arc<Exemplars>,
    log_to_write: Arc<Exemplars>,
}

impl Series {
    /// The present values.
    pub(super) fn collect(&self) -> Vec<MetricFamily> {
        self.families.iter().flat_map(|family| family.collect()).collect()
    }

    /// The exemplars of one of the [`EXEMPLARY`] histograms.
    pub(super) fn exemplars(&self, family: &str, stage: Option<&str>) -> Option<&Exemplars> {
        match stage {
            None if family == EXEMPLARY[0] => Some(&self.publish),
            Some("log_to_write") if family == EXEMPLARY[1] => Some(&self.log_to_write),
            _ => None,
        }
    }

    /// Open streams.
    pub(super) fn subscribers(&self) -> i64 {
        self.subscribers.get()
    }
}

/// Creates families with the channel as a constant label.
pub(super) struct Families<'a> {
    channel: &'a str,
    made: Vec<Box<dyn Collector>>,
}

impl<'a> Families<'a> {
    pub(super) fn of(channel: &'a str) -> Self {
        Self { channel, made: Vec::new() }
    }

    /// All that were created.
    pub(super) fn into_series(self, metrics: &ChannelMetrics) -> Series {
        Series {
            families: Arc::new(self.made),
            subscribers: metrics.subscribers.clone(),
            publish: Arc::clone(&metrics.publish_exemplars),
            log_to_write: Arc::clone(&metrics.log_to_write_exemplars),
        }
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(format!("eventcast_{name}"), help).const_label("channel", self.channel)
    }

    fn histogram_opts(&self, name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
        HistogramOpts { common_opts: self.opts(name, help), buckets: buckets.to_vec() }
    }

    fn keep<C: Collector + Clone + 'static>(&mut self, family: C) -> C {
        self.made.push(Box::new(family.clone()));
        family
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        IntGauge::with_opts(self.opts(name, help)).map(|g| self.keep(g))
    }

    pub(super) fn float_gauge(&mut self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        Gauge::with_opts(self.opts(name, help)).map(|g| self.keep(g))
    }

    pub(super) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntGaugeVec> {
        IntGaugeVec::new(self.opts(name, help), labels).map(|g| self.keep(g))
    }

    pub(super) fn counter(&mut self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        IntCounter::with_opts(self.opts(name, help)).map(|c| self.keep(c))
    }

    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
    ) -> prometheus::Result<IntCounterVec> {
        IntCounterVec::new(self.opts(name, help), &[label]).map(|c| self.keep(c))
    }

    pub(super) fn counters2(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; 2],
    ) -> prometheus::Result<IntCounterVec> {
        IntCounterVec::new(self.opts(name, help), &labels).map(|c| self.keep(c))
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str) -> prometheus::Result<Histogram> {
        Histogram::with_opts(self.histogram_opts(name, help, &LATENCIES)).map(|h| self.keep(h))
    }

    pub(super) fn histograms(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        buckets: &[f64],
    ) -> prometheus::Result<HistogramVec> {
        let opts = self.histogram_opts(name, help, buckets);
        HistogramVec::new(opts, &[label]).map(|h| self.keep(h))
    }
}

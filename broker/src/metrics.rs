//! What operators see. One [`Metrics`] is made in `main` and passed down; a channel's children are resolved once.
//!
//! Every sequence that a subscriber's cursor passes is counted in exactly one outcome of
//! `eventcast_subscriber_events_total`: delivered, filtered, lost (declared in band) or absent (deleted in the log). So
//! `delivered + filtered + lost + absent` is what was published to the subscribers that were there.

use std::sync::Arc;

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::{event::BadEvent, fanout::CloseReason, frame::GapReason};

/// The registry and the families; cheap to clone by `Arc`.
pub(crate) struct Metrics {
    registry: Registry,
    subscribers: IntGaugeVec,
    catching_up: IntGaugeVec,
    connects: IntCounterVec,
    disconnects: IntCounterVec,
    rejects: IntCounterVec,
    events_in: IntCounterVec,
    events_skipped: IntCounterVec,
    subscriber_events: IntCounterVec,
    bytes_out: IntCounterVec,
    gaps: IntCounterVec,
    tail_events: IntGaugeVec,
    tail_bytes: IntGaugeVec,
    tail_head: IntGaugeVec,
    tail_resets: IntCounterVec,
    channel_live: IntGaugeVec,
    replay: IntCounterVec,
    page_loads: IntCounterVec,
    page_bytes: IntGaugeVec,
    publish: IntCounterVec,
    publish_seconds: HistogramVec,
    erasures: IntCounterVec,
    erased_events: IntCounterVec,
    fanout_seconds: HistogramVec,
    /// Open sockets of the public listener.
    pub(crate) connections: IntGauge,
    /// Connections that ended before a request, by what was wrong.
    pub(crate) accept_errors: IntCounter,
    /// Bytes of cached pages.
    pub(crate) page_cache_bytes: IntGauge,
    /// Cached pages.
    pub(crate) page_cache_pages: IntGauge,
    /// 1 while NATS can be reached.
    pub(crate) nats_connected: IntGauge,
    /// Connections to NATS that broke.
    pub(crate) nats_disconnects: IntCounter,
    /// Connections to NATS given up because the server did not answer.
    pub(crate) nats_forced_reconnects: IntCounter,
    /// Keys of the configuration that this version does not know.
    pub(crate) config_unknown_keys: IntGauge,
    /// Configuration changes taken over, and refused.
    pub(crate) config_reloads: IntCounterVec,
}

/// Seconds, from 50 microseconds to 10 seconds.
fn buckets() -> Vec<f64> {
    vec![
        0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
        0.5, 1.0, 2.5, 5.0, 10.0,
    ]
}

impl Metrics {
    /// All families, registered.
    ///
    /// # Errors
    /// Two families have one name: a mistake in this file.
    pub(crate) fn new() -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let c = IntCounterVec::new(Opts::new(format!("eventcast_{name}"), help), labels)?;
            registry.register(Box::new(c.clone())).map(|()| c)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let g = IntGaugeVec::new(Opts::new(format!("eventcast_{name}"), help), labels)?;
            registry.register(Box::new(g.clone())).map(|()| g)
        };
        let histograms = |name: &str, help: &str, labels: &[&str]| {
            let opts = HistogramOpts::new(format!("eventcast_{name}"), help).buckets(buckets());
            let h = HistogramVec::new(opts, labels)?;
            registry.register(Box::new(h.clone())).map(|()| h)
        };
        let gauge = |name: &str, help: &str| {
            let g = IntGauge::new(format!("eventcast_{name}"), help)?;
            registry.register(Box::new(g.clone())).map(|()| g)
        };
        let counter = |name: &str, help: &str| {
            let c = IntCounter::new(format!("eventcast_{name}"), help)?;
            registry.register(Box::new(c.clone())).map(|()| c)
        };
        let ch = &["channel"];
        Ok(Arc::new(Self {
            subscribers: gauges("subscribers", "Open streams.", ch)?,
            catching_up: gauges("subscribers_catching_up", "Open streams that read the past.", ch)?,
            connects: counters("connects_total", "Streams begun.", &["channel", "start"])?,
            disconnects: counters("disconnects_total", "Streams ended.", &["channel", "reason"])?,
            rejects: counters("rejects_total", "Subscribers not taken.", &["channel", "reason"])?,
            events_in: counters("events_in_total", "Events read from the log into the tail.", ch)?,
            events_skipped: counters(
                "events_skipped_total",
                "Messages in the log that break the rules of events.",
                &["channel", "reason"],
            )?,
            subscriber_events: counters(
                "subscriber_events_total",
                "Sequences that subscribers' cursors passed.",
                &["channel", "outcome"],
            )?,
            bytes_out: counters("bytes_out_total", "Bytes of events handed to sockets.", ch)?,
            gaps: counters("gaps_total", "Gaps told to subscribers.", &["channel", "reason"])?,
            tail_events: gauges("tail_events", "Events in the tail.", ch)?,
            tail_bytes: gauges("tail_bytes", "Bytes in the tail.", ch)?,
            tail_head: gauges("tail_head_sequence", "Newest sequence in the tail.", ch)?,
            tail_resets: counters(
                "tail_resets_total",
                "Times the tail attached again.",
                &["channel", "reason"],
            )?,
            channel_live: gauges("channel_live", "1 while the tail is attached.", ch)?,
            replay: counters(
                "replay_batches_total",
                "Batches of events read for subscribers, by where they came from.",
                &["channel", "source"],
            )?,
            page_loads: counters(
                "page_loads_total",
                "Pages read from the log.",
                &["channel", "outcome"],
            )?,
            page_bytes: gauges("page_bytes", "Bytes of the channel's cached pages.", ch)?,
            publish: counters(
                "publish_total",
                "Events published over HTTP.",
                &["channel", "outcome"],
            )?,
            erasures: counters(
                "erasures_total",
                "Requests to erase events.",
                &["channel", "outcome"],
            )?,
            erased_events: counters("erased_events_total", "Events erased on request.", ch)?,
            publish_seconds: histograms(
                "publish_seconds",
                "Time from a whole request to its acknowledgement.",
                ch,
            )?,
            fanout_seconds: histograms(
                "fanout_seconds",
                "Latency of events: log_to_tail, tail_to_write, and log_to_write, the sum of both.",
                &["channel", "stage"],
            )?,
            connections: gauge("connections", "Open sockets of the public listener.")?,
            accept_errors: counter("accept_errors_total", "Sockets that could not be accepted.")?,
            page_cache_bytes: gauge("page_cache_bytes", "Bytes of cached pages.")?,
            page_cache_pages: gauge("page_cache_pages", "Cached pages.")?,
            nats_connected: gauge("nats_connected", "1 while NATS can be reached.")?,
            nats_disconnects: counter("nats_disconnects_total", "Connections to NATS that broke.")?,
            nats_forced_reconnects: counter(
                "nats_forced_reconnects_total",
                "Connections to NATS given up because the server did not answer.",
            )?,
            config_unknown_keys: gauge(
                "config_unknown_keys",
                "Keys of the configuration that this version does not know.",
            )?,
            config_reloads: counters(
                "config_reloads_total",
                "Changes of the configuration.",
                &["outcome"],
            )?,
            registry,
        }))
    }

    /// The children of one channel.
    #[must_use]
    pub(crate) fn channel(self: &Arc<Self>, channel: &str) -> Arc<ChannelMetrics> {
        let c = &[channel];
        let outcome = |o| self.subscriber_events.with_label_values(&[channel, o]);
        let stage = |s| self.fanout_seconds.with_label_values(&[channel, s]);
        let replay = |s| self.replay.with_label_values(&[channel, s]);
        Arc::new(ChannelMetrics {
            subscribers: self.subscribers.with_label_values(c),
            catching_up: self.catching_up.with_label_values(c),
            events_in: self.events_in.with_label_values(c),
            delivered: outcome("delivered"),
            filtered: outcome("filtered"),
            lost: outcome("lost"),
            absent: outcome("absent"),
            bytes_out: self.bytes_out.with_label_values(c),
            tail_events: self.tail_events.with_label_values(c),
            tail_bytes: self.tail_bytes.with_label_values(c),
            tail_head: self.tail_head.with_label_values(c),
            live: self.channel_live.with_label_values(c),
            from_tail: replay("tail"),
            from_pages: replay("pages"),
            page_bytes: self.page_bytes.with_label_values(c),
            publish_seconds: self.publish_seconds.with_label_values(c),
            log_to_tail: stage("log_to_tail"),
            tail_to_write: stage("tail_to_write"),
            log_to_write: stage("log_to_write"),
            all: Arc::clone(self),
            channel: channel.into(),
        })
    }

    /// Everything, in Prometheus' text format.
    #[must_use]
    pub(crate) fn render(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            Ok(()) => out,
            Err(e) => format!("# cannot render: {e}\n").into_bytes(),
        }
    }
}

/// One more in a gauge, until it is dropped.
pub(crate) struct Counted(IntGauge);

impl Counted {
    pub(crate) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The children of one channel, resolved once.
pub(crate) struct ChannelMetrics {
    all: Arc<Metrics>,
    channel: Box<str>,
    /// Open streams.
    pub(crate) subscribers: IntGauge,
    /// Open streams that are not at the head.
    pub(crate) catching_up: IntGauge,
    /// Events read into the tail.
    pub(crate) events_in: IntCounter,
    /// Sequences passed by subscribers: delivered.
    pub(crate) delivered: IntCounter,
    /// Sequences passed by subscribers: held back by their filters.
    pub(crate) filtered: IntCounter,
    /// Sequences passed by subscribers: declared lost.
    pub(crate) lost: IntCounter,
    /// Sequences passed by subscribers: deleted in the log, or server's markers.
    pub(crate) absent: IntCounter,
    /// Bytes of events handed to sockets.
    pub(crate) bytes_out: IntCounter,
    /// Events in the tail.
    pub(crate) tail_events: IntGauge,
    /// Bytes in the tail.
    pub(crate) tail_bytes: IntGauge,
    /// Newest sequence in the tail.
    pub(crate) tail_head: IntGauge,
    /// 1 while attached.
    pub(crate) live: IntGauge,
    /// Batches read from the tail for subscribers that were behind.
    pub(crate) from_tail: IntCounter,
    /// Batches read from pages.
    pub(crate) from_pages: IntCounter,
    /// Bytes of cached pages.
    pub(crate) page_bytes: IntGauge,
    /// Publish latency.
    pub(crate) publish_seconds: Histogram,
    /// From the log's timestamp to the tail.
    pub(crate) log_to_tail: Histogram,
    /// From the tail to the socket.
    pub(crate) tail_to_write: Histogram,
    /// From the log's timestamp to the socket.
    pub(crate) log_to_write: Histogram,
}

impl ChannelMetrics {
    /// A stream began; `start` is the closed set of start positions.
    pub(crate) fn connected(&self, start: &'static str) {
        self.all.connects.with_label_values(&[&*self.channel, start]).inc();
    }

    /// A stream ended.
    pub(crate) fn disconnected(&self, reason: CloseReason) {
        self.all.disconnects.with_label_values(&[&*self.channel, reason.as_str()]).inc();
    }

    /// A subscriber was not taken.
    pub(crate) fn rejected(&self, reason: &'static str) {
        self.all.rejects.with_label_values(&[&*self.channel, reason]).inc();
    }

    /// A message in the log breaks a rule.
    pub(crate) fn skipped(&self, why: BadEvent) {
        self.all.events_skipped.with_label_values(&[&*self.channel, why.label()]).inc();
    }

    /// A gap was told.
    pub(crate) fn gap(&self, reason: GapReason, lost: Option<u64>) {
        self.all.gaps.with_label_values(&[&*self.channel, reason.as_str()]).inc();
        self.lost.inc_by(lost.unwrap_or(0));
    }

    /// The tail attaches again.
    pub(crate) fn tail_reset(&self, reason: &'static str) {
        self.all.tail_resets.with_label_values(&[&*self.channel, reason]).inc();
    }

    /// A page was read, or not.
    pub(crate) fn page_load(&self, outcome: &'static str) {
        self.all.page_loads.with_label_values(&[&*self.channel, outcome]).inc();
    }

    /// A request to erase ended; `events` were erased.
    pub(crate) fn erased(&self, outcome: &'static str, events: u64) {
        self.all.erasures.with_label_values(&[&*self.channel, outcome]).inc();
        self.all.erased_events.with_label_values(&[&*self.channel]).inc_by(events);
    }

    /// `count` events were published with one outcome.
    pub(crate) fn published(&self, outcome: &'static str, count: usize) {
        self.all.publish.with_label_values(&[&*self.channel, outcome]).inc_by(count as u64);
    }
}

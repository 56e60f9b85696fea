//! Prometheus metrics. One [`Metrics`] is created at the start and passed down; [`ChannelMetrics`] are the series of one channel.
//!
//! Every sequence that a subscriber's cursor passes is counted in exactly one outcome of
//! `eventcast_subscriber_events_total`: delivered, filtered, lost (declared in band) or absent (deleted in the log). So
//! `delivered + filtered + lost + absent` is what was published to the subscribers that were there.

mod bounded;
mod channel;
mod channels;
mod exemplars;
mod families;
mod http_requests;
mod initial_labels;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use eventcast_runtime::{openmetrics, process_metrics::ProcessMetrics, telemetry};
use prometheus::{
    Counter, CounterVec, Encoder, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, proto::MetricFamily,
};

use channels::Channels;

pub(crate) use channel::ChannelMetrics;
pub(crate) use exemplars::Exemplars;
pub(crate) use http_requests::HttpRequests;

/// The most channels with their own series, in brokers with a folder of channels.
const MAX_CHANNELS: usize = 50;

/// The registry, the series of the whole process, and those of each channel.
pub(crate) struct Metrics {
    registry: Registry,
    process: ProcessMetrics,
    channels: Channels,
    /// Requests of the public listeners.
    pub(crate) http_requests: HttpRequests,
    /// Open sockets of the public listeners.
    pub(crate) connections: ByTls,
    /// The most sockets of the public listener.
    pub(crate) connections_max: IntGauge,
    /// The most open streams.
    pub(crate) subscribers_max: IntGauge,
    /// Streams above which an order in force closes some; 0 without one.
    pub(crate) shed_ceiling: IntGauge,
    /// Connections that carry streams.
    pub(crate) stream_connections: ByTls,
    /// The most connections that carry streams.
    pub(crate) stream_connections_max: IntGauge,
    connections_refused: IntCounterVec,
    connections_evicted: IntCounterVec,
    handshakes: IntCounterVec,
    /// TLS handshakes in progress.
    pub(crate) handshakes_in_progress: IntGauge,
    /// When the certificate of the public listener expires, in Unix time; 0 without one.
    pub(crate) certificate_expiry: IntGauge,
    certificate_reloads: IntCounterVec,
    /// KiB of publish requests in memory.
    pub(crate) body_kib: IntGauge,
    /// KiB of responses that clients have not read yet.
    pub(crate) answer_kib: IntGauge,
    /// History and statistics requests in progress.
    pub(crate) queries: IntGauge,
    /// Failed calls of accept(2).
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
    /// Channels that are served, by the state of their log.
    channels_by_state: IntGaugeVec,
    /// Channels of the folder whose newest configuration cannot be used.
    pub(crate) config_rejected_channels: IntGauge,
    /// Problems of files of the folder of channels.
    pub(crate) config_unreadable_files: IntGauge,
    /// Configuration changes, by outcome.
    pub(crate) config_reloads: IntCounterVec,
    /// Failures of shards.
    pub(crate) shard_restarts: IntCounter,
    shard_busy: CounterVec,
    panics: IntCounter,
    /// Panics that are already added to `panics`.
    panics_added: AtomicU64,
}

/// A gauge of connections with and without TLS.
pub(crate) struct ByTls {
    plain: IntGauge,
    tls: IntGauge,
}

impl ByTls {
    fn new(gauges: &IntGaugeVec) -> Self {
        let of = |tls: &str| gauges.with_label_values(&[tls]);
        Self { plain: of("false"), tls: of("true") }
    }

    /// The gauge of connections with TLS, or of those without.
    pub(crate) fn of(&self, is_tls: bool) -> &IntGauge {
        if is_tls { &self.tls } else { &self.plain }
    }
}

impl Metrics {
    /// The families of the process, registered.
    ///
    /// # Errors
    /// Two families have one name: a mistake in this file.
    pub(crate) fn new() -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let channels = Channels::default();
        registry.register(Box::new(channels.clone()))?;
        let gauge = |name: &str, help: &str| {
            let g = IntGauge::new(format!("eventcast_{name}"), help)?;
            registry.register(Box::new(g.clone())).map(|()| g)
        };
        let by_tls = |name: &str, help: &str| {
            let g = IntGaugeVec::new(Opts::new(format!("eventcast_{name}"), help), &["tls"])?;
            registry.register(Box::new(g.clone())).map(|()| ByTls::new(&g))
        };
        let counter = |name: &str, help: &str| {
            let c = IntCounter::new(format!("eventcast_{name}"), help)?;
            registry.register(Box::new(c.clone())).map(|()| c)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let c = IntCounterVec::new(Opts::new(format!("eventcast_{name}"), help), labels)?;
            registry.register(Box::new(c.clone())).map(|()| c)
        };
        let connections_refused = counters(
            "connections_refused_total",
            "Connections refused before their first request.",
            &["reason"],
        )?;
        let connections_evicted = counters(
            "connections_evicted_total",
            "Connections closed to make room for others, by what they were doing.",
            &["phase"],
        )?;
        let handshakes = counters(
            "tls_handshakes_total",
            "TLS handshakes that have ended. failed: no common version, or a client that does not trust the certificate; ended: by the client; plaintext: HTTP without TLS; no-certificate and certificate-…: the certificate of the client.",
            &["outcome"],
        )?;
        let certificate_reloads = counters(
            "certificate_reloads_total",
            "Reloads of the certificate files and of the file of client authorities, by outcome.",
            &["outcome"],
        )?;
        let config_reloads =
            counters("config_reloads_total", "Configuration changes, by outcome.", &["outcome"])?;
        for outcome in initial_labels::CONFIG_RELOADS {
            config_reloads.with_label_values(&[outcome]);
        }
        let shard_busy = CounterVec::new(
            Opts::new(
                "eventcast_shard_busy_seconds_total",
                "Time during which a shard was busy, in seconds. The rate is the busy fraction of its thread: near 1, add processors or brokers.",
            ),
            &["shard"],
        )?;
        registry.register(Box::new(shard_busy.clone()))?;
        // Exported from the start: a rate needs an initial zero.
        for (counter, label) in [
            (&connections_refused, "limit"),
            (&connections_refused, "proxy-protocol"),
            (&connections_evicted, "idle"),
            (&connections_evicted, "head"),
            (&connections_evicted, "body"),
            (&connections_evicted, "unread"),
            (&handshakes, "full"),
            (&handshakes, "resumed"),
            (&handshakes, "failed"),
            (&handshakes, "timeout"),
            (&handshakes, "ended"),
            (&handshakes, "plaintext"),
            (&handshakes, "no-certificate"),
            (&certificate_reloads, "applied"),
            (&certificate_reloads, "rejected"),
        ] {
            counter.with_label_values(&[label]);
        }
        Ok(Arc::new(Self {
            connections: by_tls(
                "connections",
                "Open sockets of the public listeners, with TLS and without.",
            )?,
            connections_max: gauge(
                "connections_max",
                "The most open sockets: limits.connections, or fewer if the limit of open files is lower.",
            )?,
            subscribers_max: gauge(
                "subscribers_max",
                "The most open streams: limits.subscribers.",
            )?,
            shed_ceiling: gauge(
                "shed_ceiling",
                "While an order of the operator is in force: the number of open streams above which streams are closed for balance; otherwise 0.",
            )?,
            stream_connections: by_tls(
                "stream_connections",
                "Connections that carry streams, with TLS and without.",
            )?,
            stream_connections_max: gauge(
                "stream_connections_max",
                "The most connections that carry streams; the others are reserved for requests.",
            )?,
            connections_refused,
            connections_evicted,
            handshakes,
            handshakes_in_progress: gauge(
                "tls_handshakes_in_progress",
                "TLS handshakes in progress.",
            )?,
            certificate_expiry: gauge(
                "certificate_expiry_seconds",
                "When the certificate of the public listener expires, in Unix time; 0 without one.",
            )?,
            certificate_reloads,
            body_kib: gauge("body_kibibytes", "Publish requests in memory, in KiB.")?,
            answer_kib: gauge(
                "answer_kibibytes",
                "Responses that clients have not read yet, in KiB.",
            )?,
            queries: gauge("queries", "History and statistics requests in progress.")?,
            accept_errors: counter(
                "accept_errors_total",
                "Failed calls of accept(2), usually because the process has no file descriptors left.",
            )?,
            page_cache_bytes: gauge("page_cache_bytes", "Bytes of cached pages.")?,
            page_cache_pages: gauge("page_cache_pages", "Cached pages.")?,
            nats_connected: gauge("nats_connected", "1 while the tail is connected to NATS.")?,
            nats_disconnects: counter("nats_disconnects_total", "Lost connections to NATS.")?,
            nats_forced_reconnects: counter(
                "nats_forced_reconnects_total",
                "Connections to NATS that were closed because the server did not respond.",
            )?,
            config_unknown_keys: gauge(
                "config_unknown_keys",
                "Unknown keys in the configuration.",
            )?,
            channels_by_state: {
                let opts = Opts::new(
                    "eventcast_channels",
                    "Channels by the state of their log: live, detached (it cannot be followed at the moment), or parked.",
                );
                let gauges = IntGaugeVec::new(opts, &["state"])?;
                registry.register(Box::new(gauges.clone()))?;
                gauges
            },
            config_rejected_channels: gauge(
                "config_rejected_channels",
                "Channels of channelsFolder whose newest configuration cannot be used: the last valid one stays, if there was one.",
            )?,
            config_unreadable_files: gauge(
                "config_file_problems",
                "Problems with files in channelsFolder. The channels of such a file keep their last valid configuration.",
            )?,
            config_reloads,
            shard_restarts: counter(
                "shard_restarts_total",
                "Failures of shards, each followed by a restart.",
            )?,
            shard_busy,
            panics: counter("panics_total", "Panics of threads and tasks.")?,
            panics_added: AtomicU64::new(0),
            channels,
            http_requests: HttpRequests::register(&registry)?,
            process: ProcessMetrics::register(&registry, "broker", env!("CARGO_PKG_VERSION"))?,
            registry,
        }))
    }

    /// New series for one channel, at zero. They are exported until the last `Arc` is dropped or the channel is opened again. Streams of
    /// the earlier opening are then counted in series that are no longer exported.
    pub(crate) fn channel(self: &Arc<Self>, channel: &str) -> Arc<ChannelMetrics> {
        let opening = self.channels.next_opening();
        let (metrics, series) = ChannelMetrics::new(channel, opening, Arc::clone(self))
            .expect("names and labels of families are constants");
        self.channels.insert(channel, opening, series);
        Arc::new(metrics)
    }

    /// The series that parked logs share, with an empty `channel` label. From now on at most [`MAX_CHANNELS`] channels have their own
    /// series.
    pub(crate) fn for_parked_channels(self: &Arc<Self>) -> Arc<ChannelMetrics> {
        let opening = self.channels.next_opening();
        let (metrics, series) = ChannelMetrics::new("", opening, Arc::clone(self))
            .expect("names and labels of families are constants");
        self.channels.bound(MAX_CHANNELS, series);
        Arc::new(metrics)
    }

    /// Series like those of a channel that are not exported, for the streams of delivery probes, which are not counted among subscribers.
    pub(crate) fn for_probes(self: &Arc<Self>) -> Arc<ChannelMetrics> {
        let opening = self.channels.next_opening();
        let (metrics, _) = ChannelMetrics::new("", opening, Arc::clone(self))
            .expect("names and labels of families are constants");
        Arc::new(metrics)
    }

    /// How many channels there are, by the state of their log.
    pub(crate) fn channels_by_state(&self, counts: &[(&str, usize)]) {
        for (state, count) in counts {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            self.channels_by_state.with_label_values(&[state]).set(count);
        }
    }

    /// The time that the shard `number` is busy, in seconds.
    pub(crate) fn shard_busy(&self, number: usize) -> Counter {
        self.shard_busy.with_label_values(&[&number.to_string()])
    }

    /// A connection was refused before a request.
    pub(crate) fn connections_refused(&self, reason: &'static str) {
        self.connections_refused.with_label_values(&[reason]).inc();
    }

    /// A connection is closed to make room.
    pub(crate) fn connections_evicted(&self, phase: &'static str) {
        self.connections_evicted.with_label_values(&[phase]).inc();
    }

    /// A TLS handshake has ended.
    pub(crate) fn handshakes(&self, outcome: &'static str) {
        self.handshakes.with_label_values(&[outcome]).inc();
    }

    /// The certificate files were read, at the start or because they have changed.
    pub(crate) fn certificate_reloads(&self, outcome: &'static str) {
        self.certificate_reloads.with_label_values(&[outcome]).inc();
    }

    /// All metrics in the Prometheus text format.
    #[must_use]
    pub(crate) fn render(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match TextEncoder::new().encode(&self.gather(), &mut out) {
            Ok(()) => out,
            Err(e) => format!("# failed to encode: {e}\n").into_bytes(),
        }
    }

    /// All metrics in OpenMetrics, with exemplars.
    #[must_use]
    pub(crate) fn render_openmetrics(&self) -> String {
        openmetrics::render(&self.gather(), |family, labels, bucket| {
            self.channels.exemplar(family, labels, bucket)
        })
    }

    fn gather(&self) -> Vec<MetricFamily> {
        self.process.update();
        let panics = telemetry::panics();
        self.panics.inc_by(panics.saturating_sub(self.panics_added.fetch_max(panics, Relaxed)));
        self.registry.gather()
    }
}

/// Increments a gauge until it is dropped.
pub(crate) struct GaugeGuard(IntGauge);

impl GaugeGuard {
    pub(crate) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests;

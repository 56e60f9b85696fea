//! What operators see. One [`Metrics`] is made in `main` and passed down; [`ChannelMetrics`] are the series of one channel.
//!
//! Every sequence that a subscriber's cursor passes is counted in exactly one outcome of
//! `eventcast_subscriber_events_total`: delivered, filtered, lost (declared in band) or absent (deleted in the log). So
//! `delivered + filtered + lost + absent` is what was published to the subscribers that were there.

mod channel;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use eventcast_runtime::telemetry;
use parking_lot::Mutex;
use prometheus::{Encoder, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use channel::Series;

pub(crate) use channel::ChannelMetrics;

/// The registry, the series of the whole process, and those of each channel.
pub(crate) struct Metrics {
    registry: Registry,
    channels: Mutex<Channels>,
    /// Open sockets of the public listener.
    pub(crate) connections: IntGauge,
    /// Sockets that the public listener may have.
    pub(crate) connections_max: IntGauge,
    /// Streams that may be open.
    pub(crate) subscribers_max: IntGauge,
    /// Connections that carry streams.
    pub(crate) stream_connections: IntGauge,
    /// Connections that streams may take.
    pub(crate) stream_connections_max: IntGauge,
    connections_refused: IntCounterVec,
    connections_evicted: IntCounterVec,
    /// KiB of publish requests in memory.
    pub(crate) body_kib: IntGauge,
    /// KiB of answers that were not read yet.
    pub(crate) answer_kib: IntGauge,
    /// History and statistics requests under way.
    pub(crate) queries: IntGauge,
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
    /// Shards that failed.
    pub(crate) shard_restarts: IntCounter,
    panics: IntCounter,
    /// Panics that `panics` has counted.
    told: AtomicU64,
}

/// The channels whose series are served.
#[derive(Default)]
struct Channels {
    /// Counts the lives of all channels.
    opened: u64,
    /// The last life of each.
    served: HashMap<Box<str>, (u64, Series)>,
}

impl Metrics {
    /// The families of the process, registered.
    ///
    /// # Errors
    /// Two families have one name: a mistake in this file.
    pub(crate) fn new() -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str| {
            let g = IntGauge::new(format!("eventcast_{name}"), help)?;
            registry.register(Box::new(g.clone())).map(|()| g)
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
            "Connections refused before a request.",
            &["reason"],
        )?;
        let connections_evicted = counters(
            "connections_evicted_total",
            "Connections closed to make room, by what was waited for.",
            &["phase"],
        )?;
        // Served from the start: a rate needs a zero to begin with.
        for (counter, label) in [
            (&connections_refused, "limit"),
            (&connections_refused, "proxy-protocol"),
            (&connections_evicted, "idle"),
            (&connections_evicted, "head"),
            (&connections_evicted, "body"),
            (&connections_evicted, "unread"),
        ] {
            counter.with_label_values(&[label]);
        }
        Ok(Arc::new(Self {
            connections: gauge("connections", "Open sockets of the public listener.")?,
            connections_max: gauge(
                "connections_max",
                "Sockets that the public listener may have: limits.connections, or what the limit of open files leaves.",
            )?,
            subscribers_max: gauge(
                "subscribers_max",
                "Streams that may be open: limits.subscribers.",
            )?,
            stream_connections: gauge("stream_connections", "Connections that carry streams.")?,
            stream_connections_max: gauge(
                "stream_connections_max",
                "Connections that streams may take; the rest is for requests.",
            )?,
            connections_refused,
            connections_evicted,
            body_kib: gauge("body_kibibytes", "Publish requests in memory, in KiB.")?,
            answer_kib: gauge("answer_kibibytes", "Answers that were not read yet, in KiB.")?,
            queries: gauge("queries", "History and statistics requests under way.")?,
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
            shard_restarts: counter("shard_restarts_total", "Times a shard failed.")?,
            panics: counter("panics_total", "Panics of any thread or task.")?,
            told: AtomicU64::new(0),
            channels: Mutex::default(),
            registry,
        }))
    }

    /// The series of one channel, from zero. They are served until the last `Arc` is dropped, or until the channel is opened again:
    /// what is left of its former life then counts where nobody looks.
    pub(crate) fn channel(self: &Arc<Self>, channel: &str) -> Arc<ChannelMetrics> {
        let mut channels = self.channels.lock();
        channels.opened += 1;
        let life = channels.opened;
        let (metrics, series) = ChannelMetrics::new(channel, life, Arc::clone(self))
            .expect("names and labels of families are constants");
        if let Some((_, former)) = channels.served.remove(channel) {
            self.unregister(channel, former);
        }
        if let Err(error) = self.registry.register(Box::new(series.clone())) {
            tracing::error!(channel, %error, "the metrics of a channel are not served");
        }
        channels.served.insert(channel.into(), (life, series));
        Arc::new(metrics)
    }

    /// Serves the series of this life of `channel` no more.
    fn forget(&self, channel: &str, life: u64) {
        let mut channels = self.channels.lock();
        if channels.served.get(channel).is_some_and(|(last, _)| *last == life)
            && let Some((_, series)) = channels.served.remove(channel)
        {
            self.unregister(channel, series);
        }
    }

    fn unregister(&self, channel: &str, series: Series) {
        if let Err(error) = self.registry.unregister(Box::new(series)) {
            tracing::error!(channel, %error, "the metrics of a channel are served on");
        }
    }

    /// A connection was refused before a request.
    pub(crate) fn connections_refused(&self, reason: &'static str) {
        self.connections_refused.with_label_values(&[reason]).inc();
    }

    /// A connection is closed to make room.
    pub(crate) fn connections_evicted(&self, phase: &'static str) {
        self.connections_evicted.with_label_values(&[phase]).inc();
    }

    /// Everything, in Prometheus' text format.
    #[must_use]
    pub(crate) fn render(&self) -> Vec<u8> {
        let panics = telemetry::panics();
        self.panics.inc_by(panics.saturating_sub(self.told.fetch_max(panics, Relaxed)));
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

#[cfg(test)]
mod tests;

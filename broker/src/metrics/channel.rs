//! The series of one channel. They are removed with its last user.
//!
//! Each channel has its own metric families, with its name as a constant label. So all of its series are removed at once, and a
//! remaining holder cannot create one again.

use std::{sync::Arc, time::Duration};

use eventcast_crds::broker_status::{AccessProblem, DeliveryReason, DeliveryReport};
use eventcast_wire::{closing::CloseReason, event::BadEvent, gap::GapReason};
use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::{
    Exemplars, Metrics,
    families::{Families, LATENCIES, SCANS, Series},
    initial_labels,
};
use crate::delivery::{DeliveryLedger, Outcome};

/// The series of one opening of a channel. Series with a fixed label value are resolved once.
pub(crate) struct ChannelMetrics {
    all: Arc<Metrics>,
    channel: Box<str>,
    /// The number of the opening.
    opening: u64,
    connects: IntCounterVec,
    disconnects: IntCounterVec,
    rejects: IntCounterVec,
    access: IntCounterVec,
    access_keys: IntGaugeVec,
    access_keys_age: IntGaugeVec,
    access_problem: IntGaugeVec,
    events_skipped: IntCounterVec,
    gaps: IntCounterVec,
    tail_resets: IntCounterVec,
    page_loads: IntCounterVec,
    probes: IntCounterVec,
    /// From the publication of the last probe's event to its arrival, in seconds.
    pub(crate) probe_delay: Gauge,
    delivery_problem: IntGaugeVec,
    publish: IntCounterVec,
    erasures: IntCounterVec,
    erased_events: IntCounter,
    /// Open streams.
    pub(crate) subscribers: IntGauge,
    /// Open streams that are not at the head.
    pub(crate) catching_up: IntGauge,
    /// Events read into the tail.
    pub(crate) events_in: IntCounter,
    /// Sequences that subscribers' cursors passed, by [`Outcome`].
    outcomes: [IntCounter; Outcome::ALL.len()],
    bytes_out: IntCounter,
    /// The size of the stream and its limits.
    pub(crate) log: LogGauges,
    /// Events in the tail.
    pub(crate) tail_events: IntGauge,
    /// Bytes in the tail.
    pub(crate) tail_bytes: IntGauge,
    /// Newest sequence in the tail.
    pub(crate) tail_head: IntGauge,
    /// 1 while the tail is attached.
    pub(crate) live: IntGauge,
    /// 1 while the log is parked.
    pub(crate) parked: IntGauge,
    /// Batches read from the tail for subscribers that were behind.
    pub(crate) from_tail: IntCounter,
    /// Batches read from pages.
    pub(crate) from_pages: IntCounter,
    /// Bytes of cached pages.
    pub(crate) page_bytes: IntGauge,
    /// From a complete request to its acknowledgement.
    pub(crate) publish_seconds: Histogram,
    /// From the log's timestamp to the tail.
    pub(crate) log_to_tail: Histogram,
    /// From the tail to the socket.
    pub(crate) tail_to_write: Histogram,
    /// From the log's timestamp to the socket.
    pub(crate) log_to_write: Histogram,
    /// Exemplars of `publish_seconds` and `log_to_write`.
    pub(crate) publish_exemplars: Arc<Exemplars>,
    pub(crate) log_to_write_exemplars: Arc<Exemplars>,
    /// Duration of history requests.
    pub(crate) history_seconds: Histogram,
    /// Duration of statistics requests.
    pub(crate) stats_seconds: Histogram,
}

/// The size of a channel's stream and its limits; 0: no limit, or not known yet.
pub(crate) struct LogGauges {
    pub(crate) bytes: IntGauge,
    pub(crate) max_bytes: IntGauge,
    pub(crate) events: IntGauge,
    pub(crate) max_events: IntGauge,
    pub(crate) oldest_seconds: IntGauge,
    pub(crate) max_age_seconds: IntGauge,
    pub(crate) rejects_when_full: IntGauge,
}

impl LogGauges {
    fn new(f: &mut Families<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            bytes: f.gauge("log_bytes", "Bytes of the stream in NATS.")?,
            max_bytes: f.gauge(
                "log_max_bytes",
                "The most bytes of the stream: retention.maxBytes. 0: no limit.",
            )?,
            events: f.gauge("log_events", "Events in the stream.")?,
            max_events: f.gauge(
                "log_max_events",
                "The most events of the stream: retention.maxEvents. 0: no limit.",
            )?,
            oldest_seconds: f.gauge(
                "log_oldest_seconds",
                "Age of the oldest event of the stream in seconds; 0 if it is empty.",
            )?,
            max_age_seconds: f.gauge(
                "log_max_age_seconds",
                "Age at which events are deleted: retention.maxAge. 0: never.",
            )?,
            rejects_when_full: f.gauge(
                "log_rejects_when_full",
                "1 if the stream rejects new events when it is full, 0 if it deletes its oldest.",
            )?,
        })
    }
}

impl ChannelMetrics {
    /// All families, and the series to register.
    pub(super) fn new(
        channel: &str,
        opening: u64,
        all: Arc<Metrics>,
    ) -> prometheus::Result<(Self, Series)> {
        let mut f = Families::of(channel);
        let passed = f.counters(
            "subscriber_events_total",
            "Sequences that cursors of subscribers have passed, each counted once: delivered, filtered, lost (declared to the client), or absent (deleted in the log). The sum is what was published to the subscribers that were there.",
            "outcome",
        )?;
        let fanout_seconds = f.histograms(
            "fanout_seconds",
            "Latency of events by stage: log_to_tail from the timestamp of JetStream to this broker, tail_to_write to the socket, log_to_write both. The clocks of NATS and the broker may differ.",
            "stage",
            &LATENCIES,
        )?;
        let query_seconds = f.histograms(
            "query_seconds",
            "Duration of history and statistics requests, with the wait for their slot.",
            "kind",
            &SCANS,
        )?;
        let replay = f.counters(
            "replay_batches_total",
            "Batches of events read for subscribers that are catching up: from the tail in memory, or from pages of the log.",
            "source",
        )?;
        let metrics = Self {
            subscribers: f.gauge("subscribers", "Open streams.")?,
            catching_up: f
                .gauge("subscribers_catching_up", "Open streams that are catching up; after a reconnect storm it falls to 0.")?,
            connects: f.counters(
                "connects_total",
                "Streams opened, by start position.",
                "start",
            )?,
            disconnects: f.counters("disconnects_total", "Streams ended, by reason. unexpected-input: the client sent more than 1 MiB on its stream.", "reason")?,
            rejects: f.counters("rejects_total", "Subscribers refused, by reason.", "reason")?,
            access: f.counters2(
                "access_total",
                "Requests by the form of their credential and the outcome: granted, or the check that failed.",
                ["way", "outcome"],
            )?,
            access_keys: f.gauges(
                "access_keys",
                "Keys of an issuer of tokens that can be used, and API keys.",
                &["issuer"],
            )?,
            access_keys_age: f.gauges(
                "access_keys_age_seconds",
                "Seconds since the keys of an issuer were last confirmed.",
                &["issuer"],
            )?,
            access_problem: f.gauges(
                "access_problem",
                "1 for each problem with keys or permissions because of which credentials cannot be verified, or soon will not be.",
                &["what", "reason"],
            )?,
            events_in: f.counter("events_in_total", "Events read from the log into the tail.")?,
            events_skipped: f.counters(
                "events_skipped_total",
                "Messages in the log that are not valid events, by the rule that they break.",
                "reason",
            )?,
            outcomes: Outcome::ALL.map(|outcome| passed.with_label_values(&[outcome.as_str()])),
            bytes_out: f.counter("bytes_out_total", "Bytes of events written to sockets.")?,
            gaps: f.counters("gaps_total", "Gaps declared to subscribers, by reason.", "reason")?,
            log: LogGauges::new(&mut f)?,
            tail_events: f.gauge("tail_events", "Events in the tail.")?,
            tail_bytes: f.gauge("tail_bytes", "Bytes in the tail.")?,
            tail_head: f.gauge("tail_head_sequence", "Newest sequence in the tail.")?,
            tail_resets: f.counters(
                "tail_resets_total",
                "Reattachments of the tail, by reason.",
                "reason",
            )?,
            live: f.gauge("channel_live", "1 while the tail is attached.")?,
            parked: f.gauge(
                "channel_parked",
                "1 while the log is parked: it has no readers, and is attached on demand.",
            )?,
            from_tail: replay.with_label_values(&["tail"]),
            from_pages: replay.with_label_values(&["pages"]),
            page_loads: f.counters(
                "page_loads_total",
                "Pages read from the log; stale: a replica was behind, and the leader has corrected it.",
                "outcome",
            )?,
            page_bytes: f.gauge("page_bytes", "Bytes of the channel's cached pages.")?,
            probes: f.counters(
                "delivery_probes_total",
                "Delivery probes through the URL of clients, by outcome: verified, inconclusive, or what was wrong.",
                "outcome",
            )?,
            probe_delay: f.float_gauge(
                "delivery_probe_delay_seconds",
                "Time from the publication of an event of the last delivery probe to its arrival through the URL of clients; 0 if none has arrived.",
            )?,
            delivery_problem: f.gauges(
                "delivery_problem",
                "1 while the last delivery probe has found this problem.",
                &["reason"],
            )?,
            publish: f.counters(
                "publish_total",
                "Events published over HTTP, each counted once. refused: 4xx (a request whose events are unknown counts as one); unknown: 504; full: 507; abandoned: the publisher disconnected before the response.",
                "outcome",
            )?,
            publish_seconds: f.histogram(
                "publish_seconds",
                "Time from a complete publish request to its acknowledgement.",
            )?,
            erasures: f.counters(
                "erasures_total",
                "Requests to erase events, by outcome.",
                "outcome",
            )?,
            erased_events: f.counter("erased_events_total", "Events erased on request.")?,
            log_to_tail: fanout_seconds.with_label_values(&["log_to_tail"]),
            tail_to_write: fanout_seconds.with_label_values(&["tail_to_write"]),
            log_to_write: fanout_seconds.with_label_values(&["log_to_write"]),
            publish_exemplars: Arc::new(Exemplars::new(&LATENCIES)),
            log_to_write_exemplars: Arc::new(Exemplars::new(&LATENCIES)),
            history_seconds: query_seconds.with_label_values(&["history"]),
            stats_seconds: query_seconds.with_label_values(&["stats"]),
            all,
            channel: channel.into(),
            opening,
        };
        metrics.begin_at_zero();
        let series = f.into_series(&metrics);
        Ok((metrics, series))
    }

    /// Creates the series of every label value that is known beforehand: a rate needs an initial zero.
    fn begin_at_zero(&self) {
        for (counter, values) in [
            (&self.connects, initial_labels::STARTS),
            (&self.disconnects, &CloseReason::ALL.map(CloseReason::as_str)),
            (&self.rejects, initial_labels::REJECTS),
            (&self.events_skipped, initial_labels::SKIPS),
            (&self.gaps, &GapReason::ALL.map(GapReason::as_str)),
            (&self.tail_resets, initial_labels::TAIL_RESETS),
            (&self.page_loads, initial_labels::PAGE_LOADS),
            (&self.publish, initial_labels::PUBLISH),
            (&self.erasures, initial_labels::ERASURES),
            (&self.probes, initial_labels::PROBES),
        ] {
            for value in values {
                counter.with_label_values(&[value]);
            }
        }
    }

    /// A stream began. `start` is the kind of its start position, from a closed set.
    pub(crate) fn connected(&self, start: &'static str) {
        self.connects.with_label_values(&[start]).inc();
    }

    /// A stream ended.
    pub(crate) fn disconnected(&self, reason: CloseReason) {
        self.disconnects.with_label_values(&[reason.as_str()]).inc();
    }

    /// A subscriber was refused.
    pub(crate) fn rejected(&self, reason: &'static str) {
        self.rejects.with_label_values(&[reason]).inc();
    }

    /// Replaces the numbers of keys: the name of each issuer, how many it has, and how old they are.
    pub(crate) fn access_keys<'a>(
        &self,
        issuers: impl Iterator<Item = (&'a str, usize, Option<Duration>)>,
    ) {
        self.access_keys.reset();
        self.access_keys_age.reset();
        for (issuer, keys, age) in issuers {
            let keys = i64::try_from(keys).unwrap_or(i64::MAX);
            self.access_keys.with_label_values(&[issuer]).add(keys);
            if let Some(age) = age {
                let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
                self.access_keys_age.with_label_values(&[issuer]).set(age);
            }
        }
    }

    /// Replaces the problems of keys and rights.
    pub(crate) fn access_problems(&self, problems: &[AccessProblem]) {
        self.access_problem.reset();
        for problem in problems {
            let labels = [&*problem.what, problem.reason.as_str()];
            self.access_problem.with_label_values(&labels).set(1);
        }
    }

    /// A delivery probe ended.
    pub(crate) fn probed(&self, outcomes: impl Iterator<Item = &'static str>) {
        outcomes.for_each(|outcome| self.probes.with_label_values(&[outcome]).inc());
    }

    /// Replaces the problems that the last delivery probe has found; `None`: nothing is known.
    pub(crate) fn delivery(&self, report: Option<&DeliveryReport>) {
        self.delivery_problem.reset();
        let Some(report) = report else { return };
        for reason in DeliveryReason::ALL {
            let is_found = report.problems.iter().any(|problem| problem.reason == reason);
            let gauge = self.delivery_problem.with_label_values(&[reason.as_str()]);
            gauge.set(i64::from(is_found));
        }
    }

    /// A request was granted or refused.
    pub(crate) fn access(&self, way: &str, outcome: &'static str) {
        self.access.with_label_values(&[way, outcome]).inc();
    }

    /// A message in the log is not a valid event.
    pub(crate) fn skipped(&self, why: BadEvent) {
        self.events_skipped.with_label_values(&[why.label()]).inc();
    }

    /// Adds the outcomes of sequences that cursors passed.
    pub(crate) fn record(&self, ledger: &DeliveryLedger) {
        for (outcome, counter) in Outcome::ALL.into_iter().zip(&self.outcomes) {
            let count = ledger.count(outcome);
            if count > 0 {
                counter.inc_by(count);
            }
        }
        self.bytes_out.inc_by(ledger.bytes);
        if ledger.invalid > 0 {
            let reason = GapReason::InvalidEvent.as_str();
            self.gaps.with_label_values(&[reason]).inc_by(ledger.invalid);
        }
    }

    /// A gap was declared to a subscriber.
    pub(crate) fn gap(&self, reason: GapReason) {
        self.gaps.with_label_values(&[reason.as_str()]).inc();
    }

    /// The tail is attached again.
    pub(crate) fn tail_reset(&self, reason: &'static str) {
        self.tail_resets.with_label_values(&[reason]).inc();
    }

    /// A page was requested from the log.
    pub(crate) fn page_load(&self, outcome: &'static str) {
        self.page_loads.with_label_values(&[outcome]).inc();
    }

    /// A request to erase ended, after `events` were erased.
    pub(crate) fn erased(&self, outcome: &'static str, events: u64) {
        self.erasures.with_label_values(&[outcome]).inc();
        self.erased_events.inc_by(events);
    }

    /// `count` events were published with one outcome.
    pub(crate) fn published(&self, outcome: &'static str, count: usize) {
        self.publish.with_label_values(&[outcome]).inc_by(count as u64);
    }
}

impl Drop for ChannelMetrics {
    fn drop(&mut self) {
        self.all.channels.remove(&self.channel, self.opening);
    }
}

//! The delivery probe: checks that events reach clients, by subscribing through the URL that clients use.
//!
//! The broker issues itself a ticket that cannot read the events of publishers, opens the stream as a browser does, and sends events to it
//! over NATS ([`Probes`](crate::cluster::Probes)), because any broker may serve it. [`run`] observes, [`judge`] draws conclusions,
//! [`eventcast_wire::proxy_advice`] names the setting that is likely wrong. Streams of probes are not counted among subscribers
//! (docs/adr/0023).

mod certificate;
mod client;
mod judge;
mod run;
mod stream_text;

use std::{sync::Arc, time::Duration};

use eventcast_crds::{
    broker_status::DeliveryReport,
    config::{ChannelConfig, Probe},
};
use http::Uri;
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{access::Tickets, cluster::Probes, log::Log, metrics::ChannelMetrics};
use certificate::Offer;
use judge::{Verdict, judge};
use run::{Observation, Run};

/// Delay of the first probe: load balancers and proxies must notice a new broker first.
const FIRST_DELAY: Duration = Duration::from_secs(3);
/// Delay after a probe that showed nothing, for example because a broker was shutting down.
const RETRY_DELAY: Duration = Duration::from_secs(10);
/// Delay before a probe that confirms a problem: problems are reported after two probes in a row that have found some.
const CONFIRM_DELAY: Duration = Duration::from_secs(2);
/// How often to check that large bodies are accepted.
const BODY_INTERVAL: Duration = Duration::from_secs(3600);
/// A ticket outlives its stream by this much.
const TICKET_MARGIN: Duration = Duration::from_secs(60);

/// The settings of the channel that probes depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    probe: Probe,
    heartbeat: Duration,
    /// The largest body of a request that publishes; `None`: nothing can be published over HTTP.
    largest_body: Option<usize>,
}

impl Settings {
    /// `None` if the channel is not probed.
    fn of(config: &ChannelConfig) -> Option<Self> {
        if config.leaving {
            return None;
        }
        let publishing = &config.publishing;
        Some(Self {
            probe: config.probe.clone()?,
            heartbeat: Duration::from_secs(config.delivery.heartbeat_seconds),
            largest_body: publishing.enabled.then(|| publishing.largest_body()),
        })
    }

    /// The longest that a stream is silent: heartbeats are randomised by a fifth.
    fn max_silence(&self) -> Duration {
        self.heartbeat.mul_f64(1.2)
    }

    /// How long the stream of a probe stays open.
    fn stream_time(&self) -> Duration {
        Duration::from_secs(self.probe.stream_seconds)
    }

    fn interval(&self) -> Duration {
        let ms = self.probe.interval_seconds * 1000;
        Duration::from_millis(fastrand::u64(ms - ms / 5..=ms + ms / 5))
    }
}

/// Probes one channel.
pub(crate) struct Prober {
    settings: watch::Sender<Option<Settings>>,
    report: Mutex<Option<DeliveryReport>>,
}

/// What a prober needs from its channel.
pub(crate) struct ProbeContext {
    pub(crate) tickets: Arc<Tickets>,
    pub(crate) probes: Probes,
    pub(crate) log: Arc<Log>,
}

impl Prober {
    pub(crate) fn new(config: &ChannelConfig) -> Arc<Self> {
        let settings = watch::channel(Settings::of(config)).0;
        Arc::new(Self { settings, report: Mutex::default() })
    }

    /// Applies a new configuration of the channel. If it changes the settings of probes, a probe starts at once.
    pub(crate) fn reconfigure(&self, config: &ChannelConfig) {
        let new = Settings::of(config);
        self.settings.send_if_modified(|settings| {
            let url = |settings: &Option<Settings>| settings.as_ref().map(|s| s.probe.url.clone());
            if url(settings) != url(&new) {
                *self.report.lock() = None;
            }
            let changed = *settings != new;
            *settings = new;
            changed
        });
    }

    /// What the last probe has found. `None` if there was none, or if the URL has changed since.
    pub(crate) fn report(&self) -> Option<DeliveryReport> {
        self.report.lock().clone()
    }

    /// Probes until the future is dropped.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn run(self: Arc<Self>, context: ProbeContext) {
        let mut changes = self.settings.subscribe();
        loop {
            let settings = changes.borrow_and_update().clone();
            let probing = async {
                match settings {
                    // On the heap: a channel that is not probed needs little memory.
                    Some(settings) => Box::pin(self.probe_forever(&settings, &context)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = probing => {}
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn probe_forever(&self, settings: &Settings, context: &ProbeContext) {
        let Ok(url) = settings.probe.url.parse::<Uri>() else {
            return std::future::pending().await; // the configuration is validated
        };
        let mut is_confirmation = false;
        let mut body_passed: Option<Instant> = None;
        sleep(FIRST_DELAY.mul_f64(fastrand::f64() + 0.5)).await;
        loop {
            // A parked log is not attached for a probe if there is a report already, or if there may be any number of channels.
            if context.log.is_parked() && (self.report().is_some() || context.log.is_one_of_many())
            {
                sleep(settings.interval()).await;
                continue;
            }
            let tries_body = body_passed.is_none_or(|at| at.elapsed() >= BODY_INTERVAL);
            let probe = |offer, tries_body| observe(&url, settings, context, offer, tries_body);
            // Proxies treat streams of HTTP/1.1 and HTTP/2 differently. Without TLS there is HTTP/1.1 alone.
            let is_tls = url.scheme_str() == Some("https");
            let (first, second) = tokio::join!(probe(Offer::Both, tries_body), async {
                if is_tls { probe(Offer::Http1, false).await } else { None }
            });
            let Some(first) = first else {
                sleep(RETRY_DELAY).await;
                continue;
            };
            if first.body_rejected == Some(false) {
                body_passed = Some(Instant::now());
            }
            let second = second.map(|second| judge(&second, settings));
            match judge(&first, settings).with_http1(second) {
                Verdict::Inconclusive(why) => {
                    tracing::debug!(reason = why, "a delivery probe showed nothing");
                    context.log.metrics().probed(["inconclusive"].into_iter());
                    sleep(RETRY_DELAY).await;
                }
                Verdict::Report(report) => {
                    if !report.problems.is_empty() && !is_confirmation {
                        is_confirmation = true;
                        sleep(CONFIRM_DELAY).await;
                        continue;
                    }
                    is_confirmation = false;
                    self.publish(report, &context.log.metrics());
                    sleep(settings.interval()).await;
                }
            }
        }
    }

    /// Keeps what was found, and counts it.
    fn publish(&self, report: DeliveryReport, metrics: &ChannelMetrics) {
        if report.problems.is_empty() {
            metrics.probed(["verified"].into_iter());
        } else {
            metrics.probed(report.problems.iter().map(|problem| problem.reason.as_str()));
        }
        let delay = report.delay_ms.map_or(Duration::ZERO, Duration::from_millis);
        metrics.probe_delay.set(delay.as_secs_f64());
        let mut last = self.report.lock();
        let reasons = |report: &DeliveryReport| -> Vec<_> {
            report.problems.iter().map(|problem| problem.reason).collect()
        };
        if last.as_ref().map(reasons) != Some(reasons(&report)) {
            for problem in &report.problems {
                tracing::warn!(
                    url = report.url,
                    reason = problem.reason.as_str(),
                    detail = problem.detail,
                    "events do not reach clients as they should"
                );
            }
            if report.problems.is_empty() {
                tracing::info!(url = report.url, "events reach clients");
            }
        }
        *last = Some(report);
    }
}

/// Probes once with a new ticket. `None` if there is no key for tickets yet.
async fn observe(
    url: &Uri,
    settings: &Settings,
    context: &ProbeContext,
    offer: Offer,
    tries_body: bool,
) -> Option<Observation> {
    let life = settings.stream_time() + settings.max_silence() + TICKET_MARGIN;
    let (ticket, id) = context.tickets.issue_for_probe(life.as_secs())?;
    let run = Run { url, ticket: &ticket, id, probes: &context.probes, settings, offer };
    Some(Box::pin(run.observe(tries_body)).await)
}

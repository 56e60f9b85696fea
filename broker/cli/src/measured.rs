//! What a load test has measured, in numbers for people and scripts. Pure.

use serde::Serialize;

use crate::{failure::Failure, latencies::Latencies, load::Outcome};

/// The result of a load test. Times are in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) subscribers: usize,
    pub(crate) published: u64,
    pub(crate) failed: u64,
    /// Events that were published in a second.
    pub(crate) rate: f64,
    pub(crate) delivered: u64,
    /// Acknowledged events that did not arrive, over all subscribers.
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
    pub(crate) gaps: u64,
    pub(crate) reconnects: u64,
    /// From the publish to its acknowledgement.
    pub(crate) publish: Times,
    /// From the publish to the arrival.
    pub(crate) delivery: Times,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Times {
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) max: Option<f64>,
}

impl Times {
    fn of(latencies: &Latencies) -> Self {
        let round = |ms: f64| (ms * 1000.0).round() / 1000.0;
        Self {
            p50: latencies.percentile(50.0).map(round),
            p99: latencies.percentile(99.0).map(round),
            max: latencies.longest().map(round),
        }
    }
}

impl Measured {
    pub(crate) fn new(subscribers: usize, outcome: &Outcome) -> Self {
        let seconds = outcome.elapsed.as_secs_f64();
        let rate = if seconds > 0.0 { outcome.published as f64 / seconds } else { 0.0 };
        Self {
            subscribers,
            published: outcome.published,
            failed: outcome.failed,
            rate: (rate * 10.0).round() / 10.0,
            delivered: outcome.delivered,
            lost: outcome.lost,
            duplicates: outcome.duplicates,
            gaps: outcome.gaps,
            reconnects: outcome.reconnects,
            publish: Times::of(&outcome.publishing),
            delivery: Times::of(&outcome.delivery),
        }
    }

    /// # Errors
    /// Something failed or is missing.
    pub(crate) fn complete(&self) -> Result<(), Failure> {
        let Self { failed, lost, duplicates, .. } = *self;
        if failed + lost + duplicates == 0 {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "{failed} not published, {lost} lost, {duplicates} more than once"
        )))
    }
}

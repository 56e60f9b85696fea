//! How unevenly streams are spread over brokers, and how many of them are too many. Pure arithmetic on one look.

use super::{
    counts::{Look, sum},
    input::Spec,
};

/// How the streams of one look are spread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spread {
    pub(super) fullest: u64,
    /// A broker with more has too many.
    pub(super) threshold: u64,
    /// How many a broker with too many keeps.
    pub(super) ceiling: u64,
    /// Streams above `ceiling`.
    pub(super) excess: u64,
    /// Streams that must be closed for it: some land on a broker with too many again.
    pub(super) due: u64,
    /// The brokers above `ceiling`.
    pub(super) over: Vec<String>,
}

impl Spread {
    /// `floor`: no broker closes streams while it has no more than that. `None` without brokers.
    pub(super) fn new(look: &Look<'_>, floor: u64) -> Option<Self> {
        let brokers: Vec<_> = look.serving().collect();
        let count = u64::try_from(brokers.len()).ok().filter(|count| *count > 0)?;
        let total = sum(brokers.iter().map(|broker| broker.streams));
        let mean = total.div_ceil(count);
        let deviation = ceil_sqrt(mean.saturating_mul(16)); // four sigmas of random placement
        let floor = floor.max(mean.saturating_add(deviation));
        let ceiling = floor.max(total.saturating_mul(11).div_ceil(count * 10));
        // Well above where it ends, or a few new streams would begin the next episode.
        let threshold = ceiling.saturating_add(ceil_sqrt(mean).max(ceiling / 20));
        let threshold = threshold.max(total.saturating_mul(5).div_ceil(count * 4));
        let over: Vec<_> = brokers.iter().filter(|broker| broker.streams > ceiling).collect();
        let excess = sum(over.iter().map(|broker| broker.streams - ceiling));
        let others = count - over.len() as u64; // at least one has no more than the mean
        Some(Self {
            fullest: brokers.iter().map(|broker| broker.streams).max().unwrap_or(0),
            threshold,
            ceiling,
            excess,
            due: excess.saturating_mul(count).div_ceil(others.max(1)),
            over: over.iter().map(|broker| broker.broker.name.clone()).collect(),
        })
    }

    /// Streams of the fullest broker, divided by the mean; 1 if it has not far more than others. `None` with a single broker.
    pub(super) fn imbalance(spec: &Spec, look: &Look<'_>) -> Option<f64> {
        let streams: Vec<_> = look.serving().map(|broker| broker.streams).collect();
        let total = sum(streams.iter().copied());
        let spread = Self::new(look, floor(spec)).filter(|_| streams.len() > 1 && total > 0)?;
        if spread.fullest <= spread.threshold {
            return Some(1.0);
        }
        Some(spread.fullest as f64 * streams.len() as f64 / total as f64)
    }
}

/// A broker with no more streams than that is not too full.
pub(super) fn floor(spec: &Spec) -> u64 {
    let target = spec.scaling.as_ref().and_then(|scaling| scaling.subscribers_per_broker);
    target.unwrap_or(0).into()
}

fn ceil_sqrt(n: u64) -> u64 {
    let root = n.isqrt();
    if root * root < n { root + 1 } else { root }
}

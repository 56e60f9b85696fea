//! The series of all channels, as one collector for the registry.
//!
//! Channels are not registered one by one, because the registry identifies a collector by the sum of the hashes of its families. For
//! channels whose names differ in a digit, these sums sometimes collide: such a channel could not be registered, and removing it would
//! remove another.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use eventcast_runtime::openmetrics::Exemplar;
use parking_lot::Mutex;
use prometheus::{
    core::{Collector, Desc},
    proto::{LabelPair, MetricFamily},
};

use super::{
    bounded::Bounded,
    families::{EXEMPLARY, Series},
};

/// Removed channels whose series are kept until the next scrape. With more, they are summed up at once.
const MAX_REMOVED: usize = 64;

/// The channels whose series are exported.
#[derive(Clone, Default)]
pub(super) struct Channels(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// For brokers that export the series of only some channels. Locked before `state`.
    bounded: OnceLock<Mutex<Bounded>>,
}

#[derive(Default)]
struct State {
    /// How many times a channel was opened.
    opened: u64,
    /// The series of each channel, with the number of its opening: a channel that is removed and added again has new series.
    served: HashMap<Box<str>, (u64, Series)>,
    /// Openings that have ended since the last scrape, if not all channels are exported.
    removed: Vec<(u64, Series)>,
}

impl Channels {
    /// From now on at most `limit` channels are exported. `rest` are the series that parked channels share.
    pub(super) fn bound(&self, limit: usize, rest: Series) {
        self.0.bounded.get_or_init(|| Mutex::new(Bounded::new(limit, rest)));
    }

    /// The number of a new opening.
    pub(super) fn next_opening(&self) -> u64 {
        let mut state = self.0.state.lock();
        state.opened += 1;
        state.opened
    }

    /// Exports the series of this opening of `channel`, unless a later one is exported.
    pub(super) fn insert(&self, channel: &str, opening: u64, series: Series) {
        let mut state = self.0.state.lock();
        if state.served.get(channel).is_none_or(|(last, _)| *last < opening) {
            let earlier = state.served.insert(channel.into(), (opening, series));
            state.removed.extend(earlier.filter(|_| self.0.bounded.get().is_some()));
        }
    }

    /// Stops exporting the series of this opening of `channel`.
    pub(super) fn remove(&self, channel: &str, opening: u64) {
        let mut state = self.0.state.lock();
        if state.served.get(channel).is_some_and(|(last, _)| *last == opening) {
            let removed = state.served.remove(channel);
            let Some(bounded) = self.0.bounded.get() else { return };
            state.removed.extend(removed);
            if state.removed.len() > MAX_REMOVED {
                let removed = std::mem::take(&mut state.removed);
                drop(state);
                let mut bounded = bounded.lock();
                removed.iter().for_each(|(opening, series)| bounded.retire(*opening, series));
            }
        }
    }
}

impl Channels {
    /// The exemplar of a bucket, if it has one.
    pub(super) fn exemplar(
        &self,
        family: &str,
        labels: &[LabelPair],
        bucket: usize,
    ) -> Option<Exemplar> {
        if !EXEMPLARY.contains(&family) {
            return None;
        }
        let label = |name: &str| labels.iter().find(|l| l.name() == name).map(LabelPair::value);
        let state = self.0.state.lock();
        let (_, series) = state.served.get(label("channel")?)?;
        series.exemplars(family, label("stage"))?.get(bucket)
    }
}

impl Collector for Channels {
    /// Empty, because the families of channels change.
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(bounded) = self.0.bounded.get() else {
            let series: Vec<_> =
                self.0.state.lock().served.values().map(|(_, series)| series.clone()).collect();
            return series.iter().flat_map(Series::collect).collect();
        };
        let mut bounded = bounded.lock();
        let mut state = self.0.state.lock();
        let removed = std::mem::take(&mut state.removed);
        let served = state.served.iter();
        let served: Vec<_> = served
            .map(|(name, (opening, series))| (name.clone(), *opening, series.clone()))
            .collect();
        drop(state);
        removed.iter().for_each(|(opening, series)| bounded.retire(*opening, series));
        bounded.collect(&served)
    }
}

//! The series of all channels, as one collector for the registry.
//!
//! The registry tells collectors apart by the sum of the hashes of their families. For channels whose names differ in a digit, these sums
//! are equal now and then: such a channel could not be registered, and removing one would remove another.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use prometheus::{
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::families::Series;

/// The channels whose series are exported.
#[derive(Clone, Default)]
pub(super) struct Channels(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// How many times a channel was opened.
    opened: u64,
    /// The series of each channel, with the number of its opening: a channel that is removed and added again has new series.
    served: HashMap<Box<str>, (u64, Series)>,
}

impl Channels {
    /// The number of a new opening.
    pub(super) fn next_opening(&self) -> u64 {
        let mut state = self.0.lock();
        state.opened += 1;
        state.opened
    }

    /// Exports the series of this opening of `channel`, unless a later one is exported.
    pub(super) fn insert(&self, channel: &str, opening: u64, series: Series) {
        let mut state = self.0.lock();
        if state.served.get(channel).is_none_or(|(last, _)| *last < opening) {
            state.served.insert(channel.into(), (opening, series));
        }
    }

    /// Stops exporting the series of this opening of `channel`.
    pub(super) fn remove(&self, channel: &str, opening: u64) {
        let mut state = self.0.lock();
        if state.served.get(channel).is_some_and(|(last, _)| *last == opening) {
            state.served.remove(channel);
        }
    }
}

impl Collector for Channels {
    /// None: the families of channels come and go.
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let series: Vec<_> =
            self.0.lock().served.values().map(|(_, series)| series.clone()).collect();
        series.iter().flat_map(Series::collect).collect()
    }
}

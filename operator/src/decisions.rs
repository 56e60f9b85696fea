//! What the autopilot has decided for each channel. In memory: after a restart of the operator the number of brokers is that of the status, and the
//! conditions stay as they are until the brokers were counted.

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;

use crate::{broker_reports::ChannelKey, status::ConditionState};

/// What was decided for one channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Number of brokers.
    pub replicas: Option<i32>,
    /// The condition `Autoscaled`.
    pub autoscaled: Option<ConditionState>,
    /// The condition `Balanced`.
    pub balanced: Option<ConditionState>,
}

/// The decisions of all channels.
#[derive(Debug, Default)]
pub struct Decisions(Mutex<HashMap<ChannelKey, Decision>>);

impl Decisions {
    /// What was decided for a channel. Nothing if its brokers were not counted yet.
    #[must_use]
    pub fn of(&self, channel: &ChannelKey) -> Decision {
        self.0.lock().get(channel).cloned().unwrap_or_default()
    }

    /// Replaces the decision for a channel. Returns whether it changed.
    pub fn set(&self, channel: &ChannelKey, decision: Decision) -> bool {
        let mut known = self.0.lock();
        let changed = known.get(channel) != Some(&decision);
        known.insert(channel.clone(), decision);
        changed
    }

    /// Forgets every channel that is not in `channels`.
    pub fn retain(&self, channels: &BTreeSet<ChannelKey>) {
        self.0.lock().retain(|channel, _| channels.contains(channel));
    }
}

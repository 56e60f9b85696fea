//! What the autopilot has decided for each channel and pool. In memory: after a restart of the operator the number of brokers is that of the status, and the
//! conditions stay as they are until the brokers were counted.

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;

use crate::{owner::OwnerKey, status::ConditionState};

/// What was decided for one channel or pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Number of brokers.
    pub replicas: Option<i32>,
    /// The condition `Autoscaled`.
    pub autoscaled: Option<ConditionState>,
    /// The condition `Balanced`.
    pub balanced: Option<ConditionState>,
}

/// All decisions.
#[derive(Debug, Default)]
pub struct Decisions(Mutex<HashMap<OwnerKey, Decision>>);

impl Decisions {
    /// What was decided for a channel or pool. Nothing if its brokers were not counted yet.
    #[must_use]
    pub fn of(&self, owner: &OwnerKey) -> Decision {
        self.0.lock().get(owner).cloned().unwrap_or_default()
    }

    /// Replaces a decision. Returns whether it changed.
    pub fn set(&self, owner: &OwnerKey, decision: Decision) -> bool {
        let mut known = self.0.lock();
        let changed = known.get(owner) != Some(&decision);
        known.insert(owner.clone(), decision);
        changed
    }

    /// Forgets what is not in `owners`.
    pub fn retain(&self, owners: &BTreeSet<OwnerKey>) {
        self.0.lock().retain(|owner, _| owners.contains(owner));
    }
}

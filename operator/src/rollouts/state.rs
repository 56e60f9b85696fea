//! What the gate answers: which channels may begin, and the state of each.

use std::collections::BTreeMap;

use eventcast_crds::conditions::reasons;

use super::channel::Failure;
use crate::owner::OwnerKey;

/// The answer of the gate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// The rollouts that may begin now.
    pub begin: Vec<Begin>,
    /// The state of each channel.
    pub states: BTreeMap<OwnerKey, RolloutState>,
    /// How many channels are in each state.
    pub counts: Counts,
}

/// A rollout that may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// The channel.
    pub key: OwnerKey,
    /// Whether its brokers are healthy. To be recorded with the new template: if they were not, their failure halts no other channel.
    pub is_healthy: bool,
}

/// The state of a channel: the condition `UpToDate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RolloutState {
    /// All brokers have the wanted pod template.
    UpToDate,
    /// Brokers are being replaced, or may be.
    RollingOut,
    /// Other channels go first.
    Queued,
    /// The rollout of a channel has failed. No other begins.
    Halted {
        /// The channel whose rollout has failed; perhaps this one.
        by: OwnerKey,
        /// What is wrong there.
        why: Failure,
    },
    /// The channel is paused or held.
    Held,
}

/// How many channels are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// [`RolloutState::UpToDate`]
    pub up_to_date: usize,
    /// [`RolloutState::RollingOut`]
    pub rolling_out: usize,
    /// [`RolloutState::Queued`]
    pub queued: usize,
    /// [`RolloutState::Halted`]
    pub halted: usize,
    /// [`RolloutState::Held`]
    pub held: usize,
}

impl Gate {
    pub(super) fn insert(&mut self, key: &OwnerKey, state: RolloutState) {
        let Counts { up_to_date, rolling_out, queued, halted, held } = &mut self.counts;
        *match state {
            RolloutState::UpToDate => up_to_date,
            RolloutState::RollingOut => rolling_out,
            RolloutState::Queued => queued,
            RolloutState::Halted { .. } => halted,
            RolloutState::Held => held,
        } += 1;
        self.states.insert(key.clone(), state);
    }
}

impl RolloutState {
    /// The reason of the condition `UpToDate`.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::UpToDate => reasons::UP_TO_DATE,
            Self::RollingOut => reasons::ROLLING_OUT,
            Self::Queued => reasons::QUEUED,
            Self::Halted { .. } => reasons::HALTED,
            Self::Held => reasons::HELD,
        }
    }

    /// The status of the condition `UpToDate`.
    #[must_use]
    pub const fn status(&self) -> bool {
        matches!(self, Self::UpToDate)
    }

    /// What it means and what to do. `key` is the channel.
    #[must_use]
    pub fn message(&self, key: &OwnerKey) -> String {
        match self {
            Self::UpToDate => "All brokers have the wanted version and settings.".to_owned(),
            Self::RollingOut => "Brokers are being replaced, because the wanted version or settings have changed.".to_owned(),
            Self::Queued => "Brokers will be replaced after those of other channels.".to_owned(),
            Self::Held => "Brokers are not replaced by newer ones, because the channel is paused or held. Remove the annotation eventcast.dev/paused or eventcast.dev/rollout to go on.".to_owned(),
            Self::Halted { by, why } if by == key => format!("The replacement of brokers has failed: {}. No other channel begins until they are healthy or the operator has other settings.", why.as_text()),
            Self::Halted { by, why } => format!("Brokers are not replaced, because the replacement of those of {} {}/{} has failed: {}. Mend it, or put the operator back to its last version or settings; hold it to go on with the others.", by.kind.as_str(), by.namespace, by.name, why.as_text()),
        }
    }
}

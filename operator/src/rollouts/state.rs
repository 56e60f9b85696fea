//! What the gate answers: who may begin, and the state of each channel.

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
    pub states: BTreeMap<OwnerKey, State>,
    /// How many channels are in each state.
    pub counts: Counts,
}

/// A rollout that may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// The channel.
    pub key: OwnerKey,
    /// Whether its brokers are well. To be recorded with the new template: if they were not, their failure halts nobody.
    pub is_well: bool,
}

/// The state of a channel: the condition `UpToDate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// All brokers have the wanted pod template.
    UpToDate,
    /// Brokers are being replaced, or may be.
    RollingOut,
    /// Others go first.
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
    /// [`State::UpToDate`]
    pub up_to_date: usize,
    /// [`State::RollingOut`]
    pub rolling_out: usize,
    /// [`State::Queued`]
    pub queued: usize,
    /// [`State::Halted`]
    pub halted: usize,
    /// [`State::Held`]
    pub held: usize,
}

impl Gate {
    /// Whether the Deployment of a channel may be applied as it is wanted. A channel that the gate was not told of is new.
    #[must_use]
    pub fn may_apply(&self, key: &OwnerKey) -> bool {
        match self.states.get(key) {
            None | Some(State::UpToDate | State::RollingOut) => true,
            Some(State::Halted { by, .. }) => by == key, // it has the wanted template already
            Some(State::Queued | State::Held) => false,
        }
    }

    pub(super) fn insert(&mut self, key: &OwnerKey, state: State) {
        let Counts { up_to_date, rolling_out, queued, halted, held } = &mut self.counts;
        *match state {
            State::UpToDate => up_to_date,
            State::RollingOut => rolling_out,
            State::Queued => queued,
            State::Halted { .. } => halted,
            State::Held => held,
        } += 1;
        self.states.insert(key.clone(), state);
    }
}

impl State {
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
            Self::Halted { by, why } if by == key => format!("The replacement of brokers has failed: {}. No other channel begins until they are well or the operator has other settings.", why.as_text()),
            Self::Halted { by, why } => format!("Brokers are not replaced, because the replacement of those of {} {}/{} has failed: {}. Mend it, or put the operator back to its last version or settings; hold it to go on with the others.", by.kind.as_str(), by.namespace, by.name, why.as_text()),
        }
    }
}

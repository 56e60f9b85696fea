//! The input of the gate for a channel: how its Deployment differs from what is wanted, and how far its brokers are.

use std::time::Duration;

use crate::owner::OwnerKey;

/// Limits of rollouts that the operator begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutSettings {
    /// Rollouts that may be under way at the same time. If not set: 3, or one in fifty channels if that is more.
    pub max_rollouts: Option<usize>,
    /// For how long the first rollout must be done and its brokers healthy before others begin.
    pub soak: Duration,
}

/// A channel, its Deployment and its brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRollout {
    /// The channel.
    pub key: OwnerKey,
    /// How the pod template of its Deployment differs from what is wanted.
    pub template: Template,
    /// Whether the annotation `eventcast.dev/rollout` is `Hold`.
    pub held: bool,
    /// Whether the annotation `eventcast.dev/paused` is set.
    pub paused: bool,
    /// The label `eventcast.dev/rollout`.
    pub wave: Wave,
    /// Open streams.
    pub subscribers: u64,
    /// How far its brokers are.
    pub progress: Progress,
}

/// How a pod template differs from what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// It does not, and no rollout of the operator's present settings has changed it: the channel is new, or a person has changed it since.
    Wanted,
    /// It does not, because a rollout of the operator's present settings has changed it.
    RolledOut {
        /// Whether the brokers were healthy when it began, as the answer of the gate said.
        was_healthy: bool,
    },
    /// It differs because of the operator: another version, default image or setting.
    Outdated,
    /// It differs because a person has changed the channel.
    ChangedByPerson,
}

/// When a channel is rolled out, by its label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wave {
    /// Before all others, which wait until its brokers are healthy.
    First,
    /// In between.
    #[default]
    Between,
    /// After all others.
    Last,
}

/// How far the brokers of a channel are, from the status of the Deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Brokers that are wanted.
    pub desired: i32,
    /// Brokers of the present pod template.
    pub updated: i32,
    /// Brokers that have been ready for `minReadySeconds`.
    pub available: i32,
    /// What keeps brokers from starting.
    pub failure: Option<Failure>,
    /// For how long all have been updated and available: the time since the later of `lastUpdateTime` of the condition `Progressing` with the
    /// reason `NewReplicaSetAvailable`, and `lastTransitionTime` of the condition `Available`. `None` if they are not.
    pub done_for: Option<Duration>,
}

/// What keeps brokers from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The Deployment has exceeded its `progressDeadlineSeconds`.
    DeadlineExceeded,
    /// The image cannot be pulled.
    ImagePull,
    /// A broker crashes at its start, again and again.
    CrashLoop,
}

impl Failure {
    /// The failure, as a part of a sentence.
    #[must_use]
    pub const fn as_text(self) -> &'static str {
        match self {
            Self::DeadlineExceeded => "its new brokers do not become ready",
            Self::ImagePull => "the image of its new brokers cannot be pulled",
            Self::CrashLoop => "its new brokers crash at their start",
        }
    }
}

impl ChannelRollout {
    /// Whether a person has taken it out of rollouts: it takes no place, and no other channel waits for it.
    pub(super) fn is_excluded(&self) -> bool {
        self.held || self.paused
    }

    /// Whether all brokers are updated and available.
    pub(super) fn is_complete(&self) -> bool {
        let Progress { desired, updated, available, .. } = self.progress;
        updated >= desired && available >= desired
    }

    /// Whether all brokers of the present template run.
    pub(super) fn is_healthy(&self) -> bool {
        self.progress.failure.is_none() && self.progress.available >= self.progress.desired
    }

    /// Whether no broker serves: a rollout cannot make it worse.
    pub(super) fn is_down(&self) -> bool {
        self.progress.failure.is_some() && self.progress.available == 0
    }

    /// Whether its template was changed by a rollout of the present settings.
    pub(super) fn is_rolled_out(&self) -> bool {
        matches!(self.template, Template::RolledOut { .. })
    }

    /// Why its rollout has failed, if it was healthy before.
    pub(super) fn failure(&self) -> Option<Failure> {
        let counts =
            self.template == Template::RolledOut { was_healthy: true } && !self.is_excluded();
        self.progress.failure.filter(|_| counts && !self.is_complete())
    }

    /// Whether its rollout is under way.
    pub(super) fn is_rolling(&self) -> bool {
        let is_counted = self.is_rolled_out() && !self.is_excluded();
        is_counted && !self.is_complete() && self.progress.failure.is_none()
    }

    /// Whether its rollout has shown that brokers of the wanted template run for `soak`.
    pub(super) fn has_proved(&self, soak: Duration) -> bool {
        let is_done = self.is_rolled_out() && self.is_complete() && self.is_healthy();
        is_done && self.progress.desired > 0 && self.progress.done_for >= Some(soak)
    }
}

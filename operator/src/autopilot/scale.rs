//! How many brokers there should be. Up at once, down late and in small steps, because each removal makes clients reconnect.

use std::time::Duration;

use super::{
    counts::Look,
    input::{DeploymentState, Scaling},
    load::{Needed, needed},
    window::Window,
};

/// Lower bound of the time between two steps down.
const STEP_DOWN_INTERVAL: Duration = Duration::from_secs(120);
/// A step down removes at most this share of the brokers, or one.
const STEP_DOWN_SHARE: i32 = 10;

/// What is remembered of earlier looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Scaler {
    settings: Option<Scaling>,
    /// How many brokers would have been enough, with a fifth to spare.
    enough: Window,
    cpu_before: Option<u64>,
    /// The number of brokers of the look before, and the one that was decided then.
    replicas: Option<i32>,
    decided: Option<i32>,
    /// When the number was raised and lowered, by anybody.
    last_up: Option<Duration>,
    last_down: Option<Duration>,
    last_step: Option<Step>,
    victims: Vec<String>,
}

/// A step that the autopilot has made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) at: Duration,
    pub(super) is_up: bool,
}

/// The decision of one look.
#[derive(Debug, Default)]
pub(super) struct ScaleDecision {
    /// The new number; `None` if it stays.
    pub(super) to: Option<i32>,
    /// The number that the load needs, however many there may be.
    pub(super) at_least: i32,
    /// The pods to remove first.
    pub(super) victims: Vec<String>,
}

/// What keeps the number of brokers from getting smaller.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScaleDownBlockers {
    /// Nothing may change.
    pub(super) frozen: bool,
    /// Streams are being moved.
    pub(super) rebalancing: bool,
}

impl Scaler {
    /// Whether the number of brokers is the same as in the look before, and was not to change.
    pub(super) fn is_steady(&self, deployment: &DeploymentState) -> bool {
        self.replicas == Some(deployment.replicas)
            && self.decided.is_none_or(|to| to == deployment.replicas)
    }

    /// The last step.
    pub(super) fn last_step(&self) -> Option<Step> {
        self.last_step
    }

    /// Decides, without changing the memory of steps: [`record`](Self::record) does that.
    pub(super) fn decide(
        &mut self,
        now: Duration,
        scaling: &Scaling,
        deployment: &DeploymentState,
        look: &Look<'_>,
        blockers: ScaleDownBlockers,
    ) -> ScaleDecision {
        if self.settings.as_ref() != Some(scaling) {
            // Numbers from other settings prove nothing about these.
            self.settings = Some(scaling.clone());
            self.enough = Window::default();
        }
        let Needed { at_least, with_spare } = needed(scaling, look, self.cpu_before);
        self.cpu_before = look.cpu;
        let replicas = deployment.replicas;
        let (min, max) = (scaling.min, scaling.max.max(scaling.min));
        let enough = with_spare.clamp(min, max);
        let is_uncertain = blockers.frozen
            || deployment.rollout
            || look.blind
            || scaling.cpu_percent.is_some() && look.cpu.is_none();
        let enough = if is_uncertain { enough.max(replicas) } else { enough };
        self.enough.push(now, enough, scaling.stabilization);

        let mut wanted = at_least.clamp(min, max);
        if deployment.unschedulable {
            wanted = wanted.min(replicas.max(min)); // there is no room for more
        }
        let raised = wanted.min(replicas.saturating_mul(2).saturating_add(4)).clamp(min, max);
        let to = if blockers.frozen {
            replicas
        } else if replicas < min || wanted > replicas {
            raised
        } else if replicas > max {
            max
        } else if !is_uncertain
            && !blockers.rebalancing
            && self.may_lower(now, scaling, deployment, look)
        {
            let lowest = self.enough.max(scaling.stabilization).unwrap_or(replicas).min(replicas);
            lowest.max(replicas - (replicas / STEP_DOWN_SHARE).max(1))
        } else {
            replicas
        };
        let victims = if to < replicas { emptiest(look, to) } else { Vec::new() };
        ScaleDecision { to: (to != replicas).then_some(to), at_least, victims }
    }

    /// Whether nothing but the load speaks against fewer brokers.
    fn may_lower(
        &self,
        now: Duration,
        scaling: &Scaling,
        deployment: &DeploymentState,
        look: &Look<'_>,
    ) -> bool {
        let is_over =
            |last: Option<Duration>, time| last.is_none_or(|last| now.saturating_sub(last) >= time);
        // Pods without a node serve no client: they need not keep the others from being removed.
        let all_ready = deployment.unschedulable
            || usize::try_from(deployment.replicas).is_ok_and(|n| n == look.serving().count())
                && look.brokers.iter().all(|c| c.serves() || c.broker.terminating);
        all_ready
            && !look.missing
            && is_over(self.last_up, scaling.stabilization)
            && is_over(self.last_down, STEP_DOWN_INTERVAL)
    }

    /// Remembers the number of brokers, and the step `to`, if one is made. Steps of others count too. Returns the pods to remove first.
    pub(super) fn record(
        &mut self,
        now: Duration,
        deployment: &DeploymentState,
        look: &Look<'_>,
        step: Option<(i32, Vec<String>)>,
    ) -> Vec<String> {
        let replicas = deployment.replicas;
        let seen = self.replicas.filter(|_| self.decided != Some(replicas)).unwrap_or(replicas);
        let to = step.as_ref().map_or(replicas, |(to, _)| *to);
        if replicas > seen || to > replicas {
            self.last_up = Some(now);
        }
        if replicas < seen || to < replicas {
            self.last_down = Some(now);
        }
        let is_step = step.is_some();
        if let Some((_, victims)) = step {
            self.last_step = Some(Step { at: now, is_up: to > replicas });
            self.victims = victims;
        } else {
            let rest = look.brokers.iter().filter(|counted| !counted.broker.terminating).count();
            if usize::try_from(replicas).is_ok_and(|n| rest <= n) {
                self.victims.clear();
            }
        }
        self.victims.retain(|name| {
            look.brokers.iter().any(|c| c.broker.name == *name && !c.broker.terminating)
        });
        self.replicas = Some(replicas);
        self.decided = is_step.then_some(to);
        self.victims.clone()
    }

    /// Forgets what has been seen of the load, while others choose the number of brokers.
    pub(super) fn forget_load(&mut self) {
        (self.settings, self.cpu_before) = (None, None);
    }
}

/// The pods to remove so that `to` are left: those that are not ready, as Kubernetes does, then those with the fewest streams.
fn emptiest(look: &Look<'_>, to: i32) -> Vec<String> {
    let mut rest: Vec<_> = look.brokers.iter().filter(|c| !c.broker.terminating).collect();
    rest.sort_by_key(|counted| (counted.serves(), counted.streams)); // stable: then by name
    let count = rest.len().saturating_sub(usize::try_from(to).unwrap_or(0));
    rest[..count].iter().map(|counted| counted.broker.name.clone()).collect()
}

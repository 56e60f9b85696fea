//! The autopilot of a channel: how many brokers it needs, and which of them should close streams. Pure: the time is an argument.
//!
//! Each *look* at the brokers gives one [`Plan`]. What has to be remembered between looks is lost with the process: then no broker is removed
//! before a whole window was seen, and no stream is moved in the first three looks.
//!
//! ```text
//! brokers -> counts -> load -> scale   -> number of brokers, pods to remove first
//!                  \-> balance, episode -> orders
//! ```

mod balance;
mod condition;
mod counts;
mod episode;
mod input;
mod load;
mod output;
mod scale;
mod spread;
mod window;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use input::{Broker, Count, DeploymentState, Frozen, Scaling, Spec};
pub use output::{AutopilotEvent, Autoscaled, Balanced, GivenUp, Orders, Plan, State};

use balance::Balancer;
use condition::Observations;
use counts::{Counts, Look};
use scale::{ScaleDecision, ScaleDownBlockers, Scaler};
use spread::Spread;

/// What the autopilot of one channel remembers between looks. Empty at the start.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    counts: Counts,
    scaler: Scaler,
    balancer: Balancer,
    observations: Observations,
    /// The foreign autoscaler that was reported.
    foreign_autoscaler: Option<String>,
    /// The number that was reported, when only observing.
    reported: Option<i32>,
}

/// Decides what to do after a look at the brokers at `now`, the time since any fixed moment. All brokers of the channel are listed, those
/// that terminate too.
#[must_use]
pub fn plan(
    now: Duration,
    spec: &Spec,
    deployment: &DeploymentState,
    brokers: &[Broker],
    memory: &mut Memory,
) -> Plan {
    let mut events = Vec::new();
    let look = memory.counts.look(now, spec.max_streams, brokers);
    let frozen = deployment.frozen.or(look.mostly_not_live.then_some(Frozen::BrokersNotLive));
    let steady = memory.scaler.is_steady(deployment);

    let decision = memory.number_of_brokers(now, spec, deployment, &look, frozen);
    let step = decision.to.filter(|_| !deployment.observe_only);
    memory.report_scaling(deployment, &decision, &mut events);
    let victims =
        memory.scaler.record(now, deployment, &look, step.map(|to| (to, decision.victims.clone())));
    let may_mark = deployment.may_patch_pods && !deployment.rollout && !deployment.observe_only;

    let may_move = steady && step.is_none() && !deployment.rollout && frozen.is_none();
    let orders = memory.balancer.decide(now, spec, deployment, &look, may_move, &mut events);

    let autoscaled = spec.scaling.as_ref().map(|scaling| {
        let no_cpu = scaling.cpu_percent.is_some() && look.cpu.is_none();
        let limit = if deployment.unschedulable { deployment.replicas } else { scaling.max };
        memory.observations.record(now, look.missing || no_cpu, decision.at_least > limit);
        memory.observations.autoscaled(now, scaling, deployment, frozen, &memory.scaler)
    });
    Plan {
        replicas: step,
        victims: if may_mark { victims } else { Vec::new() },
        orders,
        rebalancing: memory.balancer.is_rebalancing(),
        autoscaled,
        balanced: condition::balanced(spec, deployment, &memory.balancer),
        events,
        imbalance: Spread::imbalance(spec, &look).filter(|_| !look.missing),
    }
}

impl Memory {
    /// How many brokers there should be. Nothing changes while another autoscaler scales the Deployment.
    fn number_of_brokers(
        &mut self,
        now: Duration,
        spec: &Spec,
        deployment: &DeploymentState,
        look: &Look<'_>,
        frozen: Option<Frozen>,
    ) -> ScaleDecision {
        let Some(scaling) =
            spec.scaling.as_ref().filter(|_| deployment.foreign_autoscaler.is_none())
        else {
            self.scaler.forget_load();
            return ScaleDecision::default();
        };
        let blockers = ScaleDownBlockers {
            frozen: frozen.is_some(),
            rebalancing: self.balancer.is_rebalancing(),
        };
        self.scaler.decide(now, scaling, deployment, look, blockers)
    }

    fn report_scaling(
        &mut self,
        deployment: &DeploymentState,
        decision: &ScaleDecision,
        events: &mut Vec<AutopilotEvent>,
    ) {
        if self.foreign_autoscaler != deployment.foreign_autoscaler {
            self.foreign_autoscaler.clone_from(&deployment.foreign_autoscaler);
            let name = self.foreign_autoscaler.clone();
            events.extend(name.map(|name| AutopilotEvent::ForeignAutoscaler { name }));
        }
        let from = deployment.replicas;
        let Some(to) = decision.to else {
            self.reported = None;
            return;
        };
        if !deployment.observe_only {
            self.reported = None;
            let step = if to > from {
                AutopilotEvent::ScaledUp { from, to }
            } else {
                AutopilotEvent::ScaledDown { from, to }
            };
            events.push(step);
            return;
        }
        // While the load grows, each larger number is reported, but not each way back.
        let is_news = self.reported.is_none_or(|reported| {
            (reported > from) != (to > from) || (to - from).abs() > (reported - from).abs()
        });
        if is_news {
            self.reported = Some(to);
            events.push(AutopilotEvent::WouldScale { from, to });
        }
    }
}

//! The conditions `Autoscaled` and `Balanced`. They change when something has happened, not with every look.

use std::time::Duration;

use super::{
    balance::Balancer,
    input::{DeploymentState, Frozen, Scaling, Spec},
    output::{Autoscaled, Balanced, GivenUp, State},
    scale::Scaler,
};

/// For how long counts must be missing before the condition says so. A broker may fail to answer now and then.
const MISSING_FOR: Duration = Duration::from_secs(120);
/// For how long the load must fit before the condition stops to say that it does not.
const FITS_FOR: Duration = Duration::from_secs(300);

/// What has to be remembered of earlier looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Observations {
    missing_since: Option<Duration>,
    over_maximum_at: Option<Duration>,
}

impl Observations {
    /// Records whether counts are missing in this look, and whether the load needs more brokers than there may or can be.
    pub(super) fn record(&mut self, now: Duration, is_missing: bool, is_over_maximum: bool) {
        self.missing_since = is_missing.then(|| self.missing_since.unwrap_or(now));
        if is_over_maximum {
            self.over_maximum_at = Some(now);
        }
    }

    /// The condition `Autoscaled`.
    pub(super) fn autoscaled(
        &self,
        now: Duration,
        scaling: &Scaling,
        deployment: &DeploymentState,
        frozen: Option<Frozen>,
        scaler: &Scaler,
    ) -> State<Autoscaled> {
        let since = |time: Option<Duration>| time.map(|time| now.saturating_sub(time));
        let recent =
            scaler.last_step().filter(|step| now.saturating_sub(step.at) < scaling.stabilization);
        let (reason, message) = if let Some(name) = &deployment.foreign_autoscaler {
            (Autoscaled::ForeignAutoscaler, foreign_autoscaler(name))
        } else if let Some(frozen) = frozen {
            (Autoscaled::Frozen, frozen_message(frozen).to_owned())
        } else if deployment.observe_only {
            (Autoscaled::Frozen, OBSERVE.to_owned())
        } else if since(self.missing_since).is_some_and(|d| d >= MISSING_FOR) {
            (Autoscaled::CountsMissing, COUNTS_MISSING.to_owned())
        } else if since(self.over_maximum_at).is_some_and(|d| d < FITS_FOR) {
            let message = if deployment.unschedulable { NO_ROOM } else { AT_MAXIMUM };
            (Autoscaled::AtMaximum, message.to_owned())
        } else if let Some(step) = recent {
            if step.is_up {
                (Autoscaled::ScaledUp, SCALED_UP.to_owned())
            } else {
                (Autoscaled::ScaledDown, SCALED_DOWN.to_owned())
            }
        } else {
            (Autoscaled::Steady, STEADY.to_owned())
        };
        State { reason, message }
    }
}

/// The condition `Balanced`.
pub(super) fn balanced(
    spec: &Spec,
    deployment: &DeploymentState,
    balancer: &Balancer,
) -> Option<State<Balanced>> {
    let (reason, message) = match balancer.problem() {
        _ if !spec.balancing => return None,
        _ if !deployment.may_patch_pods => (Balanced::RightsMissing, RIGHTS_MISSING),
        _ if balancer.is_rebalancing() => (Balanced::Shedding, SHEDDING),
        Some(GivenUp::Futile) => (Balanced::Futile, FUTILE),
        Some(GivenUp::OrdersNotFollowed) => (Balanced::OrdersNotFollowed, NOT_FOLLOWED),
        None => (Balanced::Balanced, BALANCED),
    };
    Some(State { reason, message: message.to_owned() })
}

fn foreign_autoscaler(name: &str) -> String {
    format!(
        "The HorizontalPodAutoscaler {name} scales the same Deployment, so the operator does not. Delete it, or remove \
         spec.brokers.autoscaling."
    )
}

fn frozen_message(frozen: Frozen) -> &'static str {
    match frozen {
        Frozen::NatsUnreachable => {
            "The number of brokers stays as it is, because NATS does not answer. Check NATS and the network policies."
        }
        Frozen::BrokersNotLive => {
            "The number of brokers stays as it is, because most brokers do not receive new events. Check NATS and the logs of the brokers."
        }
        Frozen::Paused => {
            "The number of brokers stays as it is, because the annotation eventcast.dev/paused is set. Remove it to go on."
        }
    }
}

const OBSERVE: &str = "The number of brokers stays as it is, because the annotation eventcast.dev/autopilot is Observe: steps are only \
                       reported as Events. Remove it to let the operator scale.";
const COUNTS_MISSING: &str = "Some brokers do not report their load. None is removed until they do. Check that the operator can reach the \
                              admin port of all brokers, and their logs.";
const AT_MAXIMUM: &str = "The load needs more brokers than brokers.autoscaling.maxReplicas. Raise it, or subscribersPerBroker if the brokers can \
                          hold more.";
const NO_ROOM: &str = "The load needs more brokers, but the cluster has no room for their pods. Add nodes, or raise the quota of the \
                       namespace.";
const SCALED_UP: &str = "Brokers were added lately, because the load needed them.";
const SCALED_DOWN: &str = "Brokers were removed lately, because fewer were enough for a while.";
const STEADY: &str = "The number of brokers fits the load.";

const RIGHTS_MISSING: &str = "The operator may not patch pods, so it cannot tell brokers to close streams. Grant it pods: patch (chart \
                              value autopilot.enabled), or set brokers.balancing.mode to Disabled.";
const SHEDDING: &str = "Brokers with far more streams than others close some. Their clients reconnect and miss nothing.";
const FUTILE: &str = "Streams that were closed came back to the same brokers, so the operator has stopped for a while. Check whether \
                      something pins clients to brokers: session affinity, trafficDistribution, externalTrafficPolicy or a proxy.";
const NOT_FOLLOWED: &str = "Brokers did not close streams when they were told to, so the operator has stopped for a while. Check that they \
                            have the newest version, and that the kubelet updates files of downward API volumes.";
const BALANCED: &str = "No broker has to close streams.";

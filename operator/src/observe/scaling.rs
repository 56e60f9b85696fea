//! The number of brokers that the operator wants, and the conditions `Autoscaled` and `Balanced`.

use eventcast_crds::channel::{
    brokers::{Autoscaler, BalancingMode},
    status::AutoscalingStatus,
};

use crate::{
    autopilot::Autoscaled, decisions::Decision, status::OptionalCondition, workload::Workload,
};

/// Number of brokers that the operator wants. `None`: another autoscaler owns it.
///
/// A number that the autopilot has chosen counts, then the one that the status has from before a restart of the operator. A channel that was not
/// scaled by the operator before keeps the brokers that it has (`live`).
#[must_use]
pub fn wanted_replicas(
    workload: &Workload,
    decision: &Decision,
    recorded: Option<&AutoscalingStatus>,
    live: Option<i32>,
) -> Option<i32> {
    let Some(autoscaling) = &workload.brokers.autoscaling else {
        return Some(workload.brokers.replicas);
    };
    if autoscaling.by == Autoscaler::HorizontalPodAutoscaler {
        return None;
    }
    let reason = decision.autoscaled.as_ref().map(|state| state.reason);
    let reason = reason.or_else(|| recorded.map(|recorded| &*recorded.reason));
    if reason == Some(Autoscaled::ForeignAutoscaler.as_str()) {
        return None;
    }
    let wanted = decision.replicas.or(recorded.map(|recorded| recorded.desired)).or(live);
    let (min, max) = (autoscaling.min_replicas, autoscaling.max_replicas);
    Some(wanted.unwrap_or(min).clamp(min, max.max(min)))
}

/// The condition `Autoscaled`.
#[must_use]
pub fn autoscaled(workload: &Workload, decision: &Decision) -> OptionalCondition {
    match (workload.autoscaling(), &decision.autoscaled) {
        (None, _) => OptionalCondition::Absent,
        (Some(_), None) => OptionalCondition::Unchanged,
        (Some(_), Some(state)) => OptionalCondition::Known(state.clone()),
    }
}

/// Whether streams are spread over several brokers.
#[must_use]
pub fn is_balanced(workload: &Workload) -> bool {
    workload.brokers.balancing.mode == BalancingMode::Shed && workload.max_brokers() > 1
}

/// The condition `Balanced`.
#[must_use]
pub fn balanced(workload: &Workload, decision: &Decision) -> OptionalCondition {
    match &decision.balanced {
        _ if !is_balanced(workload) => OptionalCondition::Absent,
        None => OptionalCondition::Unchanged,
        Some(state) => OptionalCondition::Known(state.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{channel::fixture::channel, status::ConditionState};

    fn wanted(
        brokers: &str,
        decided: Option<i32>,
        old: Option<(i32, &str)>,
        live: i32,
    ) -> Option<i32> {
        let (channel, _) = channel(&format!("spec: {{brokers: {{{brokers}}}}}"));
        let decision = Decision { replicas: decided, ..Decision::default() };
        let autoscaling =
            old.map(|(desired, reason)| AutoscalingStatus { desired, reason: reason.into() });
        wanted_replicas(&channel.workload, &decision, autoscaling.as_ref(), Some(live))
    }

    #[test]
    fn the_number_of_brokers_survives_restarts_and_changes_of_hands() {
        let own = "autoscaling: {minReplicas: 2, maxReplicas: 9, subscribersPerBroker: 100}";
        assert_eq!(wanted("replicas: 4", None, None, 7), Some(4), "a fixed number");
        assert_eq!(wanted(own, Some(5), Some((3, "Steady")), 7), Some(5), "what was decided");
        assert_eq!(wanted(own, None, Some((3, "Steady")), 1), Some(3), "what was decided before");
        assert_eq!(wanted(own, None, None, 7), Some(7), "what an autoscaler has left");
        assert_eq!(wanted(own, None, None, 0), Some(2));
        assert_eq!(wanted(own, Some(50), None, 0), Some(9));
    }

    #[test]
    fn what_another_autoscaler_owns_is_left_alone() {
        let own = "autoscaling: {minReplicas: 2, maxReplicas: 9, subscribersPerBroker: 100}";
        let hpa = own.replace('{', "{by: HorizontalPodAutoscaler, ");
        assert_eq!(wanted(&hpa, Some(5), Some((3, "Steady")), 7), None);
        assert_eq!(wanted(own, None, Some((3, "ForeignAutoscaler")), 7), None);
        let (channel, _) = channel(&format!("spec: {{brokers: {{{own}}}}}"));
        let foreign = ConditionState::failed(Autoscaled::ForeignAutoscaler.as_str(), "");
        let decision = Decision { autoscaled: Some(foreign), ..Decision::default() };
        assert_eq!(wanted_replicas(&channel.workload, &decision, None, Some(7)), None);
    }

    #[test]
    fn only_channels_that_can_have_several_brokers_are_balanced() {
        let decision = Decision::default();
        let of = |brokers: &str| {
            let (channel, _) = channel(&format!("spec: {{brokers: {{{brokers}}}}}"));
            {
                let workload = &channel.workload;
                (balanced(workload, &decision), autoscaled(workload, &decision))
            }
        };
        use OptionalCondition::{Absent, Unchanged};
        assert_eq!(of("replicas: 1"), (Absent, Absent));
        assert_eq!(of("replicas: 2"), (Unchanged, Absent));
        assert_eq!(of("replicas: 2, balancing: {mode: Disabled}"), (Absent, Absent));
        let own = "autoscaling: {minReplicas: 1, maxReplicas: 2, subscribersPerBroker: 100}";
        assert_eq!(of(own), (Unchanged, Unchanged));
    }
}

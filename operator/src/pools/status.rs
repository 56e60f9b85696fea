//! The status of a pool. Pure.

use eventcast_crds::{
    channel::status::{AutoscalingStatus, OperatorStatus},
    pool::status::BrokerPoolStatus,
};
use jiff::Timestamp;

use crate::status::{
    Brokers, ConditionState, OptionalCondition, condition, conditions, optional, ready, stalled,
};

/// The result of one reconciliation of a pool.
pub(super) struct Facts {
    pub(super) accepted: ConditionState,
    pub(super) available: ConditionState,
    pub(super) exposed: ConditionState,
    pub(super) autoscaled: OptionalCondition,
    pub(super) balanced: OptionalCondition,
    pub(super) up_to_date: OptionalCondition,
    /// Number of brokers that the operator has chosen.
    pub(super) chosen_replicas: Option<i32>,
    /// `None`: unknown, because the spec is invalid.
    pub(super) brokers: Option<Brokers>,
    /// Channels that the pool serves; `None`: unknown.
    pub(super) channels: Option<usize>,
    pub(super) url: Option<String>,
    pub(super) operator: OperatorStatus,
}

/// The status after a reconciliation. Fields without a fact keep their old value.
pub(super) fn status(
    old: &BrokerPoolStatus,
    generation: Option<i64>,
    facts: &Facts,
    now: Timestamp,
) -> BrokerPoolStatus {
    let parts = [
        (conditions::ACCEPTED, &facts.accepted),
        (conditions::AVAILABLE, &facts.available),
        (conditions::EXPOSED, &facts.exposed),
    ];
    let mut ready = ready(&parts);
    if ready.status == Some(true) {
        "the pool serves the channels that it has accepted".clone_into(&mut ready.message);
    }
    let stalled = stalled(&parts);
    let all = parts
        .into_iter()
        .chain([(conditions::READY, &ready)])
        .chain(stalled.as_ref().map(|stalled| (conditions::STALLED, stalled)));
    let optional = |type_, state| optional(&old.conditions, type_, state, generation, now);
    let autoscaled = optional(conditions::AUTOSCALED, &facts.autoscaled);
    let autoscaling = facts.chosen_replicas.zip(autoscaled.as_ref()).map(|(desired, condition)| {
        AutoscalingStatus { desired, reason: condition.reason.clone() }
    });
    let brokers = facts.brokers.as_ref();
    let channels = facts.channels.and_then(|channels| i64::try_from(channels).ok());
    BrokerPoolStatus {
        conditions: all
            .map(|(type_, state)| condition(&old.conditions, type_, state, generation, now))
            .chain(autoscaled)
            .chain(optional(conditions::BALANCED, &facts.balanced))
            .chain(optional(conditions::UP_TO_DATE, &facts.up_to_date))
            .collect(),
        observed_generation: generation,
        url: facts.url.clone().or_else(|| old.url.clone()),
        channels: channels.unwrap_or(old.channels),
        brokers: brokers
            .map(|b| format!("{}/{}", b.ready, b.desired))
            .or_else(|| old.brokers.clone()),
        replicas: brokers.map_or(old.replicas, |b| b.replicas),
        ready_replicas: brokers.map_or(old.ready_replicas, |b| b.ready),
        selector: brokers.map(|b| b.selector.clone()).or_else(|| old.selector.clone()),
        // Another field manager writes it.
        subscribers: None,
        autoscaling,
        image: brokers.map(|b| b.image.clone()).or_else(|| old.image.clone()),
        operator: Some(facts.operator.clone()),
        operator_version: Some(env!("CARGO_PKG_VERSION").into()),
    }
}

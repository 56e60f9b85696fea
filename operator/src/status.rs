//! Computes the status of a channel. Pure: the old status and facts in, the new status out.
//!
//! A channel has every condition from its first reconciliation, with positive polarity and the generation that was observed.
//! `lastTransitionTime` changes only with a condition's status, so a reconciliation that finds nothing new writes nothing.

use eventcast_crds::channel::{
    brokers::PoolReference,
    status::{
        Address, AutoscalingStatus, DeliveryStatus, EventChannelStatus, Moved, OperatorStatus,
        StreamStatus,
    },
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

pub use eventcast_crds::conditions::{self, reasons};

/// The state of one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionState {
    /// `True`, `False`, or `None` for `Unknown`.
    pub status: Option<bool>,
    /// One of [`reasons`].
    pub reason: &'static str,
    /// What is wrong and what to do about it.
    pub message: String,
    /// Whether the failure may go away without a change of the spec, so that the reconciliation is retried with backoff.
    pub is_transient: bool,
}

impl ConditionState {
    /// The condition is true.
    pub fn met(reason: &'static str, message: impl Into<String>) -> Self {
        Self { status: Some(true), reason, message: message.into(), is_transient: false }
    }

    /// The condition is false until somebody changes something.
    pub fn failed(reason: &'static str, message: impl Into<String>) -> Self {
        Self { status: Some(false), reason, message: message.into(), is_transient: false }
    }

    /// The condition is false, and a retry may succeed.
    pub fn transient(reason: &'static str, message: impl Into<String>) -> Self {
        Self { is_transient: true, ..Self::failed(reason, message) }
    }

    /// The condition is unknown, because `prerequisite` is missing.
    #[must_use]
    pub fn waiting_for(prerequisite: &str) -> Self {
        let message = format!("waiting for {prerequisite}");
        Self { status: None, reason: reasons::BLOCKED, message, is_transient: false }
    }
}

/// The result of one reconciliation.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// State of the condition `Accepted`.
    pub accepted: ConditionState,
    /// State of the condition `StreamReady`.
    pub stream_ready: ConditionState,
    /// State of the condition `Available`.
    pub available: ConditionState,
    /// State of the condition `Exposed`.
    pub exposed: ConditionState,
    /// State of the condition `AccessReady`; `None` if it is unknown and the old one stays.
    pub access_ready: Option<ConditionState>,
    /// What delivery probes have found.
    pub delivery: Delivery,
    /// State of the condition `Autoscaled`.
    pub autoscaled: OptionalCondition,
    /// State of the condition `Balanced`.
    pub balanced: OptionalCondition,
    /// State of the condition `UpToDate`.
    pub up_to_date: OptionalCondition,
    /// Number of brokers that the operator has chosen.
    pub chosen_replicas: Option<i32>,
    /// The pool that serves the channel.
    pub pool: Option<PoolReference>,
    /// The last change of the brokers that serve it.
    pub moved: Option<Moved>,
    /// The stream; `None` if NATS could not be asked.
    pub stream: Option<StreamStatus>,
    /// The brokers; `None` if the spec is invalid.
    pub brokers: Option<Brokers>,
    /// URL for clients; `None` if the spec is invalid.
    pub url: Option<String>,
    /// The claim of this operator; `None` keeps the old one.
    pub operator: Option<OperatorStatus>,
    /// URL inside the cluster; `None` if the spec is invalid.
    pub internal_url: Option<String>,
}

/// The state of a condition that not every channel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionalCondition {
    /// The channel does not have it.
    Absent,
    /// Nothing new: what was known stays.
    Unchanged,
    /// The state is known.
    Known(ConditionState),
}

/// What is known about the delivery to clients.
#[derive(Clone, Debug, PartialEq)]
pub enum Delivery {
    /// It is not probed.
    NotProbed,
    /// Nothing new: what was known stays.
    Unchanged,
    /// State of the condition `DeliveryVerified`, and what was measured.
    Known(ConditionState, Option<DeliveryStatus>),
}

/// The numbers of brokers, and how to find their pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brokers {
    /// Replicas that the Deployment should have.
    pub desired: i32,
    /// Replicas that exist.
    pub replicas: i32,
    /// Replicas that are ready.
    pub ready: i32,
    /// Label selector of the pods.
    pub selector: String,
    /// Image of the container.
    pub image: String,
}

/// The status after a reconciliation. Fields without a fact keep their old value.
#[must_use]
pub fn status(
    old: &EventChannelStatus,
    generation: Option<i64>,
    facts: &Facts,
    now: Timestamp,
) -> EventChannelStatus {
    let parts = [
        (conditions::ACCEPTED, &facts.accepted),
        (conditions::STREAM_READY, &facts.stream_ready),
        (conditions::AVAILABLE, &facts.available),
        (conditions::EXPOSED, &facts.exposed),
    ];
    let ready = ready(&parts);
    let stalled = stalled(&parts);
    let access = facts.access_ready.clone().unwrap_or_else(|| kept_access(old));
    let all = parts
        .into_iter()
        .chain([(conditions::READY, &ready), (conditions::ACCESS_READY, &access)])
        .chain(stalled.as_ref().map(|stalled| (conditions::STALLED, stalled)));
    let brokers = facts.brokers.as_ref();
    let (delivery, measured) = delivery(old, &facts.delivery, generation, now);
    let optional = |type_, state| optional(&old.conditions, type_, state, generation, now);
    let autoscaled = optional(conditions::AUTOSCALED, &facts.autoscaled);
    let balanced = optional(conditions::BALANCED, &facts.balanced);
    let up_to_date = optional(conditions::UP_TO_DATE, &facts.up_to_date);
    let autoscaling = facts.chosen_replicas.zip(autoscaled.as_ref()).map(|(desired, condition)| {
        AutoscalingStatus { desired, reason: condition.reason.clone() }
    });
    EventChannelStatus {
        conditions: all
            .map(|(type_, c)| condition(&old.conditions, type_, c, generation, now))
            .chain(delivery)
            .chain(autoscaled)
            .chain(balanced)
            .chain(up_to_date)
            .collect(),
        autoscaling,
        pool: facts.pool.clone(),
        moved: facts.moved.clone(),
        delivery: measured,
        observed_generation: generation,
        url: facts.url.clone().or_else(|| old.url.clone()),
        address: facts
            .internal_url
            .clone()
            .map(|url| Address { url })
            .or_else(|| old.address.clone()),
        brokers: brokers
            .map(|b| format!("{}/{}", b.ready, b.desired))
            .or_else(|| old.brokers.clone()),
        replicas: brokers.map_or(old.replicas, |b| b.replicas),
        ready_replicas: brokers.map_or(old.ready_replicas, |b| b.ready),
        selector: brokers.map(|b| b.selector.clone()).or_else(|| old.selector.clone()),
        // Another field manager writes it.
        subscribers: None,
        stream: facts.stream.clone().or_else(|| old.stream.clone()),
        image: brokers.map(|b| b.image.clone()).or_else(|| old.image.clone()),
        operator: facts.operator.clone().or_else(|| old.operator.clone()),
        operator_version: Some(env!("CARGO_PKG_VERSION").into()),
    }
}

/// The condition `DeliveryVerified`, and what was measured.
fn delivery(
    old: &EventChannelStatus,
    delivery: &Delivery,
    generation: Option<i64>,
    now: Timestamp,
) -> (Option<Condition>, Option<DeliveryStatus>) {
    let type_ = conditions::DELIVERY_VERIFIED;
    match delivery {
        Delivery::NotProbed => (None, None),
        Delivery::Unchanged => (kept(&old.conditions, type_, generation), old.delivery.clone()),
        Delivery::Known(state, measured) => {
            (Some(condition(&old.conditions, type_, state, generation, now)), measured.clone())
        }
    }
}

pub(crate) fn optional(
    old: &[Condition],
    type_: &str,
    state: &OptionalCondition,
    generation: Option<i64>,
    now: Timestamp,
) -> Option<Condition> {
    match state {
        OptionalCondition::Absent => None,
        OptionalCondition::Unchanged => kept(old, type_, generation),
        OptionalCondition::Known(state) => Some(condition(old, type_, state, generation, now)),
    }
}

/// The old condition of this type, observed at `generation`.
fn kept(old: &[Condition], type_: &str, generation: Option<i64>) -> Option<Condition> {
    let kept = old.iter().find(|c| c.type_ == type_).cloned();
    kept.map(|c| Condition { observed_generation: generation, ..c })
}

/// The conditions of a paused channel or pool: the old ones and `Paused`. `generation` is the old one: later ones were not reconciled.
#[must_use]
pub fn paused_conditions(
    old: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let paused = ConditionState::met(
        reasons::PAUSED,
        "reconciliation is paused: remove the annotation eventcast.dev/paused to resume",
    );
    replaced(old, &[(conditions::PAUSED, paused)], generation, now)
}

/// The status of a paused channel.
#[must_use]
pub fn paused(old: &EventChannelStatus, now: Timestamp) -> EventChannelStatus {
    let conditions = paused_conditions(&old.conditions, old.observed_generation, now);
    EventChannelStatus { conditions, subscribers: None, ..old.clone() }
}

/// The status of a channel that cannot be deleted, because its stream cannot be deleted.
#[must_use]
pub fn deletion_blocked(
    old: &EventChannelStatus,
    generation: Option<i64>,
    stream_ready: ConditionState,
    now: Timestamp,
) -> EventChannelStatus {
    let message = format!("waiting for the stream to be deleted: {}", stream_ready.message);
    let ready = ConditionState::failed(reasons::STREAM_NOT_DELETED, message);
    let changed = [(conditions::STREAM_READY, stream_ready), (conditions::READY, ready)];
    let conditions = replaced(&old.conditions, &changed, generation, now);
    EventChannelStatus { conditions, subscribers: None, ..old.clone() }
}

/// `old` with some conditions replaced.
fn replaced(
    old: &[Condition],
    new: &[(&'static str, ConditionState)],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let kept = old.iter().filter(|c| new.iter().all(|(type_, _)| c.type_ != *type_));
    let new = new.iter().map(|(type_, state)| condition(old, type_, state, generation, now));
    kept.cloned().chain(new).collect()
}

/// Whether the condition `type_` has this reason.
#[must_use]
pub fn has_reason(status: &EventChannelStatus, type_: &str, reason: &str) -> bool {
    status.conditions.iter().any(|c| c.type_ == type_ && c.reason == reason)
}

/// The condition `AccessReady` while no broker has answered since the operator started: the old one, whose reason is still one of the
/// brokers'.
fn kept_access(old: &EventChannelStatus) -> ConditionState {
    let old = old.conditions.iter().find(|c| c.type_ == conditions::ACCESS_READY);
    let kept = old.and_then(|old| {
        let reason = reasons::OF_BROKERS.iter().find(|reason| **reason == old.reason)?;
        let status = match &*old.status {
            "True" => Some(true),
            "False" => Some(false),
            _ => return None,
        };
        Some(ConditionState { status, reason, message: old.message.clone(), is_transient: false })
    });
    kept.unwrap_or_else(|| ConditionState::waiting_for("a broker that reports its keys"))
}

/// The condition `Ready`: the first false condition decides, else the first unknown one.
pub(crate) fn ready(parts: &[(&'static str, &ConditionState)]) -> ConditionState {
    let worst = parts.iter().find(|(_, c)| c.status == Some(false));
    let worst = worst.or_else(|| parts.iter().find(|(_, c)| c.status.is_none()));
    match worst {
        None => {
            ConditionState::met(reasons::READY, "clients can subscribe and publish at status.url")
        }
        Some((type_, c)) => {
            ConditionState { message: format!("{type_}: {}", c.message), ..(*c).clone() }
        }
    }
}

/// The condition `Stalled`: the first condition that is false for a reason that only a person can resolve. Flux and Helm give up on such a
/// channel at once (kstatus).
pub(crate) fn stalled(parts: &[(&'static str, &ConditionState)]) -> Option<ConditionState> {
    let is_stalled =
        |c: &ConditionState| c.status == Some(false) && reasons::STALLED.contains(&c.reason);
    let (type_, cause) = parts.iter().find(|(_, c)| is_stalled(c))?;
    Some(ConditionState::met(cause.reason, format!("{type_}: {}", cause.message)))
}

pub(crate) fn condition(
    old: &[Condition],
    type_: &str,
    state: &ConditionState,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    debug_assert!(conditions::is_known(type_, state.reason), "{type_}: {}", state.reason);
    let status = match state.status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let unchanged = old.iter().find(|c| c.type_ == type_ && c.status == status);
    Condition {
        last_transition_time: unchanged.map_or(Time(now), |c| c.last_transition_time.clone()),
        message: truncated(&state.message),
        observed_generation: generation,
        reason: state.reason.into(),
        status: status.into(),
        type_: type_.into(),
    }
}

/// Cuts a message that the API server would reject for its length (maxLength 32768 of a condition, less to stay readable).
fn truncated(message: &str) -> String {
    const MAX_MESSAGE_BYTES: usize = 4096;
    if message.len() <= MAX_MESSAGE_BYTES {
        return message.into();
    }
    let end = (0..=MAX_MESSAGE_BYTES).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
    format!("{}…", &message[..end])
}

#[cfg(test)]
mod tests;

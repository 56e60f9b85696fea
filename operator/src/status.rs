//! Computes the status of a channel. Pure: the old status and facts in, the new status out.
//!
//! A channel has every condition from its first reconciliation, with positive polarity and the generation that was observed.
//! `lastTransitionTime` changes only with a condition's status, so a reconciliation that finds nothing new writes nothing.

use eventcast_crds::channel::status::{Address, EventChannelStatus, OperatorStatus, StreamStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Condition types.
pub mod conditions {
    /// The spec is valid, and the objects could be applied.
    pub const ACCEPTED: &str = "Accepted";
    /// The stream exists and matches the spec.
    pub const STREAM_READY: &str = "StreamReady";
    /// At least one broker is ready.
    pub const AVAILABLE: &str = "Available";
    /// The Service, Ingress and HTTPRoute of the spec exist.
    pub const EXPOSED: &str = "Exposed";
    /// All of the above.
    pub const READY: &str = "Ready";
    /// Credentials can be judged. Not a part of `Ready`: it concerns only clients whose credentials need what is missing.
    pub const ACCESS_READY: &str = "AccessReady";
    /// Nothing will change until somebody changes something. Absent otherwise.
    pub const STALLED: &str = "Stalled";
    /// Reconciliation is paused by the annotation.
    pub const PAUSED: &str = "Paused";
}

/// Condition reasons: a finite set, because metrics use them as label values.
pub mod reasons {
    /// The spec is valid and was applied.
    pub const ACCEPTED: &str = "Accepted";
    /// This operator cannot parse the spec.
    pub const UNREADABLE: &str = "Unreadable";
    /// The spec has fields that this operator does not know.
    pub const UNKNOWN_FIELDS: &str = "UnknownFields";
    /// The installed CRD lacks fields that this operator knows.
    pub const CRD_OLDER: &str = "CrdOlder";
    /// The spec has invalid values.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// An object of the needed name belongs to somebody else.
    pub const NAME_CONFLICT: &str = "NameConflict";
    /// The API server rejected an object, or could not be reached.
    pub const APPLY_FAILED: &str = "ApplyFailed";
    /// The stream matches the spec.
    pub const STREAM_READY: &str = "StreamReady";
    /// NATS or JetStream does not answer.
    pub const NATS_UNREACHABLE: &str = "NatsUnreachable";
    /// The version of NATS is not supported.
    pub const NATS_TOO_OLD: &str = "NatsTooOld";
    /// The stream belongs to another channel, or was not created by the operator.
    pub const NOT_OWNED: &str = "NotOwned";
    /// Another stream captures the channel's subjects.
    pub const SUBJECT_CONFLICT: &str = "SubjectConflict";
    /// JetStream cannot make the needed change.
    pub const IMMUTABLE: &str = "ImmutableDrift";
    /// A limit of JetStream is reached.
    pub const QUOTA_EXCEEDED: &str = "QuotaExceeded";
    /// JetStream has fewer servers than the stream has replicas.
    pub const TOO_FEW_SERVERS: &str = "TooFewServers";
    /// NATS rejects messages of the largest event size. The stream is ready all the same.
    pub const MAX_PAYLOAD: &str = "MaxPayloadTooSmall";
    /// The channel is being deleted, and its stream cannot be deleted.
    pub const STREAM_NOT_DELETED: &str = "StreamNotDeleted";
    /// NATS rejected a request for another reason.
    pub const NATS_REFUSED: &str = "NatsRefused";
    /// Another operator reconciles the channel. Only in logs and metrics: this one does not write the status.
    pub const OTHER_OPERATOR: &str = "OtherOperator";
    /// The reasons of failed reconciliations, for the metric `failures_total`.
    pub const FAILURES: [&str; 13] = [
        UNREADABLE,
        INVALID_SPEC,
        NAME_CONFLICT,
        APPLY_FAILED,
        NATS_UNREACHABLE,
        NATS_TOO_OLD,
        NOT_OWNED,
        SUBJECT_CONFLICT,
        IMMUTABLE,
        QUOTA_EXCEEDED,
        TOO_FEW_SERVERS,
        NATS_REFUSED,
        OTHER_OPERATOR,
    ];
    /// The reasons that only a person can resolve, for the condition `Stalled`.
    pub const STALLED: [&str; 8] = [
        UNREADABLE,
        INVALID_SPEC,
        NAME_CONFLICT,
        NATS_TOO_OLD,
        NOT_OWNED,
        SUBJECT_CONFLICT,
        IMMUTABLE,
        TOO_FEW_SERVERS,
    ];
    /// All desired brokers are ready.
    pub const BROKERS_READY: &str = "BrokersReady";
    /// Some of the desired brokers are ready.
    pub const SOME_BROKERS_READY: &str = "SomeBrokersReady";
    /// No broker is ready yet.
    pub const WAITING: &str = "WaitingForBrokers";
    /// The desired number of brokers is 0.
    pub const SCALED_TO_ZERO: &str = "ScaledToZero";
    /// The broker image cannot be pulled.
    pub const IMAGE_UNAVAILABLE: &str = "ImageUnavailable";
    /// A broker crashes at its start.
    pub const CRASHING: &str = "BrokersCrashing";
    /// Pods cannot be scheduled or created.
    pub const UNSCHEDULABLE: &str = "Unschedulable";
    /// The Service, Ingress and HTTPRoute of the spec exist.
    pub const EXPOSED: &str = "Exposed";
    /// The cluster does not serve the Gateway API.
    pub const NO_GATEWAY_API: &str = "GatewayApiMissing";
    /// A Gateway rejected the HTTPRoute.
    pub const ROUTE_NOT_ACCEPTED: &str = "RouteNotAccepted";
    /// Brokers have the keys and the certificate that they need.
    pub const ACCESS_READY: &str = "AccessReady";
    /// The channel needs no keys.
    pub const NOTHING_TO_VERIFY: &str = "NothingToVerify";
    /// A Secret, or a key of it, is missing.
    pub const SECRET_MISSING: &str = "SecretMissing";
    /// Keys cannot be parsed, or none of them can be used.
    pub const KEYS_INVALID: &str = "KeysInvalid";
    /// Keys were never loaded from their URL.
    pub const KEYS_UNREACHABLE: &str = "KeysUnreachable";
    /// Keys were not loaded for a while. The last ones are used.
    pub const KEYS_STALE: &str = "KeysStale";
    /// Brokers may not ask the API server about tokens.
    pub const NO_REVIEW_RIGHTS: &str = "NoReviewRights";
    /// The certificate cannot be used.
    pub const CERTIFICATE_INVALID: &str = "CertificateInvalid";
    /// The certificate expires soon.
    pub const CERTIFICATE_EXPIRING: &str = "CertificateExpiring";
    /// The stream of what brokers share about credentials does not exist.
    pub const NO_SHARED_STATE: &str = "NoSharedState";
    /// The tokens of an issuer grant nothing.
    pub const TOKENS_GRANT_NOTHING: &str = "TokensGrantNothing";
    /// A problem that a newer broker reports.
    pub const OTHER_ACCESS_PROBLEM: &str = "Unknown";
    /// The reasons of `AccessReady` that brokers report.
    pub const OF_BROKERS: [&str; 9] = [
        ACCESS_READY,
        SECRET_MISSING,
        KEYS_INVALID,
        KEYS_UNREACHABLE,
        KEYS_STALE,
        NO_REVIEW_RIGHTS,
        CERTIFICATE_INVALID,
        CERTIFICATE_EXPIRING,
        OTHER_ACCESS_PROBLEM,
    ];
    /// All conditions are true.
    pub const READY: &str = "Ready";
    /// The state is unknown, because another step must succeed first.
    pub const BLOCKED: &str = "Blocked";
    /// The annotation `eventcast.dev/paused` is set.
    pub const PAUSED: &str = "PausedByAnnotation";
}

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
    EventChannelStatus {
        conditions: all.map(|(type_, c)| condition(old, type_, c, generation, now)).collect(),
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

/// The status of a paused channel: the old status and the condition `Paused`.
#[must_use]
pub fn paused(old: &EventChannelStatus, now: Timestamp) -> EventChannelStatus {
    let paused = ConditionState::met(
        reasons::PAUSED,
        "reconciliation is paused: remove the annotation eventcast.dev/paused to resume",
    );
    // The old generation: later ones were not reconciled.
    with_conditions(old, &[(conditions::PAUSED, paused)], old.observed_generation, now)
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
    with_conditions(old, &changed, generation, now)
}

/// `old` with some of its conditions replaced.
fn with_conditions(
    old: &EventChannelStatus,
    replaced: &[(&'static str, ConditionState)],
    generation: Option<i64>,
    now: Timestamp,
) -> EventChannelStatus {
    let kept =
        old.conditions.iter().filter(|c| replaced.iter().all(|(type_, _)| c.type_ != *type_));
    let new = replaced.iter().map(|(type_, c)| condition(old, type_, c, generation, now));
    EventChannelStatus {
        conditions: kept.cloned().chain(new).collect(),
        subscribers: None,
        ..old.clone()
    }
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
fn ready(parts: &[(&'static str, &ConditionState)]) -> ConditionState {
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
fn stalled(parts: &[(&'static str, &ConditionState)]) -> Option<ConditionState> {
    let is_stalled =
        |c: &ConditionState| c.status == Some(false) && reasons::STALLED.contains(&c.reason);
    let (type_, cause) = parts.iter().find(|(_, c)| is_stalled(c))?;
    Some(ConditionState::met(cause.reason, format!("{type_}: {}", cause.message)))
}

fn condition(
    old: &EventChannelStatus,
    type_: &str,
    state: &ConditionState,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let status = match state.status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let unchanged = old.conditions.iter().find(|c| c.type_ == type_ && c.status == status);
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

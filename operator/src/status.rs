//! What is reported of a channel. Pure: old status and facts in, new status out.
//!
//! All conditions are there from the first visit, positive in sense, with the generation they are about. `lastTransitionTime` moves
//! only when a condition's status does, so a visit that finds nothing new writes nothing.

use eventcast_crds::channel::status::{EventChannelStatus, StreamStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Condition types.
pub mod conditions {
    /// The spec makes sense and nothing foreign is in its way.
    pub const ACCEPTED: &str = "Accepted";
    /// The stream is there and as it should be.
    pub const STREAM_READY: &str = "StreamReady";
    /// A broker serves.
    pub const AVAILABLE: &str = "Available";
    /// The way in that was asked for exists.
    pub const EXPOSED: &str = "Exposed";
    /// All of the above.
    pub const READY: &str = "Ready";
    /// The operator looks away, because it was told to.
    pub const PAUSED: &str = "Paused";
}

/// Reasons: a finite set, fit for metrics.
pub mod reasons {
    /// Nothing is wrong.
    pub const ACCEPTED: &str = "Accepted";
    /// The object cannot be read by this operator.
    pub const UNREADABLE: &str = "Unreadable";
    /// The spec has fields that this operator does not know.
    pub const UNKNOWN_FIELDS: &str = "UnknownFields";
    /// The CRD lacks fields that this operator writes or reads.
    pub const CRD_OLDER: &str = "CrdOlder";
    /// The spec contradicts itself.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// An object of a name that we need belongs to somebody else.
    pub const NAME_CONFLICT: &str = "NameConflict";
    /// The API server refused an object.
    pub const APPLY_FAILED: &str = "ApplyFailed";
    /// The stream is as it should be.
    pub const STREAM_READY: &str = "StreamReady";
    /// NATS does not answer.
    pub const NATS_UNREACHABLE: &str = "NatsUnreachable";
    /// NATS is older than we can use.
    pub const NATS_TOO_OLD: &str = "NatsTooOld";
    /// The stream belongs to somebody else.
    pub const NOT_OWNED: &str = "NotOwned";
    /// Another stream has the channel's subjects.
    pub const SUBJECT_CONFLICT: &str = "SubjectConflict";
    /// JetStream cannot make this change.
    pub const IMMUTABLE: &str = "ImmutableDrift";
    /// A limit of JetStream is reached.
    pub const QUOTA_EXCEEDED: &str = "QuotaExceeded";
    /// JetStream has not enough servers for the replicas.
    pub const TOO_FEW_SERVERS: &str = "TooFewServers";
    /// NATS takes no message as large as the largest event; everything else is well.
    pub const MAX_PAYLOAD: &str = "MaxPayloadTooSmall";
    /// The channel is to go, and its stream cannot be deleted.
    pub const STREAM_NOT_DELETED: &str = "StreamNotDeleted";
    /// NATS refuses for another reason.
    pub const NATS_REFUSED: &str = "NatsRefused";
    /// Those for which a visit is repeated or given up: what metrics count.
    pub const FAILURES: [&str; 12] = [
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
    ];
    /// All brokers that are wanted are ready.
    pub const BROKERS_READY: &str = "BrokersReady";
    /// Some are.
    pub const SOME_BROKERS_READY: &str = "SomeBrokersReady";
    /// None is, yet.
    pub const WAITING: &str = "WaitingForBrokers";
    /// None is wanted.
    pub const SCALED_TO_ZERO: &str = "ScaledToZero";
    /// The image cannot be pulled.
    pub const IMAGE_UNAVAILABLE: &str = "ImageUnavailable";
    /// Brokers end as soon as they begin.
    pub const CRASHING: &str = "BrokersCrashing";
    /// Pods find no node, or may not be created.
    pub const UNSCHEDULABLE: &str = "Unschedulable";
    /// There is a Service, and what else was asked for.
    pub const EXPOSED: &str = "Exposed";
    /// The Gateway API is not there.
    pub const NO_GATEWAY_API: &str = "GatewayApiMissing";
    /// A Gateway refuses the route.
    pub const ROUTE_NOT_ACCEPTED: &str = "RouteNotAccepted";
    /// Everything is well.
    pub const READY: &str = "Ready";
    /// Not looked at, because something else comes first.
    pub const BLOCKED: &str = "Blocked";
    /// The annotation says so.
    pub const PAUSED: &str = "PausedByAnnotation";
}

/// What was found out about one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// True, false, or not known.
    pub holds: Option<bool>,
    /// One of [`reasons`].
    pub reason: &'static str,
    /// What to do, where something is to be done.
    pub message: String,
    /// Whether it may hold soon without anybody's doing, so that another visit is worth it.
    pub passing: bool,
}

impl Verdict {
    /// It holds.
    pub fn good(reason: &'static str, message: impl Into<String>) -> Self {
        Self { holds: Some(true), reason, message: message.into(), passing: false }
    }

    /// It does not, until somebody does something about it.
    pub fn bad(reason: &'static str, message: impl Into<String>) -> Self {
        Self { holds: Some(false), reason, message: message.into(), passing: false }
    }

    /// It does not for now.
    pub fn passing(reason: &'static str, message: impl Into<String>) -> Self {
        Self { passing: true, ..Self::bad(reason, message) }
    }

    /// Nobody looked, because `what` comes first.
    #[must_use]
    pub fn blocked(what: &str) -> Self {
        let message = format!("{what} comes first");
        Self { holds: None, reason: reasons::BLOCKED, message, passing: false }
    }
}

/// What a visit found out.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Of the spec.
    pub accepted: Verdict,
    /// Of the stream.
    pub stream_ready: Verdict,
    /// Of the brokers.
    pub available: Verdict,
    /// Of the way in.
    pub exposed: Verdict,
    /// The stream, where it could be looked at.
    pub stream: Option<StreamStatus>,
    /// The brokers, where they could be looked at.
    pub brokers: Option<Brokers>,
    /// Where clients go.
    pub url: Option<String>,
}

/// The brokers in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brokers {
    /// Wanted.
    pub desired: i32,
    /// There.
    pub replicas: i32,
    /// Ready.
    pub ready: i32,
    /// Label selector of their pods.
    pub selector: String,
    /// Their image.
    pub image: String,
}

/// The status after a visit. What a visit did not look at stays as it was told before.
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
    let all = parts.into_iter().chain([(conditions::READY, &ready)]);
    let brokers = facts.brokers.as_ref();
    EventChannelStatus {
        conditions: all.map(|(kind, v)| condition(old, kind, v, generation, now)).collect(),
        observed_generation: generation,
        url: facts.url.clone().or_else(|| old.url.clone()),
        brokers: brokers
            .map(|b| format!("{}/{}", b.ready, b.desired))
            .or_else(|| old.brokers.clone()),
        replicas: brokers.map_or(old.replicas, |b| b.replicas),
        ready_replicas: brokers.map_or(old.ready_replicas, |b| b.ready),
        selector: brokers.map(|b| b.selector.clone()).or_else(|| old.selector.clone()),
        subscribers: None,
        stream: facts.stream.clone().or_else(|| old.stream.clone()),
        image: brokers.map(|b| b.image.clone()).or_else(|| old.image.clone()),
        operator_version: Some(env!("CARGO_PKG_VERSION").into()),
    }
}

/// The status of a channel that is paused: everything as it was, and that it is so.
#[must_use]
pub fn paused(old: &EventChannelStatus, now: Timestamp) -> EventChannelStatus {
    let verdict = Verdict::good(
        reasons::PAUSED,
        "the operator leaves this channel alone until the annotation eventcast.dev/paused is removed",
    );
    // The generation that it stopped at: what came since was not looked at.
    with(old, &[(conditions::PAUSED, verdict)], old.observed_generation, now)
}

/// The status of a channel that is to go and cannot, because its stream cannot be deleted.
#[must_use]
pub fn held(
    old: &EventChannelStatus,
    generation: Option<i64>,
    stream: Verdict,
    now: Timestamp,
) -> EventChannelStatus {
    let message = format!("the channel waits for its stream to be deleted: {}", stream.message);
    let ready = Verdict::bad(reasons::STREAM_NOT_DELETED, message);
    with(old, &[(conditions::STREAM_READY, stream), (conditions::READY, ready)], generation, now)
}

/// `old` with other verdicts on some conditions.
fn with(
    old: &EventChannelStatus,
    verdicts: &[(&'static str, Verdict)],
    generation: Option<i64>,
    now: Timestamp,
) -> EventChannelStatus {
    let others =
        old.conditions.iter().filter(|c| verdicts.iter().all(|(kind, _)| c.type_ != *kind));
    let changed = verdicts.iter().map(|(kind, v)| condition(old, kind, v, generation, now));
    EventChannelStatus {
        conditions: others.cloned().chain(changed).collect(),
        subscribers: None,
        ..old.clone()
    }
}

/// Whether a condition has this reason.
#[must_use]
pub fn has_reason(status: &EventChannelStatus, kind: &str, reason: &str) -> bool {
    status.conditions.iter().any(|c| c.type_ == kind && c.reason == reason)
}

/// The first part that does not hold speaks for the whole.
fn ready(parts: &[(&'static str, &Verdict)]) -> Verdict {
    let worst = parts.iter().find(|(_, v)| v.holds == Some(false));
    let worst = worst.or_else(|| parts.iter().find(|(_, v)| v.holds.is_none()));
    match worst {
        None => Verdict::good(reasons::READY, "subscribe and publish at the URL"),
        Some((kind, v)) => Verdict { message: format!("{kind}: {}", v.message), ..(*v).clone() },
    }
}

fn condition(
    old: &EventChannelStatus,
    kind: &str,
    verdict: &Verdict,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let status = match verdict.holds {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let before = old.conditions.iter().find(|c| c.type_ == kind && c.status == status);
    Condition {
        last_transition_time: before.map_or(Time(now), |c| c.last_transition_time.clone()),
        message: bounded(&verdict.message),
        observed_generation: generation,
        reason: verdict.reason.into(),
        status: status.into(),
        type_: kind.into(),
    }
}

/// The API refuses longer ones.
fn bounded(message: &str) -> String {
    const LONGEST: usize = 4096;
    if message.len() <= LONGEST {
        return message.into();
    }
    let end = (0..=LONGEST).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
    format!("{}…", &message[..end])
}

#[cfg(test)]
mod tests;

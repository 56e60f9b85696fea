//! Condition reasons: a finite set, because metrics use them as label values.

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
pub const FAILURES: [&str; 18] = [
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
    POOL_MISSING,
    NOT_ALLOWED_BY_POOL,
    POOL_FULL,
    SECRET_NOT_IN_POOL,
    NOT_IN_POOL,
];
/// The reasons that only a person can resolve, for the condition `Stalled`.
pub const STALLED: [&str; 12] = [
    UNREADABLE,
    INVALID_SPEC,
    NAME_CONFLICT,
    NATS_TOO_OLD,
    NOT_OWNED,
    SUBJECT_CONFLICT,
    IMMUTABLE,
    TOO_FEW_SERVERS,
    NOT_ALLOWED_BY_POOL,
    POOL_FULL,
    SECRET_NOT_IN_POOL,
    NOT_IN_POOL,
];
/// The BrokerPool that the channel names does not exist, or its spec is invalid.
pub const POOL_MISSING: &str = "PoolMissing";
/// The BrokerPool accepts no channels of this namespace.
pub const NOT_ALLOWED_BY_POOL: &str = "NotAllowedByPool";
/// The BrokerPool serves as many channels as it may.
pub const POOL_FULL: &str = "PoolFull";
/// A part of the spec needs a Secret, which the brokers of a pool do not mount.
pub const SECRET_NOT_IN_POOL: &str = "SecretNotInPool";
/// A part of the spec needs brokers of the channel's own.
pub const NOT_IN_POOL: &str = "NotInPool";
/// Brokers cannot use the configuration of the channel.
pub const CONFIG_REJECTED: &str = "ConfigRejected";
/// Brokers cannot read the log of the channel.
pub const LOG_UNAVAILABLE: &str = "LogUnavailable";
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
/// Events reach clients through their URL.
pub const DELIVERY_VERIFIED: &str = "DeliveryVerified";
/// No broker has probed the delivery yet.
pub const NOT_PROBED: &str = "NotProbed";
/// All conditions are true.
pub const READY: &str = "Ready";
/// The state is unknown, because another step must succeed first.
pub const BLOCKED: &str = "Blocked";
/// The annotation `eventcast.dev/paused` is set.
pub const PAUSED: &str = "PausedByAnnotation";

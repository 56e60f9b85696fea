//! The reasons of conditions: a finite set, because metrics use them as label values.

use super::{Advice, Reason, Status};

macro_rules! advice {
    () => {
        None
    };
    ($step:literal, $page:literal) => {
        Some(Advice { step: $step, page: $page })
    };
}

/// Each entry: its meaning, the constant and the name, status and types of its conditions, and perhaps what to do and the page that says more.
macro_rules! reasons {
    ($(
        #[doc = $meaning:literal]
        $constant:ident = $name:literal, $status:ident of $($condition:ident)|+ $(, do $step:literal, see $page:literal)?;
    )+) => {
        $(#[doc = $meaning] pub const $constant: &str = $name;)+
        /// All of them.
        pub const ALL: &[Reason] = &[$(Reason {
            name: $name,
            conditions: &[$(super::$condition),+],
            status: Status::$status,
            meaning: $meaning,
            advice: advice!($($step, $page)?),
        }),+];
    };
}

reasons! {
    /// All conditions that `Ready` summarises are true.
    READY = "Ready", True of READY;

    /// The spec is valid and was applied.
    ACCEPTED = "Accepted", True of ACCEPTED;
    /// The spec has fields that this operator does not know. They have no effect.
    UNKNOWN_FIELDS = "UnknownFields", True of ACCEPTED, do "upgrade the operator: it is older than the object", see "UPGRADING.md";
    /// The installed CRD lacks fields that this operator knows. They cannot be set.
    CRD_OLDER = "CrdOlder", True of ACCEPTED, do "upgrade the CRD: it is older than the operator", see "UPGRADING.md";
    /// This operator cannot parse the spec.
    UNREADABLE = "Unreadable", False of ACCEPTED, do "upgrade the operator: it is older than the object", see "UPGRADING.md";
    /// The spec has invalid values.
    INVALID_SPEC = "InvalidSpec", False of ACCEPTED, do "correct the field that the message names", see "KUBERNETES.md#a-channel";
    /// An object of the needed name belongs to somebody else.
    NAME_CONFLICT = "NameConflict", False of ACCEPTED, do "rename the channel, or delete the object that has its name", see "KUBERNETES.md#the-status";
    /// The API server rejected an object, or could not be reached.
    APPLY_FAILED = "ApplyFailed", False of ACCEPTED, do "the API server refuses an object: see the message and the log of the operator", see "TROUBLESHOOTING.md";
    /// The BrokerPool that the channel names does not exist, or its spec is invalid.
    POOL_MISSING = "PoolMissing", False of ACCEPTED | AVAILABLE, do "create the pool, or remove brokers.pool", see "POOLS.md#a-pool-and-its-channels";
    /// The BrokerPool accepts no channels of this namespace.
    NOT_ALLOWED_BY_POOL = "NotAllowedByPool", False of ACCEPTED, do "add the namespace to channels.namespaces of the pool", see "POOLS.md#a-pool-and-its-channels";
    /// The BrokerPool serves as many channels as it may.
    POOL_FULL = "PoolFull", False of ACCEPTED, do "raise channels.max of the pool, or choose another one", see "POOLS.md#a-pool-and-its-channels";
    /// A part of the spec needs a Secret, which the brokers of a pool do not mount.
    SECRET_NOT_IN_POOL = "SecretNotInPool", False of ACCEPTED, do "a channel in a pool cannot use this Secret: give it brokers of its own", see "POOLS.md#a-pool-and-its-channels";
    /// A part of the spec needs brokers of the channel's own.
    NOT_IN_POOL = "NotInPool", False of ACCEPTED, do "remove the field that a channel in a pool cannot have", see "POOLS.md#a-pool-and-its-channels";
    /// Another operator reconciles the channel. Only in logs and metrics: this one does not write the status.
    OTHER_OPERATOR = "OtherOperator", False of ACCEPTED, do "the annotation eventcast.dev/operator names the operator that reconciles the channel", see "KUBERNETES.md#the-status";

    /// The stream matches the spec.
    STREAM_READY = "StreamReady", True of STREAM_READY;
    /// NATS rejects messages of the largest event size. The stream is ready all the same.
    MAX_PAYLOAD = "MaxPayloadTooSmall", True of STREAM_READY, do "raise max_payload of nats-server, or lower publishing.maxEventBytes", see "NATS.md";
    /// NATS or JetStream does not answer.
    NATS_UNREACHABLE = "NatsUnreachable", False of STREAM_READY, do "check that NATS runs and that the operator may connect to it", see "NATS.md";
    /// The version of NATS is not supported.
    NATS_TOO_OLD = "NatsTooOld", False of STREAM_READY, do "upgrade nats-server to 2.12.3 or later", see "NATS.md";
    /// The stream belongs to another channel, or was not created by the operator.
    NOT_OWNED = "NotOwned", False of STREAM_READY, do "the stream belongs to somebody else: set stream.adoptionPolicy or stream.name", see "KUBERNETES.md#a-channel";
    /// Another stream captures the channel's subjects.
    SUBJECT_CONFLICT = "SubjectConflict", False of STREAM_READY, do "another stream has these subjects: change stream.subjectPrefix, or delete that stream", see "KUBERNETES.md#a-channel";
    /// JetStream cannot make the needed change.
    IMMUTABLE = "ImmutableDrift", False of STREAM_READY, do "undo the change, or recreate the stream: JetStream cannot make it", see "KUBERNETES.md#the-status";
    /// A limit of JetStream is reached.
    QUOTA_EXCEEDED = "QuotaExceeded", False of STREAM_READY, do "lower retention.maxBytes of channels, or give JetStream more storage", see "NATS.md";
    /// JetStream has fewer servers than the stream has replicas.
    TOO_FEW_SERVERS = "TooFewServers", False of STREAM_READY, do "lower retention.replicas, or add servers to the NATS cluster", see "NATS.md";
    /// The channel is being deleted, and its stream cannot be deleted.
    STREAM_NOT_DELETED = "StreamNotDeleted", False of STREAM_READY, do "set deletionPolicy to Retain to delete the channel and keep the stream", see "KUBERNETES.md#the-status";
    /// NATS rejected a request for another reason.
    NATS_REFUSED = "NatsRefused", False of STREAM_READY, do "see the message: NATS refuses the stream", see "NATS.md";

    /// All desired brokers are ready.
    BROKERS_READY = "BrokersReady", True of AVAILABLE;
    /// Some of the desired brokers are ready.
    SOME_BROKERS_READY = "SomeBrokersReady", True of AVAILABLE;
    /// No broker is ready yet.
    WAITING = "WaitingForBrokers", False of AVAILABLE, do "wait; if it stays: kubectl describe the pods of the brokers", see "TROUBLESHOOTING.md";
    /// The desired number of brokers is 0.
    SCALED_TO_ZERO = "ScaledToZero", False of AVAILABLE, do "set brokers.replicas to one at least", see "SCALING.md";
    /// The broker image cannot be pulled.
    IMAGE_UNAVAILABLE = "ImageUnavailable", False of AVAILABLE, do "check the name of the image and imagePullSecrets", see "INSTALL.md";
    /// A broker crashes at its start.
    CRASHING = "BrokersCrashing", False of AVAILABLE, do "read the log of a broker: kubectl logs --previous", see "TROUBLESHOOTING.md";
    /// Pods cannot be scheduled or created.
    UNSCHEDULABLE = "Unschedulable", False of AVAILABLE, do "add nodes, or lower brokers.resources", see "KUBERNETES.md#a-channel";
    /// Brokers of the pool cannot use the configuration of the channel. True while some still serve an older one.
    CONFIG_REJECTED = "ConfigRejected", False of AVAILABLE, do "the pool is older than the channel, or the channel is invalid: see the message", see "POOLS.md";
    /// Brokers cannot read the log of the channel. True while others can.
    LOG_UNAVAILABLE = "LogUnavailable", False of AVAILABLE, do "check NATS, the permissions of the brokers there, and NetworkPolicies", see "NETWORK.md#a-policy-in-the-way";
    /// Brokers do not answer the operator on their admin port. False if none is ready.
    BROKERS_SILENT = "BrokersNotAnswering", True of AVAILABLE, do "check that a NetworkPolicy or a mesh lets the operator reach port 9090 of brokers", see "NETWORK.md#a-policy-in-the-way";

    /// The Service, Ingress and HTTPRoute of the spec exist.
    EXPOSED = "Exposed", True of EXPOSED;
    /// The cluster does not serve the Gateway API.
    NO_GATEWAY_API = "GatewayApiMissing", False of EXPOSED, do "install the Gateway API, or use exposure.ingress", see "proxies/README.md";
    /// A Gateway rejected the HTTPRoute.
    ROUTE_NOT_ACCEPTED = "RouteNotAccepted", False of EXPOSED, do "see the message: the Gateway does not accept the HTTPRoute", see "proxies/README.md";

    /// Brokers have the keys and the certificate that they need.
    ACCESS_READY = "AccessReady", True of ACCESS_READY;
    /// The channel needs no keys.
    NOTHING_TO_VERIFY = "NothingToVerify", True of ACCESS_READY;
    /// A Secret, or a key of it, is missing.
    SECRET_MISSING = "SecretMissing", False of ACCESS_READY, do "create the Secret that the message names, in the namespace of the channel", see "KUBERNETES.md#access";
    /// Keys cannot be parsed, or none of them can be used.
    KEYS_INVALID = "KeysInvalid", False of ACCESS_READY, do "put valid keys into the Secret: a JWK set or PEM", see "ACCESS.md#recipes";
    /// Keys were never loaded from their URL.
    KEYS_UNREACHABLE = "KeysUnreachable", False of ACCESS_READY, do "brokers cannot fetch the keys: check jwksUrl and egress", see "ACCESS.md#recipes";
    /// Keys were not loaded for a while. The last ones are used.
    KEYS_STALE = "KeysStale", False of ACCESS_READY, do "keys were not fetched for 15 minutes: check jwksUrl and egress", see "ACCESS.md#recipes";
    /// Brokers may not ask the API server about tokens.
    NO_REVIEW_RIGHTS = "NoReviewRights", False of ACCESS_READY, do "set rbac.kubernetesIdentities of the chart", see "KUBERNETES.md#access";
    /// The certificate cannot be used.
    CERTIFICATE_INVALID = "CertificateInvalid", False of ACCESS_READY, do "put a certificate and its key into the Secret", see "KUBERNETES.md#tls";
    /// The certificate expires soon.
    CERTIFICATE_EXPIRING = "CertificateExpiring", False of ACCESS_READY, do "renew the certificate", see "KUBERNETES.md#tls";
    /// The stream of what brokers share about credentials does not exist.
    NO_SHARED_STATE = "NoSharedState", False of ACCESS_READY, do "check NATS and the permissions of the brokers there", see "ACCESS.md#what-brokers-share";
    /// The tokens of an issuer grant nothing.
    TOKENS_GRANT_NOTHING = "TokensGrantNothing", False of ACCESS_READY, do "give the issuer subscribe, publish, manage or grantsClaim", see "ACCESS.md#recipes";
    /// A problem that a newer broker or operator reports: see the message.
    OTHER_PROBLEM = "Unknown", False of ACCESS_READY | DELIVERY_VERIFIED, do "do what the message says", see "UPGRADING.md";

    /// Events reach clients through their URL.
    DELIVERY_VERIFIED = "DeliveryVerified", True of DELIVERY_VERIFIED;
    /// No broker has probed the delivery yet.
    NOT_PROBED = "NotProbed", Unknown of DELIVERY_VERIFIED;
    /// The name cannot be resolved, or nothing answers there.
    DELIVERY_UNREACHABLE = "Unreachable", False of DELIVERY_VERIFIED, do "do what the message says", see "DELIVERY-PROBE.md#what-it-finds";
    /// The certificate is not valid for the host, or has expired.
    DELIVERY_CERTIFICATE_INVALID = "CertificateInvalid", False of DELIVERY_VERIFIED, do "do what the message says", see "DELIVERY-PROBE.md#what-it-finds";
    /// Something else than the channel answers: another status, a redirect, a page.
    UNEXPECTED_ANSWER = "UnexpectedAnswer", False of DELIVERY_VERIFIED, do "do what the message says", see "DELIVERY-PROBE.md#what-it-finds";
    /// Events are held back.
    BUFFERED = "Buffered", False of DELIVERY_VERIFIED, do "do what the message says", see "DELIVERY-PROBE.md#what-it-finds";
    /// The stream is compressed.
    COMPRESSED = "Compressed", False of DELIVERY_VERIFIED, do "do what the message says", see "DELIVERY-PROBE.md#what-it-finds";
    /// The stream is ended while no event is sent.
    IDLE_TIMEOUT = "IdleTimeout", False of DELIVERY_VERIFIED, do "do what the message says", see "DELIVERY-PROBE.md#what-it-finds";
    /// The stream is ended although something is sent.
    TIME_LIMIT = "TimeLimit", False of DELIVERY_VERIFIED, do "do what the message says", see "DELIVERY-PROBE.md#what-it-finds";
    /// Bodies that the channel accepts are rejected.
    BODY_TOO_LARGE = "BodyTooLarge", False of DELIVERY_VERIFIED, do "do what the message says", see "DELIVERY-PROBE.md#what-it-finds";

    /// The number of brokers fits the load.
    STEADY = "Steady", True of AUTOSCALED;
    /// Brokers were added lately.
    SCALED_UP = "ScaledUp", True of AUTOSCALED;
    /// Brokers were removed lately.
    SCALED_DOWN = "ScaledDown", True of AUTOSCALED;
    /// The load needs more brokers than there may or can be.
    AT_MAXIMUM = "AtMaximum", False of AUTOSCALED, do "raise brokers.autoscaling.maxReplicas, or add nodes", see "SCALING.md#what-to-look-at";
    /// Another autoscaler scales the same Deployment.
    FOREIGN_AUTOSCALER = "ForeignAutoscaler", False of AUTOSCALED, do "remove the other autoscaler, or brokers.autoscaling", see "SCALING.md#what-to-look-at";
    /// The number of brokers stays as it is, as somebody has asked.
    FROZEN = "Frozen", False of AUTOSCALED, do "do what the message says, if the number of brokers shall change", see "SCALING.md#what-to-look-at";
    /// Some brokers have not reported their load for a while.
    COUNTS_MISSING = "CountsMissing", Unknown of AUTOSCALED, do "check that the operator may connect to the admin port of brokers", see "runbooks/EventcastCountsMissing.md";

    /// No broker has to close streams.
    BALANCED = "Balanced", True of BALANCED;
    /// Brokers with far more streams than others close some.
    SHEDDING = "Shedding", False of BALANCED, do "wait: it ends by itself", see "SCALING.md#what-to-look-at";
    /// Closed streams came back to the same brokers.
    FUTILE = "Futile", False of BALANCED, do "find out what sends clients back to the same broker", see "runbooks/EventcastUnbalanced.md";
    /// Brokers did not close streams when they were told to.
    ORDERS_NOT_FOLLOWED = "OrdersNotFollowed", False of BALANCED, do "check that annotations of pods reach their files", see "runbooks/EventcastUnbalanced.md";
    /// The operator may not patch pods.
    RIGHTS_MISSING = "RightsMissing", False of BALANCED, do "upgrade the chart: the operator lacks a permission", see "SCALING.md#what-to-look-at";

    /// All brokers have the version and settings of the operator.
    UP_TO_DATE = "UpToDate", True of UP_TO_DATE;
    /// The brokers are being replaced.
    ROLLING_OUT = "RollingOut", False of UP_TO_DATE, do "wait: it ends by itself", see "UPGRADING.md#what-an-upgrade-does-to-channels";
    /// Other channels have their turn first.
    QUEUED = "Queued", False of UP_TO_DATE, do "wait: other channels come first", see "UPGRADING.md#what-an-upgrade-does-to-channels";
    /// A channel with the new version does not get well. No other channel gets it.
    HALTED = "Halted", False of UP_TO_DATE, do "the new version does not get well: see the message", see "UPGRADING.md#what-an-upgrade-does-to-channels";
    /// An annotation keeps the brokers as they are.
    HELD = "Held", False of UP_TO_DATE, do "remove the annotation eventcast.dev/rollout when the brokers may be replaced", see "UPGRADING.md#what-an-upgrade-does-to-channels";

    /// The annotation `eventcast.dev/paused` is set.
    PAUSED = "PausedByAnnotation", True of PAUSED, do "remove the annotation eventcast.dev/paused when the operator shall go on", see "KUBERNETES.md#the-status";
    /// The state is unknown, because another step must succeed first.
    BLOCKED = "Blocked", Unknown of STREAM_READY | AVAILABLE | EXPOSED | ACCESS_READY;
}

/// The reasons of failed reconciliations, for the metric `eventcast_operator_failures_total`.
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
    OTHER_PROBLEM,
];

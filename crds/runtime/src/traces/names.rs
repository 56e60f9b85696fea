//! The names of attributes: those of the semantic conventions (1.45), and our own. The conventions for messaging are in development, so
//! their names may change.

/// What the process is.
pub const SERVICE_NAME: &str = "service.name";
/// Its version.
pub const SERVICE_VERSION: &str = "service.version";
/// Which one of its kind: in Kubernetes, the name of the pod.
pub const SERVICE_INSTANCE_ID: &str = "service.instance.id";

/// Why it failed: a word from a closed set.
pub const ERROR_TYPE: &str = "error.type";

/// Always [`NATS`].
pub const MESSAGING_SYSTEM: &str = "messaging.system";
/// `send`, `append`, `fanout` or `page`.
pub const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
/// `send`, `receive` or `process`.
pub const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
/// The channel.
pub const MESSAGING_DESTINATION: &str = "messaging.destination.name";
/// Events of a request or pass.
pub const MESSAGING_BATCH_COUNT: &str = "messaging.batch.message_count";
/// The value of [`MESSAGING_SYSTEM`].
pub const NATS: &str = "nats";

/// The method of the request.
pub const HTTP_METHOD: &str = "http.request.method";
/// The template of its path.
pub const HTTP_ROUTE: &str = "http.route";
/// The status of the response.
pub const HTTP_STATUS: &str = "http.response.status_code";

/// What became of an event, request or attempt.
pub const OUTCOME: &str = "eventcast.outcome";
/// The sequence of the event in the stream.
pub const SEQUENCE: &str = "eventcast.sequence";
/// Deliveries of a pass: events times the subscribers that they were written to.
pub const DELIVERED: &str = "eventcast.delivered";
/// Subscribers whose sockets did not accept everything.
pub const BLOCKED: &str = "eventcast.blocked";
/// Seconds from the log's timestamp of the oldest sampled event to its arrival in the tail.
pub const LOG_TO_TAIL: &str = "eventcast.log_to_tail";
/// The kind of a start position.
pub const START: &str = "eventcast.start";
/// Where the first events of a stream come from.
pub const REPLAY_SOURCE: &str = "eventcast.replay_source";
/// Why events are missing at the start of a stream.
pub const GAP: &str = "eventcast.gap";
/// The first sequence of a page.
pub const PAGE_FIRST: &str = "eventcast.page.first";
/// The last sequence of a page.
pub const PAGE_LAST: &str = "eventcast.page.last";
/// Attempts.
pub const TRIES: &str = "eventcast.tries";
/// The object that was reconciled, `<namespace>/<name>`.
pub const CHANNEL: &str = "eventcast.channel";
/// Its generation.
pub const GENERATION: &str = "eventcast.generation";
/// Objects that were written.
pub const WRITES: &str = "eventcast.writes";

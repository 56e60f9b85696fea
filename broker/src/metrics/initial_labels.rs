//! Label values whose series exist from the start, at 0, unless an enum lists them. Each list has all values that the code uses.

/// Start positions of streams.
pub(super) const STARTS: &[&str] = &["latest", "earliest", "cursor", "last", "since"];
/// Why subscribers are refused.
pub(super) const REJECTS: &[&str] = &[
    "draining",
    "limit-connections",
    "limit-process",
    "limit-address",
    "limit-channel",
    "moving",
    "quota",
    "unavailable",
];
/// Why messages of the log are not valid events.
pub(super) const SKIPS: &[&str] =
    &["too-large", "not-utf8", "nul", "name", "subject", "cloudevent"];
/// Why a tail was detached and attached again.
pub(super) const TAIL_RESETS: &[&str] = &[
    "subscribe",
    "create",
    "info",
    "stream-missing",
    "leader-behind",
    "silence",
    "connection",
    "sequence",
    "status",
    "new-incarnation",
    "nats-too-old",
];
/// Outcomes of page loads.
pub(super) const PAGE_LOADS: &[&str] = &["read", "stale", "retried", "failed"];
/// Outcomes of published events.
pub(super) const PUBLISH: &[&str] = &[
    "stored",
    "duplicate",
    "refused",
    "unavailable",
    "no-stream",
    "busy",
    "throttled",
    "unknown",
    "full",
    "abandoned",
];
/// Outcomes of requests to erase.
pub(super) const ERASURES: &[&str] =
    &["erased", "no-such-event", "unavailable", "refused", "not-granted"];
/// How delivery probes end, besides the reasons of problems.
pub(super) const PROBES: &[&str] = &["verified", "inconclusive"];
/// Outcomes of a changed configuration.
pub(super) const CONFIG_RELOADS: &[&str] = &["applied", "rejected"];

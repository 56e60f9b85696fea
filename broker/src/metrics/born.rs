//! Label values that exist from the start, at 0. Each list has all values that the code uses.

/// Start positions of streams.
pub(super) const STARTS: &[&str] = &["latest", "earliest", "cursor", "last", "since"];
/// Why streams end.
pub(super) const DISCONNECTS: &[&str] = &[
    "client",
    "draining",
    "max-age",
    "stalled",
    "channel-removed",
    "unexpected-input",
    "expired",
    "revoked",
    "grant-changed",
];
/// Why subscribers are refused.
pub(super) const REJECTS: &[&str] = &[
    "draining",
    "limit-connections",
    "limit-process",
    "limit-address",
    "limit-channel",
    "quota",
    "unavailable",
];
/// Why messages of the log are no events.
pub(super) const SKIPS: &[&str] =
    &["too-large", "not-utf8", "nul", "name", "subject", "cloudevent"];
/// Why events cannot be delivered.
pub(super) const GAPS: &[&str] = &["expired", "new-incarnation", "invalid-cursor", "invalid-event"];
/// Why a tail is attached again.
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
/// What became of page loads.
pub(super) const PAGE_LOADS: &[&str] = &["read", "stale", "retried", "failed"];
/// What became of published events.
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
/// What became of requests to erase.
pub(super) const ERASURES: &[&str] =
    &["erased", "no-such-event", "unavailable", "refused", "not-granted"];
/// What became of a changed configuration.
pub(super) const CONFIG_RELOADS: &[&str] = &["applied", "rejected"];

#[cfg(test)]
mod tests {
    use eventcast_wire::{closing::CloseReason, gap::GapReason};

    use super::*;

    #[test]
    fn the_lists_have_what_the_protocol_has() {
        assert_eq!(DISCONNECTS, CloseReason::ALL.map(CloseReason::as_str));
        assert_eq!(GAPS, GapReason::ALL.map(GapReason::as_str));
    }
}

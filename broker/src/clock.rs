//! The wall clock.

use eventcast_wire::event::Event;

/// Nanoseconds since 1970.
pub(crate) fn now_nanos() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// Seconds since 1970.
pub(crate) fn now_seconds() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Whether the time to live of `event` has passed. The stream has deleted it then, but memory may still hold it.
pub(crate) fn has_expired(event: &Event) -> bool {
    event.expires.is_some() && event.expired_at(now_nanos())
}

/// Milliseconds since 1970.
pub(crate) fn now_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// A time in seconds since 1970 as RFC 3339; `None` if it is out of range.
pub(crate) fn rfc3339(seconds: i64) -> Option<String> {
    jiff::Timestamp::from_second(seconds).ok().map(|at| at.to_string())
}

//! Whether a stream has reached a cursor. Pure.

use eventcast_wire::cursor::Cursor;

/// Whether a client at `position` has everything up to `end`. Another incarnation of the log has nothing of it left.
pub(crate) fn has_reached(position: &str, end: &str) -> bool {
    match (position.parse::<Cursor>(), end.parse::<Cursor>()) {
        (Ok(position), Ok(end)) => position.epoch != end.epoch || position.sequence >= end.sequence,
        _ => position == end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_compared_as_numbers_within_an_incarnation() {
        assert!(!has_reached("k7q2m8-9-3f9", "k7q2m8-10-3f9"));
        assert!(has_reached("k7q2m8-10-3f9", "k7q2m8-10-aaa"));
        assert!(has_reached("k7q2m8-11-3f9", "k7q2m8-10-3f9"));
        assert!(has_reached("zzzzz8-1-3f9", "k7q2m8-10-3f9"));
    }
}

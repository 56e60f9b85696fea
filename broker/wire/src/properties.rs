//! Properties that hold for any input: the bodies of the fuzz targets, which tests call, too. Each panics if the input breaks it.

use crate::{
    cursor::{Check, Cursor, Epoch},
    event, frame,
};

/// A text that is parsed as a cursor is exactly what the broker writes.
///
/// # Panics
/// The property does not hold.
pub fn cursor(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), text);
        assert!(text.len() <= 64);
    }
}

/// Valid data is encoded as one block, and decoded unchanged.
///
/// # Panics
/// The property does not hold.
pub fn encoder(bytes: &[u8]) {
    let Ok(data) = event::check_data(bytes, bytes.len()) else { return };
    let cursor = Cursor { epoch: Epoch::mint(1), sequence: 1, check: Check::of_time(1) };
    let name = data.get(..8).filter(|name| event::check_type(name).is_ok());
    let block = frame::event(name, data, &cursor);
    let text = std::str::from_utf8(&block).expect("a block is text");
    assert!(!text.contains('\r') && text.ends_with("\n\n"));
    assert_eq!(text.matches("\n\n").count(), 1, "nothing in the data ends the block");
    for line in text.trim_end().split('\n') {
        assert!(
            ["event: ", "data: ", "id: "].iter().any(|field| line.starts_with(field)),
            "{line:?}"
        );
    }
    assert_eq!(frame::data(&block), data.replace("\r\n", "\n").replace('\r', "\n"));
    assert_eq!(frame::data_len(&block), frame::data(&block).len());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hold_for_any_bytes(bytes: Vec<u8>) {
            super::cursor(&bytes);
            super::encoder(&bytes);
        }

        #[test]
        fn hold_for_nearly_valid_bytes(text in "[a-z0-9{}\":,.\\[\\]\\\\\r\n%*> =&-]{0,60}") {
            super::cursor(text.as_bytes());
            super::encoder(text.as_bytes());
        }
    }
}

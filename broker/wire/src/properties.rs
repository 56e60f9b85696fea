//! What must hold for any bytes: the bodies of the fuzz targets, which tests call, too. Each panics if bytes break a property.

use crate::{
    cursor::{Check, Cursor, Epoch},
    event, frame,
};

/// A text is a cursor only if it is exactly what the broker would write.
///
/// # Panics
/// It is not.
pub fn cursor(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), text);
        assert!(text.len() <= 64);
    }
}

/// Data that the rules accept becomes one block, which gives the data back.
///
/// # Panics
/// It does not.
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
        fn hold_for_bytes_that_come_close(text in "[a-z0-9{}\":,.\\[\\]\\\\\r\n%*> =&-]{0,60}") {
            super::cursor(text.as_bytes());
            super::encoder(text.as_bytes());
        }
    }
}

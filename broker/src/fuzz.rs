//! What the fuzz targets of `tests/fuzz` call: each panics if bytes from outside break a promise. Tests call them too, with a few
//! hundred inputs a run.

use bytes::Bytes;
use eventcast_crds::config::Publishing;
use http::{HeaderMap, HeaderValue, header};

use crate::{
    cursor::{Check, Cursor, Epoch},
    event, frame,
    http::{
        drafts::{self, Defaults, Format},
        params::{Params, known},
    },
};

/// A text is a cursor only if it is exactly what the broker would write.
pub fn cursor(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), text);
        assert!(text.len() <= 64);
    }
}

/// Data that the rules let through is one block that gives the data back.
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

/// A publish is refused, or gives events that pass every rule. The first byte chooses the content type, the first line is the query.
pub fn publish(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let mut lines = rest.splitn(2, |b| *b == b'\n');
    let (query, body) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let Ok(uri) = format!("/?{}", String::from_utf8_lossy(query)).parse() else { return };
    const KINDS: [&str; 5] = [
        "text/plain",
        "application/x-ndjson",
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
        "application/json",
    ];
    let mut headers = HeaderMap::new();
    let kind = usize::from(*kind) % KINDS.len();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(KINDS[kind]));
    if kind == 4 {
        for (name, value) in [("specversion", "1.0"), ("id", "1"), ("type", "t"), ("source", "/s")]
        {
            let name = http::HeaderName::try_from(format!("ce-{name}")).expect("a header's name");
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Ok(value) = HeaderValue::from_bytes(query) {
            headers.insert("ce-subject", value);
        }
    }
    let rules = Publishing::default();
    let drafts = || {
        let params = Params::of(&uri, &headers, &known::PUBLISH)?;
        let defaults = Defaults::of(&params, &headers, "key".into())?;
        drafts::read(
            Format::of(&headers)?,
            &headers,
            Bytes::copy_from_slice(body),
            &defaults,
            &rules,
        )
    };
    for draft in drafts().unwrap_or_default() {
        let data = event::check_data(&draft.data, rules.max_event_bytes).expect("data that passes");
        encoder(data.as_bytes());
        if let Some(name) = &draft.event_type {
            event::check_type(name).expect("a type that passes");
        }
        let subject = draft.topic.as_deref().unwrap_or("all");
        assert!(
            subject.bytes().all(|b| b.is_ascii_graphic() && b != b'*' && b != b'>'),
            "{subject}"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_the_fuzz_targets_promise_holds_for_any_bytes(bytes: Vec<u8>) {
            super::cursor(&bytes);
            super::encoder(&bytes);
            super::publish(&bytes);
        }

        #[test]
        fn and_for_bytes_that_come_close(kind in 0u8..5, text in "[a-z0-9{}\":,.\\[\\]\\\\\r\n%*> =&-]{0,60}") {
            super::cursor(text.as_bytes());
            super::encoder(text.as_bytes());
            super::publish(&[&[kind], text.as_bytes()].concat());
        }
    }
}

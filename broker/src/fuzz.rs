//! The property of publish requests that a fuzz target and a property test check. See also [`eventcast_wire::properties`].

use bytes::Bytes;
use eventcast_crds::config::Publishing;
use eventcast_wire::{event, properties};
use http::{HeaderMap, HeaderValue, header};

use crate::http::{
    drafts::{self, Defaults, Format},
    params::{Params, known},
};

/// Any publish request is rejected, or becomes events that obey every rule. The first byte selects the content type, the first line
/// is the query.
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
        let data = event::check_data(&draft.data, rules.max_event_bytes).expect("valid data");
        properties::encoder(data.as_bytes());
        if let Some(name) = &draft.event_type {
            event::check_type(name).expect("a valid type");
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
        fn holds_for_any_bytes(bytes: Vec<u8>) {
            super::publish(&bytes);
        }

        #[test]
        fn holds_for_nearly_valid_bytes(kind in 0u8..5, text in "[a-z0-9{}\":,.\\[\\]\\\\\r\n%*> =&-]{0,60}") {
            super::publish(&[&[kind], text.as_bytes()].concat());
        }
    }
}

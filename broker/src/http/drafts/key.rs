//! Deduplication keys, which JetStream compares as `Nats-Msg-Id`. An `Idempotency-Key` is used unchanged and has no space; every
//! derived key has one. So keys of different origin are never equal. Pure.

use eventcast_wire::event::MAX_NAME_BYTES;
use sha2::{Digest as _, Sha256};

use crate::identity::Identity;

/// Bytes of a key. The server keeps keys in memory for the whole deduplication window.
const MAX_KEY_BYTES: usize = 256;

/// Whether `text` can be used unchanged, as an `Idempotency-Key`: 1 to 128 visible ASCII characters.
pub(super) fn is_plain(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The key of event `index` of a batch. `key` is the plain key of the request.
pub(super) fn numbered(key: &str, index: usize) -> String {
    format!("{key} {index}")
}

/// The key of an event with an `id`. A plain id is used like an `Idempotency-Key`.
pub(super) fn of_id(id: &str) -> String {
    if is_plain(id) { id.to_owned() } else { bounded(format!("id {}", escaped(id))) }
}

/// The key of a CloudEvent. Source and id together identify it (CloudEvents, section 3.1.1).
pub(super) fn of_cloudevent(source: &str, id: &str) -> String {
    bounded(format!("ce {} {}", escaped(source), escaped(id)))
}

/// A key scoped to an authenticated publisher, so that no other publisher can suppress its event by using the same key first. Only scoped
/// keys begin with `scope` and have two spaces.
pub(super) fn scoped(publisher: &Identity, key: &str) -> String {
    let scope: String = publisher.digest().iter().take(12).map(|b| format!("{b:02x}")).collect();
    bounded(format!("scope {scope} {key}"))
}

/// Percent-encodes `text`: no spaces or control characters, and different texts stay different.
fn escaped(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Hashes a key that is too long.
fn bounded(key: String) -> String {
    if key.len() <= MAX_KEY_BYTES {
        return key;
    }
    let hash = Sha256::digest(key.as_bytes());
    format!("sha256 {}", hash.iter().map(|b| format!("{b:02x}")).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use proptest::prelude::*;

    /// What a key is derived from.
    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Origin {
        Plain(String),
        Numbered(String, usize),
        Id(String),
        CloudEvent(String, String),
    }

    impl Origin {
        fn key(&self) -> String {
            match self {
                Self::Plain(key) => key.clone(),
                Self::Numbered(key, i) => numbered(key, *i),
                Self::Id(id) => of_id(id),
                Self::CloudEvent(source, id) => of_cloudevent(source, id),
            }
        }
    }

    fn origin() -> impl Strategy<Value = Origin> {
        let plain = || {
            prop_oneof![
                "[a-c:0-9%+]{1,4}",
                Just("ce".to_owned()),
                Just("id".to_owned()),
                Just("sha256".to_owned())
            ]
        };
        let free = || prop_oneof!["[a-c:0-9 %+é]{1,4}", "[a b]{300}", Just("0".to_owned())];
        prop_oneof![
            plain().prop_map(Origin::Plain),
            (plain(), 0usize..12).prop_map(|(key, i)| Origin::Numbered(key, i)),
            free()
                .prop_filter("a plain id is a plain key", |id| !is_plain(id))
                .prop_map(Origin::Id),
            (free(), free()).prop_map(|(source, id)| Origin::CloudEvent(source, id)),
        ]
    }

    proptest! {
        #[test]
        fn keys_of_different_origins_differ(origins in proptest::collection::vec(origin(), 2..40)) {
            let mut seen = HashMap::new();
            for origin in origins {
                let key = origin.key();
                prop_assert!(key.len() <= MAX_KEY_BYTES && !key.chars().any(char::is_control));
                if let Some(other) = seen.insert(key.clone(), origin.clone()) {
                    prop_assert_eq!(other, origin, "{}", key);
                }
            }
        }
    }

    #[test]
    fn a_plain_id_is_an_idempotency_key_and_others_are_derived() {
        assert_eq!(of_id("order-7"), "order-7");
        assert_eq!(numbered("order-7", 1), "order-7 1");
        assert_eq!(of_id("order-7 1"), "id order-7+1");
        assert_eq!(of_cloudevent("/s", "7"), "ce %2Fs 7");
        assert!(of_cloudevent(&"s".repeat(1024), "7").starts_with("sha256 "));
    }
}
